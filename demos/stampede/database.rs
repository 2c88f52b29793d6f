//! A real database with a slow query: SQLite in a temporary file, behind a small pool of connections.

use crate::Result;
use rusqlite::Connection;
use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long the query is to take on an idle machine.
const QUERY_TIME: Duration = Duration::from_millis(50);
/// As many as a small web service would keep.
const CONNECTIONS: usize = 8;
const CUSTOMERS: i64 = 1_000;
const FIRST_ORDERS: i64 = 20_000;

// Writers do not disturb readers in WAL mode: a query sees the orders that were there when it began.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, cents INTEGER NOT NULL);";

const ADD_CUSTOMERS: &str = "
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
    INSERT INTO customers SELECT i, 'customer ' || i FROM n";

const ADD_ORDERS: &str = "
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
    INSERT INTO orders (customer, cents)
    SELECT 1 + abs(random() % ?2), 100 + abs(random() % 10000) FROM n";

const ADD_HUGE_ORDER: &str = "INSERT INTO orders (customer, cents) VALUES (1, 1000000000)";

/// No index helps it: it reads, joins and groups every order.
const BEST_CUSTOMER: &str = "
    SELECT name, sum(cents + ?1) AS spent
    FROM orders JOIN customers ON customers.id = orders.customer
    GROUP BY name ORDER BY spent DESC LIMIT 1";

/// What the slow query finds.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    name: String,
    cents: i64,
}

pub(crate) struct Database {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
    hits: AtomicU64,
    /// How long the query takes when nothing else runs.
    pub(crate) query_time: Duration,
    pub(crate) orders: i64,
    // Dropped last: the connections must be closed before their file goes.
    _file: TemporaryFile,
}

impl Database {
    /// Creates the database and fills it until its query takes `QUERY_TIME`.
    pub(crate) fn create() -> Result<Self> {
        let file = TemporaryFile::new();
        let first = Connection::open(&file.path)?;
        first.execute_batch(SCHEMA)?;
        first.execute(ADD_CUSTOMERS, [CUSTOMERS])?;
        let (orders, query_time) = fill(&first)?;

        let mut idle = vec![first];
        while idle.len() < CONNECTIONS {
            idle.push(Connection::open(&file.path)?);
        }
        Ok(Self {
            idle: Mutex::new(idle),
            returned: Condvar::new(),
            hits: AtomicU64::new(0),
            query_time,
            orders,
            _file: file,
        })
    }

    /// The slow query: who has spent most?
    pub(crate) fn best_customer(&self) -> rusqlite::Result<Customer> {
        self.query(0)
    }

    /// The slow query with so much added to each order that the sums do not fit into 64 bits. The database notices
    /// that only when it has read all orders.
    pub(crate) fn overflowing_query(&self) -> rusqlite::Result<Customer> {
        self.query(i64::MAX / 2)
    }

    fn query(&self, added_cents: i64) -> rusqlite::Result<Customer> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.with_connection(|connection| query(connection, added_cents))
    }

    /// How often the slow query was run.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Changes what the slow query finds.
    pub(crate) fn add_huge_order(&self) -> rusqlite::Result<usize> {
        self.with_connection(|connection| connection.execute(ADD_HUGE_ORDER, []))
    }

    /// Waits for an idle connection and works with it.
    fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        const INTACT: &str = "nothing panics under this lock";
        let idle = self.idle.lock().expect(INTACT);
        let mut idle = self.returned.wait_while(idle, |idle| idle.is_empty()).expect(INTACT);
        let connection = idle.pop().expect("it was waited for");
        drop(idle);
        let result = work(&connection);
        self.idle.lock().expect(INTACT).push(connection);
        self.returned.notify_one();
        result
    }
}

fn query(connection: &Connection, added_cents: i64) -> rusqlite::Result<Customer> {
    connection
        .prepare_cached(BEST_CUSTOMER)?
        .query_row([added_cents], |row| Ok(Customer { name: row.get(0)?, cents: row.get(1)? }))
}

/// Adds orders until the query is slow enough; returns their number and the query's time.
fn fill(connection: &Connection) -> rusqlite::Result<(i64, Duration)> {
    let mut orders = 0;
    let mut missing = FIRST_ORDERS;
    loop {
        connection.execute(ADD_ORDERS, [missing, CUSTOMERS])?;
        orders += missing;
        let time = fastest_query(connection)?;
        if time >= QUERY_TIME.mul_f64(0.95) {
            return Ok((orders, time));
        }
        // Not quite as many as should be missing: grouping more of them takes more than its share. But at least 2 %
        // each time, so that this ends soon.
        let share = 0.9 * (QUERY_TIME.as_secs_f64() / time.as_secs_f64() - 1.0);
        missing = (orders as f64 * share.max(0.02)) as i64;
    }
}

/// The best of three: whatever else the machine does can only slow a query down.
fn fastest_query(connection: &Connection) -> rusqlite::Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        query(connection, 0)?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(fastest)
}

/// Deletes the database's files when it is dropped.
struct TemporaryFile {
    path: PathBuf,
}

impl TemporaryFile {
    fn new() -> Self {
        let name = format!("bellwether-stampede-{}.sqlite", process::id());
        let path = env::temp_dir().join(name);
        Self { path }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            // SQLite itself removes two of them with the last connection.
            let _ = fs::remove_file(path);
        }
    }
}
