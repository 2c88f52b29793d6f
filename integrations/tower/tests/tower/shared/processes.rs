//! Real processes: this test binary once more.

use super::*;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("surrogate-key", "t")];

/// A process with a store and a handler, whose requests are lines.
struct Process {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(server: &Server) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "shared::processes::process", "--nocapture", "--test-threads=1"]);
        command.env("BELLWETHER_PROCESS", server.url());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut process = Self { _child: child, stdin, lines: BufReader::new(stdout).lines() };
        assert_eq!(process.answer().await, "ready");
        process
    }

    async fn answer(&mut self) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap().expect("the process has ended");
            // The harness writes, too, and not always a whole line.
            if let Some((_, answer)) = line.split_once("> ") {
                return answer.to_owned();
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.answer().await
    }
}

/// No test: the process itself, if it was started as one.
#[test]
fn process() {
    let Ok(url) = std::env::var("BELLWETHER_PROCESS") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let origin = Origin::fixed(FRESH);
        let cache = up(store(), tier(&url)).await;
        let site = origin.site(&cache, cache.layer());
        println!("> ready");
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match line.as_str() {
                "calls" => println!("> {}", origin.calls()),
                "invalidate" => println!("> {:?}", cache.invalidate_tag("t").await),
                uri => {
                    let read = site.get(uri).await;
                    println!("> {} {}", read.text(), did(&read));
                }
            }
        }
    });
    std::process::exit(0);
}

#[test]
fn a_process_answers_with_what_another_one_has_made() {
    with_server(|server| async move {
        let mut one = Process::start(&server).await;
        assert_eq!(one.ask("/").await, "1 bellwether; fwd=uri-miss; stored");
        let mut two = Process::start(&server).await;
        assert_eq!(two.ask("/").await, "1 bellwether; hit; detail=shared");
        assert_eq!((two.ask("/").await.as_str(), two.ask("calls").await.as_str()), ("1 bellwether; hit", "0"));
        // The first one ends, and the second one's invalidation reaches a third.
        drop(one);
        let mut three = Process::start(&server).await;
        assert_eq!(three.ask("/").await, "1 bellwether; hit; detail=shared");
        assert_eq!(two.ask("invalidate").await, "Ok(All)");
        let end = Instant::now() + s(60);
        while three.ask("calls").await == "0" {
            assert!(Instant::now() < end, "it still serves the old response");
            three.ask("/").await;
        }
    });
}
