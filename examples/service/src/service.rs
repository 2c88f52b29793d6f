//! The service as a whole: its start, and its end.

use crate::app::App;
use crate::demo::{self, Demo};
use crate::record::TICK;
use crate::routes;
use crate::settings::Settings;
use axum::Router;
use bellwether::MetricsObserver;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// How long requests in progress may take at the end.
const GRACE: Duration = Duration::from_secs(10);

/// The reason why a service did not start.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StartError {}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    end: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Service {
    /// Starts a service, in the runtime that this is called from. Returns when it listens.
    ///
    /// # Errors
    /// The port is taken, the database cannot be opened, or a setting is not what it should be. (A
    /// Redis that does not answer is no error.)
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let wanted = SocketAddr::new(settings.host, settings.port);
        let cannot = |error| StartError(format!("cannot listen at {wanted}: {error}"));
        let listener = TcpListener::bind(wanted).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let metrics = recorder().map_err(StartError)?;
        let app = App::open(settings).await.map_err(StartError::of)?;
        let products = routes::products(&app).with_state(app.clone());
        let demo = Demo::new(app.clone(), products.clone(), metrics.clone());
        let router = Router::new().merge(products).merge(demo::routes().with_state(demo));
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(keep_record(app, metrics)));
        let serve = axum::serve(listener, router).with_graceful_shutdown(end.clone().cancelled_owned());
        Ok(Self { address, end, serving: tokio::spawn(async move { serve.await }) })
    }

    /// Returns the address that the service listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the service: it takes no more connections, and requests in progress have ten seconds to
    /// end.
    pub async fn stop(self) {
        self.end.cancel();
        let abort = self.serving.abort_handle();
        if timeout(GRACE, self.serving).await.is_err() {
            eprintln!("some requests did not end within {} s", GRACE.as_secs());
            abort.abort();
        }
    }
}

/// Takes the samples, and keeps the metrics' histograms small.
async fn keep_record(app: App, metrics: PrometheusHandle) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        ticks.tick().await;
        app.record.tick();
        if number % 20 == 0 {
            metrics.run_upkeep();
        }
    }
}

/// Returns the recorder of this process, which the first call installs.
fn recorder() -> Result<PrometheusHandle, String> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let install = || {
        let suffix = Matcher::Suffix("_duration_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(suffix, &MetricsObserver::BUCKETS);
        builder.and_then(PrometheusBuilder::install_recorder).map_err(|error| error.to_string())
    };
    INSTALLED.get_or_init(install).clone()
}
