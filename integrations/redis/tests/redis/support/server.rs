//! A `redis-server` of a test's own.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub struct Server {
    child: Option<Child>,
    port: u16,
    arguments: Vec<String>,
}

/// Returns a port that nobody listens at. No two tests of a process get the same one.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

fn is_there() -> bool {
    Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Server {
    /// Starts a server. None: there is no `redis-server`, and the test is to be skipped.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        if !is_there() {
            assert!(std::env::var("CI").is_err(), "there is no redis-server, and CI must have one");
            eprintln!("skipped: there is no redis-server");
            return None;
        }
        Some(Self::start_at(free_port(), arguments))
    }

    /// Starts a server at this port, which an argument that is a file's name may say, too.
    pub fn start_at(port: u16, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { child: None, port, arguments };
        server.run();
        server
    }

    /// Starts the server's process, and waits until it answers.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        // A sentinel has a file of its own, and takes no such arguments.
        if !self.arguments.iter().any(|argument| argument == "--sentinel") {
            command.args(["--port", &self.port.to_string(), "--save", "", "--appendonly", "no", "--dir", "/tmp"]);
        }
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Ends the process by `kill -9`. All data is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process, or has it go on (`kill -STOP`, `kill -CONT`).
    pub fn pause(&self, paused: bool) {
        let signal = if paused { "-STOP" } else { "-CONT" };
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Returns a plain connection.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        self.try_connection().await.unwrap()
    }

    pub async fn try_connection(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
