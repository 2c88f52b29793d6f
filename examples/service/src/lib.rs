//! A service to start from: products in SQLite, behind a response cache and a product cache. Its
//! README shows how it answers.
//!
//! The files, from the ground up: a file imports from those before it.
//!
//! | file | what |
//! |---|---|
//! | `settings` | the environment |
//! | `database` | the pool of connections, and the queries |
//! | `products` | the product cache: in memory, or with Redis |
//! | `record` | what is counted, for the page |
//! | `answer`, `deadline` | refusals; the deadline of each request |
//! | `app` | what the handlers share |
//! | `routes` | the product routes, behind the response cache |
//! | `generator`, `demo` | the generator of load, and the page |
//! | `service` | start and end |

mod answer;
mod app;
mod database;
mod deadline;
mod demo;
mod generator;
mod products;
mod record;
mod routes;
mod service;
mod settings;

pub use service::{Service, StartError};
pub use settings::{SettingError, Settings};
