//! The database: a pool of SQLite connections, and the two queries that the caches are for.

mod seed;

use deadpool::unmanaged::{Object, Pool};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// The product that each order contains, so that its query is the heaviest of all.
pub(crate) const HOT: u32 = 1;

/// A product, as its page shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) price_cents: u32,
    /// In how many orders it is.
    pub(crate) orders: u32,
    /// The products that are most often in the same order.
    pub(crate) bought_together: Vec<Companion>,
}

/// What is written of a product.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Details {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) price_cents: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Companion {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) times: u32,
}

/// A line of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) price_cents: u32,
}

/// A query that has failed. Clones share the cause.
#[derive(Debug, Clone)]
pub(crate) struct QueryError(Arc<str>);

impl QueryError {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string().into())
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database: {}", self.0)
    }
}

impl std::error::Error for QueryError {}

/// The pool. A handle; clones share it.
#[derive(Clone)]
pub(crate) struct Database(Arc<Shared>);

struct Shared {
    pool: Pool<Connection>,
    /// All connections, while the database is stalled.
    held: Mutex<Vec<Object<Connection>>>,
    stalled: AtomicBool,
    // All operations on the counters are Relaxed: they order nothing.
    queries: AtomicU64,
    hot_queries: AtomicU64,
    /// Callers that wait for a connection or for their query.
    asking: AtomicU64,
    /// Removed with the last handle.
    _directory: Option<TempDir>,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS products
        (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price_cents INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS by_category ON products (category);
    CREATE TABLE IF NOT EXISTS order_lines
        (order_id INTEGER NOT NULL, product_id INTEGER NOT NULL, PRIMARY KEY (order_id, product_id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_product ON order_lines (product_id);";

/// Which products are most often in an order with this one: it reads every order that has it.
const BOUGHT_TOGETHER: &str = "
    SELECT other.product_id, products.name, count(*) AS times
    FROM order_lines AS this
    JOIN order_lines AS other ON other.order_id = this.order_id AND other.product_id <> this.product_id
    JOIN products ON products.id = other.product_id
    WHERE this.product_id = ?1
    GROUP BY other.product_id ORDER BY times DESC, other.product_id LIMIT 3";

impl Shared {
    /// Counts a query that begins.
    fn count_query(&self, hot: bool) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.hot_queries.fetch_add(u64::from(hot), Ordering::Relaxed);
        metrics::counter!("service_queries_total").increment(1);
    }
}

/// One of the callers that ask, until it has its answer or is cancelled.
struct Asking<'d>(&'d AtomicU64);

impl<'d> Asking<'d> {
    fn of(asking: &'d AtomicU64) -> Self {
        asking.fetch_add(1, Ordering::Relaxed);
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Database {
    /// Opens a file, or a temporary one, and fills it if it is new. Blocks.
    pub(crate) fn open(path: Option<&Path>, connections: usize, orders: u32) -> Result<Self, QueryError> {
        let directory = if path.is_none() { Some(TempDir::new().map_err(QueryError::of)?) } else { None };
        let temporary = directory.as_ref().map(|directory| directory.path().join("products.sqlite"));
        let path = path.or(temporary.as_deref()).expect("one of the two is there");
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            // Readers and the writer do not wait for each other.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(connection)
        };
        let told = |error: rusqlite::Error| QueryError::of(format!("{}: {error}", path.display()));
        let mut all = (0..connections).map(|_| open()).collect::<Result<Vec<_>, _>>().map_err(told)?;
        seed::fill(&mut all[0], SCHEMA, orders).map_err(told)?;
        Ok(Self(Arc::new(Shared {
            pool: Pool::from(all),
            held: Mutex::default(),
            stalled: AtomicBool::new(false),
            queries: AtomicU64::new(0),
            hot_queries: AtomicU64::new(0),
            asking: AtomicU64::new(0),
            _directory: directory,
        })))
    }

    /// Runs `ask` on a connection, on a thread that may block. A caller that is cancelled while it
    /// waits for a connection asks nothing.
    async fn with<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        let _asking = Asking::of(&self.0.asking);
        let mut connection = self.0.pool.get().await.map_err(QueryError::of)?;
        let asked = tokio::task::spawn_blocking(move || ask(&mut connection)).await;
        asked.map_err(QueryError::of)?.map_err(QueryError::of)
    }

    /// Queries a product. None: there is no such product.
    pub(crate) async fn product(&self, id: u32) -> Result<Option<Product>, QueryError> {
        let shared = self.0.clone();
        self.with(move |connection| {
            shared.count_query(id == HOT);
            let mut find = connection.prepare_cached(
                "SELECT name, category, price_cents, (SELECT count(*) FROM order_lines WHERE product_id = id)
                 FROM products WHERE id = ?1",
            )?;
            let product = |row: &Row<'_>| {
                let (name, category, price_cents) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Product { id, name, category, price_cents, orders: row.get(3)?, bought_together: Vec::new() })
            };
            let Some(mut product) = find.query_row([id], product).optional()? else { return Ok(None) };
            let mut companions = connection.prepare_cached(BOUGHT_TOGETHER)?;
            let companion = |row: &Row<'_>| Ok(Companion { id: row.get(0)?, name: row.get(1)?, times: row.get(2)? });
            product.bought_together = companions.query_map([id], companion)?.collect::<Result<_, _>>()?;
            Ok(Some(product))
        })
        .await
    }

