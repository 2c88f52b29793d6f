//! Testing code that has a cache: the test sets the time, and no test sleeps.
//! `cargo run --example testing_with_manual_clock`.

use bellwether::{BuildError, Cache, Clock, ManualClock, Refresh, Timer};
use std::{cell::Cell, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// The code under test. It takes its clock; a service gives it `CoarseClock` and `ThreadTimer`.
fn sessions(clock: impl Clock + Timer + Clone + 'static) -> Result<Cache<u32, String>, BuildError> {
    let builder = Cache::builder().max_capacity(1_000).clock(clock.clone()).timer(clock);
    // No refresh ahead: a session is good to its end. (Refresh by XFetch, and the jitter of times to live, are random:
    // with a seed, a test is the same each time.)
    builder.time_to_live(30 * MINUTE).refresh(Refresh::never()).build()
}

fn main() -> Result<(), BuildError> {
    let (clock, logins) = (ManualClock::new(), Cell::new(0));
    let sessions = sessions(clock.clone())?;
    let session = || sessions.get_with(&7, || (logins.set(logins.get() + 1), "a token".to_owned()).1);

    session();
    clock.advance(30 * MINUTE - Duration::from_nanos(1));
    session();
    assert_eq!(logins.get(), 1, "good until its last nanosecond");
    println!("29:59.999999999: {} login", logins.get());

    clock.advance(Duration::from_nanos(1));
    session();
    assert_eq!(logins.get(), 2, "and no longer");
    println!("30:00: {} logins", logins.get());
    Ok(())
}
