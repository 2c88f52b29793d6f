//! A process with a tier, which a test starts, drives by lines, and kills: this test binary once
//! more.

use super::source::Source;
use super::{Texts, builder};
use bellwether::LoadError;
use bellwether_redis::{SharedError, Written};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A process that was started.
pub struct Node {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Starts a process with a tier at `url`, whose loader asks the source at `source`.
    pub async fn start(url: &str, source: u16, settings: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "support::node::process", "--nocapture", "--test-threads=1"]);
        command.env("BELLWETHER_NODE", format!("{url} {source} {settings}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut node = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        assert_eq!(node.answer().await, "ready");
        node
    }

    pub async fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Returns the next answer.
    pub async fn answer(&mut self) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap().expect("the process has ended");
            // The harness writes, too, and not always a whole line.
            if let Some((_, answer)) = line.split_once("> ") {
                return answer.to_owned();
            }
        }
    }

    pub async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.answer().await
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.signal("-9");
        self.child.wait().await.unwrap();
    }

    /// `kill -STOP`, or `kill -CONT`.
    pub fn pause(&self, paused: bool) {
        self.signal(if paused { "-STOP" } else { "-CONT" });
    }
}

/// No test: the process itself, if it was started as one.
#[test]
fn process() {
    let Ok(how) = std::env::var("BELLWETHER_NODE") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&how));
    std::process::exit(0);
}

fn say(line: &str) {
    println!("> {line}");
}

async fn run(how: &str) {
    let parts: Vec<&str> = how.split_whitespace().collect();
    let source: u16 = parts[1].parse().unwrap();
    let mut builder = builder(parts[0]);
    for setting in &parts[2..] {
        let (name, number) = setting.split_once('=').unwrap();
        let time = Duration::from_millis(number.parse().unwrap());
        builder = match name {
            "lead" => builder.lead_timeout(time),
            "probe" => builder.probe(time),
            "unlinked" => builder.unlinked_ttl(time),
            "ttl" => builder.time_to_live(time),
            "beat" => builder.heartbeat(time, time),
            "command" => builder.command_timeout(time),
            "skip" => builder.skip_shared_lock(true),
            _ => panic!("no such setting: {name}"),
        };
    }
    let tier = builder.build().await.unwrap();
    say("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let tier = tier.clone();
        // Each command runs by itself: a load that is held up holds up no other command.
        tokio::spawn(async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            say(&command(&tier, source, &words).await);
        });
    }
}

/// Reads once, and returns the value, or `!` and the error.
pub async fn read(tier: &Texts, source: u16, key: &str) -> String {
    let load = || Source::remote(source, key);
    match tier.try_get_with_async(key, load).await {
        Ok(value) => value,
        Err(LoadError::Load(error)) => match &*error {
            SharedError::Own(error) => format!("!own {error}"),
            SharedError::Remote(error) => format!("!remote {error}"),
        },
        Err(error) => format!("!{error:?}"),
    }
}

async fn command(tier: &Texts, source: u16, words: &[&str]) -> String {
    let written = |written| match written {
        Ok(Written::Shared) => "shared".to_owned(),
        Ok(Written::Queued) => "queued".to_owned(),
        Err(error) => format!("!{error}"),
    };
    match words {
        ["get", key] => read(tier, source, key).await,
        ["peek", key] => tier.get(*key).unwrap_or_else(|| "-".to_owned()),
        // As many callers at once: how many different answers there were, and one of them.
        ["herd", key, callers] => {
            let callers: usize = callers.parse().unwrap();
            let key: String = (*key).to_owned();
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let (tier, key) = (tier.clone(), key.clone());
                    tokio::spawn(async move { read(&tier, source, &key).await })
                })
                .collect();
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.unwrap());
            }
            answers.sort();
            answers.dedup();
            format!("{} {}", answers.len(), answers[0])
        }
        ["insert", key, value] => written(tier.insert((*key).to_owned(), (*value).to_owned()).await),
        ["invalidate", key] => written(tier.invalidate(*key).await),
        ["stats"] => {
            let named = tier.stats().named();
            named.iter().map(|(name, number)| format!("{name}={number} ")).collect()
        }
        _ => panic!("no such command: {words:?}"),
    }
}
