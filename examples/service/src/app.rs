//! What the handlers of the product routes share.

use crate::database::Database;
use crate::products::Products;
use crate::record::Record;
use crate::settings::Settings;
use axum::http::StatusCode;
use bellwether::MetricsObserver;
use bellwether_tower::{RedisTier, ResponseCache};
use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;

/// A handle; clones share all.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) products: Products,
    pub(crate) responses: ResponseCache,
    pub(crate) record: Record,
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Opens the database, fills it if it is new, and builds both caches. Redis need not be there.
    pub(crate) async fn open(settings: Settings) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (path, connections, orders) = (settings.database.clone(), settings.connections, settings.orders);
        let open = move || Database::open(path.as_deref(), connections, orders);
        let database = tokio::task::spawn_blocking(open).await??;
        let products = Products::open(&settings, database.clone()).await?;
        let responses = ResponseCache::builder()
            .max_bytes(16 << 20)
            .name(&format!("{}-responses", settings.name))
            // What the responses' own headers do not say: that this error may be kept.
            .negative_ttl(StatusCode::NOT_FOUND, settings.negative_ttl)
            .etag(true)
            .observer(MetricsObserver::new())
            .record_stats();
        let responses = match &settings.redis_url {
            None => responses.build()?,
            Some(url) => {
                // (The products tell of the link: it is the same server.)
                let tier = RedisTier::new(url).namespace(format!("{}-responses", settings.redis_namespace));
                responses.build_on(tier).await?
            }
        };
        let record = Record::new(database.clone(), responses.clone());
        Ok(Self(Arc::new(Parts { settings, database, products, responses, record })))
    }
}
