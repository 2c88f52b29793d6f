//! What the examples share: a server, processes, and a service that they ask.
#![allow(dead_code, reason = "each example uses a part")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Runs a process of the example, or, where it was started by hand, its parent.
pub(crate) fn run<N, P>(node: impl FnOnce(String, u16, u64) -> N, parent: impl FnOnce() -> P)
where
    N: Future<Output = ()>,
    P: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match std::env::var("BELLWETHER_NODE") {
        Ok(how) => {
            let parts: Vec<&str> = how.split(' ').collect();
            runtime.block_on(node(parts[0].to_owned(), parts[1].parse().unwrap(), parts[2].parse().unwrap()));
        }
        Err(_) => runtime.block_on(parent()),
    }
}

pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The time in µs, the same in all processes of the machine.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// A process of the example.
pub(crate) struct Node {
    child: Child,
    stdin: tokio::process::ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// What processes before it have said.
    pub(crate) earlier: Vec<String>,
}

/// Starts a process, and waits until it is ready.
pub(crate) async fn start(url: &str, source: u16, number: u64) -> Node {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("BELLWETHER_NODE", format!("{url} {source} {number}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut said = BufReader::new(stdout).lines();
    assert_eq!(said.next_line().await.unwrap().as_deref(), Some("ready"));
    let list = lines.clone();
    let reader = tokio::spawn(async move {
        while let Ok(Some(line)) = said.next_line().await {
            list.lock().unwrap().push(line);
        }
    });
    Node { child, stdin, lines, reader: Some(reader), earlier: Vec::new() }
}

impl Node {
    pub(crate) fn signal(&self, signal: &str) {
        if let Some(id) = self.child.id() {
            let _ = std::process::Command::new("kill").args([signal, &id.to_string()]).status();
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells the process a line.
    pub(crate) async fn tell(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Returns the next line that the process says.
    pub(crate) async fn answer(&mut self) -> String {
        loop {
            {
                let mut lines = self.lines.lock().unwrap();
                if !lines.is_empty() {
                    return lines.remove(0);
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the end of a killed process, and returns all that it has said.
    pub(crate) async fn finish(&mut self) -> Vec<String> {
        let _ = self.child.wait().await;
        if let Some(reader) = self.reader.take() {
            let _ = reader.await;
        }
        let mut all = std::mem::take(&mut self.earlier);
        all.append(&mut self.lines.lock().unwrap());
        // A line that was cut off by the end says nothing.
        all
    }
}

/// A service of the parent: a line in, a line out.
pub(crate) struct Service {
    pub(crate) port: u16,
}

impl Service {
    pub(crate) async fn start(answer: impl FnMut(&str) -> String + Send + 'static) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(question)) = lines.next_line().await {
                        let answer = answer.clone();
                        // It may take its time.
                        let line = tokio::task::spawn_blocking(move || (answer.lock().unwrap())(&question)).await;
                        if write.write_all(format!("{}\n", line.unwrap()).as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port }
    }
}

/// Asks the parent's service.
pub(crate) async fn service(port: u16, question: &str) -> u64 {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{question}\n").as_bytes()).await.unwrap();
    BufReader::new(read).lines().next_line().await.unwrap().unwrap().parse().unwrap()
}

/// A `redis-server` of the example's own.
pub(crate) struct Server {
    child: Option<std::process::Child>,
    port: u16,
}

impl Server {
    /// Starts a server. Without `redis-server` it says so, and fails under `CI`.
    pub(crate) fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { child: None, port };
        if std::process::Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(std::env::var("CI").is_err(), "there is no redis-server, and CI must have one");
            println!("skipped: there is no redis-server");
            return None;
        }
        server.run();
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn run(&mut self) {
        let mut command = std::process::Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--save", "", "--appendonly", "no", "--dir", "/tmp"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = (child.kill(), child.wait());
        }
    }

    pub(crate) fn pause(&self, paused: bool) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let _ = std::process::Command::new("kill").args([if paused { "-STOP" } else { "-CONT" }, &id]).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
