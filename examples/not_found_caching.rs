//! Keeping what is not there: as a value with a short time to live, as "not found", or as an error.
//! `cargo run --example not_found_caching`.

use bellwether::{Cache, LoadError, Loaded, ManualClock};
use std::{cell::Cell, convert::Infallible, error::Error, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let (clock, queries) = (ManualClock::new(), Cell::new(0));

    // "There is none" is an answer: a value like others, which is good for less time.
    let builder = Cache::builder().max_capacity(1_000).time_to_live(60 * SECOND).clock(clock.clone());
    let users: Cache<u32, Option<String>> =
        builder.ttl_with(|_, user: &Option<String>| user.is_none().then_some(5 * SECOND)).build()?;
    let find = |id| users.get_with(&id, || (queries.set(queries.get() + 1), (id == 1).then(|| "Ada".to_owned())).1);
    assert_eq!((find(1).as_deref(), find(2), find(2)), (Some("Ada"), None, None));
    println!("2 users, one of them unknown: {} queries", queries.get());
    clock.advance(6 * SECOND);
    assert_eq!((find(1).as_deref(), find(2)), (Some("Ada"), None));
    println!("6 s later the unknown one is asked for again: {} queries", queries.get());
    assert_eq!(queries.get(), 3);

    // The same with a value that is no `Option`: the loader answers that there is none.
    let builder = Cache::builder().max_capacity(1_000).time_to_live(60 * SECOND).negative_ttl(5 * SECOND);
    let names: Cache<u32, String> = builder.clock(clock.clone()).build()?;
    let load = |_| (queries.set(queries.get() + 1), Ok::<_, Infallible>(Loaded::NotFound)).1;
    for _ in 0..2 {
        assert!(matches!(names.entry(&2).revalidate_with(load), Err(LoadError::NotFound)));
    }
    assert_eq!((names.get(&2), queries.get()), (None, 4));

    // A source that fails is asked again after two seconds; until then its error is the answer.
    let builder = Cache::builder().max_capacity(1_000).negative_ttl(2 * SECOND);
    let pages: Cache<u32, String> = builder.clock(clock.clone()).build()?;
    let fetch = || pages.try_get_with(&404, || (queries.set(queries.get() + 1), Err("not found")).1);
    println!("{}", fetch().unwrap_err());
    assert!(fetch().is_err() && queries.get() == 5);
    clock.advance(3 * SECOND);
    assert!(fetch().is_err() && queries.get() == 6);
    Ok(())
}
