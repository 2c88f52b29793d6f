//! What the cache does beyond its laws: a module for each feature. `regress_*` hold what once went
//! wrong.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod bulk_answers;
mod deadlines;
mod detached;
mod ended;
mod expired_by_call;
mod expiry;
mod forced;
mod jitter;
mod keys;
mod load_errors;
mod loading;
mod loads_in_trouble;
mod negative;
mod observed_keys;
mod observer;
mod observer_code;
mod own_terms;
mod refresh_ahead;
mod regress_bulk;
mod regress_failures;
mod regress_tags;
mod rejected;
mod request;
mod revalidate;
mod send;
mod settings;
mod shedding;
mod slots;
mod staleness;
mod stats_table;
mod tagged_alike;
mod tags;
mod take_over;
mod take_over_corners;
mod tasks_shape;
mod tasks_time;
mod ticker;
mod timers;
mod upkeep;
mod user_code;
mod wanted;