    /// Queries the first ten products, by name, of a category or of all.
    pub(crate) async fn list(&self, category: Option<String>) -> Result<Vec<Line>, QueryError> {
        let shared = self.0.clone();
        self.with(move |connection| {
            shared.count_query(false);
            let mut find = connection.prepare_cached(
                "SELECT id, name, price_cents FROM products
                 WHERE ?1 IS NULL OR category = ?1 ORDER BY name, id LIMIT 10",
            )?;
            let line = |row: &Row<'_>| Ok(Line { id: row.get(0)?, name: row.get(1)?, price_cents: row.get(2)? });
            find.query_map([category], line)?.collect()
        })
        .await
    }

    /// Writes a product, a new one if `id` is none. Returns its id, and the category that it had.
    pub(crate) async fn write(&self, id: Option<u32>, details: Details) -> Result<(u32, Option<String>), QueryError> {
        self.with(move |connection| {
            let change = connection.transaction()?;
            let former = "SELECT category FROM products WHERE id = ?1";
            let former = change.query_row(former, [id], |row| row.get(0)).optional()?;
            // (With no id, SQLite gives the next one.)
            change.execute(
                "INSERT INTO products (id, name, category, price_cents) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)
                 DO UPDATE SET name = excluded.name, category = excluded.category, price_cents = excluded.price_cents",
                params![id, details.name, details.category, details.price_cents],
            )?;
            let new = change.last_insert_rowid();
            let id = match id {
                Some(id) => id,
                None => u32::try_from(new).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, new))?,
            };
            change.commit()?;
            Ok((id, former))
        })
        .await
    }

    /// Returns how many queries there were, and how many of the hot product.
    pub(crate) fn queries(&self) -> (u64, u64) {
        (self.0.queries.load(Ordering::Relaxed), self.0.hot_queries.load(Ordering::Relaxed))
    }

    /// Returns how many callers wait for a connection or for their query.
    pub(crate) fn asking(&self) -> u64 {
        self.0.asking.load(Ordering::Relaxed)
    }

    /// Takes all connections away, as a stuck transaction would, or gives them back. Returns once
    /// the queries that run have ended.
    pub(crate) async fn stall(&self, stalled: bool) {
        let mut held = self.0.held.lock().await;
        self.0.stalled.store(stalled, Ordering::Relaxed);
        if !stalled {
            held.clear();
            return;
        }
        while held.len() < self.0.pool.status().max_size {
            match self.0.pool.get().await {
                Ok(connection) => held.push(connection),
                Err(_) => return,
            }
        }
    }

    /// Returns whether the database is stalled.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}
