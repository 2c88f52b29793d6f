//! The tier against a real `redis-server`, which each test starts on a free port and stops. Where
//! there is none, the tests say so and pass; with `CI=true` they fail.
//!
//! Several tiers in one process are as many processes to each other: each has its own identity and
//! connection. What needs a process that dies is in `processes`.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

mod bulk;
#[cfg(feature = "cluster")]
mod cluster;
mod detached;
mod faults;
mod flight;
mod history;
mod observers;
mod processes;
mod requests;
mod round_trips;
mod scenarios;
#[cfg(feature = "sentinel")]
mod sentinel;
mod settings;
mod tags;
mod tier;
mod writes;
