//! A TCP proxy between a tier and its server, which delays, cuts, swallows or half-opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each piece of data is as much later.
    Delay(Duration),
    /// Connections are closed, and new ones refused.
    Cut,
    /// Connections stay, and nothing comes through.
    BlackHole,
    /// What the tier sends comes through; the answers do not.
    HalfOpen,
}

pub struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    turns: Arc<Turns>,
}

/// How often the server was asked after it had answered.
#[derive(Default)]
struct Turns {
    asked: AtomicBool,
    count: AtomicU64,
}

impl Turns {
    fn note(&self, answers: bool) {
        if !self.asked.swap(!answers, SeqCst) && !answers {
            self.count.fetch_add(1, SeqCst);
        }
    }
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::new(watch::Sender::new(Mode::Pass)),
            turns: Arc::default(),
        };
        let (mode, turns) = (proxy.mode.clone(), proxy.turns.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *mode.borrow() == Mode::Cut {
                    continue;
                }
                let (mode, turns) = (mode.subscribe(), turns.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = carry(from_client, to_server, mode.clone(), (false, &turns)) => {}
                        () = carry(from_server, to_client, mode.clone(), (true, &turns)) => {}
                        () = cut(mode) => {}
                    }
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Returns the number of round trips so far: how often a question followed an answer. Right for
    /// one client whose questions do not overlap, and to which nothing is pushed.
    pub fn round_trips(&self) -> u64 {
        self.turns.count.load(SeqCst)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn cut(mut mode: watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    (answers, turns): (bool, &Turns),
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        turns.note(answers);
        let open = |mode: &Mode| !(*mode == Mode::BlackHole || answers && *mode == Mode::HalfOpen);
        let Ok(now) = mode.wait_for(open).await.map(|mode| *mode) else { return };
        if let Mode::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
