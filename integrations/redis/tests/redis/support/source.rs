//! What the loaders ask: a source that counts its loads, and answers when it is told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Source(Arc<State>);

struct State {
    loads: AtomicU64,
    fails: AtomicBool,
    values: Mutex<HashMap<String, String>>,
    /// Loads end only while it is true.
    open: watch::Sender<bool>,
    takes: Mutex<Duration>,
}

impl Source {
    pub fn new() -> Self {
        let (loads, fails, takes) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        Self(Arc::new(State { loads, fails, values: Mutex::default(), open: watch::Sender::new(true), takes }))
    }

    /// Returns how many loads have begun.
    pub fn loads(&self) -> u64 {
        self.0.loads.load(SeqCst)
    }

    /// Holds all loads up, or lets them end.
    pub fn hold(&self, held: bool) {
        self.0.open.send_replace(!held);
    }

    pub fn fail(&self, fails: bool) {
        self.0.fails.store(fails, SeqCst);
    }

    pub fn set(&self, key: &str, value: &str) {
        self.0.values.lock().unwrap().insert(key.to_owned(), value.to_owned());
    }

    /// Has each load take so long.
    pub fn take(&self, time: Duration) {
        *self.0.takes.lock().unwrap() = time;
    }

    /// Loads: the value is what the source has when the load begins; without one, the load's
    /// number.
    pub async fn load(&self, key: &str) -> Result<String, String> {
        let number = self.0.loads.fetch_add(1, SeqCst) + 1;
        let value = self.0.values.lock().unwrap().get(key).cloned().unwrap_or_else(|| format!("{key}#{number}"));
        let takes = *self.0.takes.lock().unwrap();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
        if self.0.fails.load(SeqCst) { Err(format!("load {number} of {key} failed")) } else { Ok(value) }
    }

    /// Serves the loads of other processes, at the port that is returned: a line with the key, and
    /// a line `+value` or `-error`.
    pub async fn serve(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let source = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let source = source.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(key)) = lines.next_line().await {
                        let answer = match source.load(&key).await {
                            Ok(value) => format!("+{value}\n"),
                            Err(error) => format!("-{error}\n"),
                        };
                        if write.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    /// Loads from the source of another process.
    pub async fn remote(port: u16, key: &str) -> Result<String, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        let (read, mut write) = stream.into_split();
        write.write_all(format!("{key}\n").as_bytes()).await.map_err(|error| error.to_string())?;
        let line = BufReader::new(read).lines().next_line().await;
        let line = line.map_err(|error| error.to_string())?.ok_or("the source is gone")?;
        match line.split_at(1) {
            ("+", value) => Ok(value.to_owned()),
            (_, error) => Err(error.to_owned()),
        }
    }
}
