//! Refresh in the background: once a value is there, no caller waits for its successor.
//! `cargo run --example background_refresh`.

use bellwether::{Cache, Entry, ManualClock, Outcome};
use std::{error::Error, sync::Arc, thread, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    // A clock that the program sets, so that it need not wait for an hour.
    let clock = ManualClock::new();
    let rates: Arc<Cache<&str, u32>> = Arc::new(
        Cache::builder()
            .max_capacity(1_000)
            .time_to_live(60 * MINUTE)
            // For ten minutes more, callers get the old value while one load runs.
            .stale_while_refresh(10 * MINUTE)
            .clock(clock.clone())
            .timer(clock.clone())
            .build()?,
    );
    // `detached` runs loads in the background. (Of a cold key each caller waits for its load.)
    let ask = |rate| rates.detached(&"EUR").get_with(move || rate);
    let (first, outcome) = ask(108);
    assert_eq!((*first, outcome), (108, Outcome::Computed));

    clock.advance(61 * MINUTE);
    let (old, outcome) = ask(109);
    println!("an hour later: {}, {outcome:?}, {:?} old", *old, Entry::age(&old));
    assert_eq!((*old, outcome), (108, Outcome::Stale));

    while rates.is_loading(&"EUR") {
        thread::yield_now();
    }
    println!("and then: {:?}", rates.get(&"EUR"));
    assert_eq!(rates.get(&"EUR"), Some(109));
    Ok(())
}
