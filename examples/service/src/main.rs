//! The service: `cargo run --release -p bellwether-service`, then http://127.0.0.1:8080/.

use bellwether_service::{Service, Settings};
use std::error::Error;
use std::io;
use std::process::ExitCode;
use tokio::signal;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellwether-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let settings = Settings::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))?;
    // Before the address is printed: a program that has read it may send a signal.
    let mut signals = Signals::new()?;
    let service = Service::start(settings).await?;
    println!("http://{}/", service.address());
    signals.received().await;
    eprintln!("stopping");
    service.stop().await;
    Ok(())
}

/// Ctrl-C and SIGTERM.
#[cfg(unix)]
struct Signals(signal::unix::Signal, signal::unix::Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        let of = signal::unix::signal;
        Ok(Self(of(signal::unix::SignalKind::interrupt())?, of(signal::unix::SignalKind::terminate())?))
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(windows)]
struct Signals(signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self(signal::windows::ctrl_c()?))
    }

    async fn received(&mut self) {
        let _ = self.0.recv().await;
    }
}
