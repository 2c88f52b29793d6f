//! Loads in the background, by the cache's own spawner, whose threads are shuttle's here; and loads of many keys at once.
#![cfg(shuttle)]

use bellwether::Cache;
use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, roll, schedules};
use shuttle::thread;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Background loads, among others, of keys that expire, may be served for a while, and are removed.
#[test]
fn loads_in_the_background() {
    fn any(field: &Arc<Field>, _: u64) {
        some(field, 4, &[detached, detached, get_with, read, half_a_second, remove, insert]);
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND).stale_while_refresh(SECOND);
        let field = Field::new(Terms { keys: 2, expires: true, settings, ..Terms::default() });
        (0..2).for_each(|key| field.insert(key, None));
        field.advance(SECOND);
        field.at_once(&[any, any, any]);
        // Nobody waits for the last ones.
        while Arc::strong_count(&field.cache) > 1 || Arc::strong_count(&field) > 1 {
            thread::yield_now();
        }
        field.end();
    });
}

/// Callers of several keys each, which overlap: no two wait for each other, and each key is loaded by one at a time, and once.
#[test]
fn bulk_loads_that_overlap() {
    const KEYS: u64 = 4;
    schedules(|| {
        let at_work = Arc::new([const { AtomicUsize::new(0) }; KEYS as usize]);
        let calls = Arc::new(Mutex::new([0; KEYS as usize]));
        let loader = {
            let (at_work, calls) = (at_work.clone(), calls.clone());
            move |key: &u64| {
                let key = *key as usize;
                assert_eq!(at_work[key].fetch_add(1, SeqCst), 0, "one flight: two load key {key}");
                calls.lock().unwrap()[key] += 1;
                thread::yield_now();
                at_work[key].fetch_sub(1, SeqCst);
                Ok::<u64, Infallible>(10 * key as u64)
            }
        };
        let cache =
            Cache::builder().max_capacity(100).shards(1).seed(1).loader(loader).build().expect("a valid configuration");
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let cache = cache.clone();
                thread::spawn(move || {
                    let first = roll(KEYS as usize) as u64;
                    let keys: Vec<u64> = (0..3).map(|n| (first + n * (1 + 2 * (first & 1))) % KEYS).collect();
                    let got = cache.load_all(&keys);
                    let got: Vec<u64> = got.into_iter().map(|value| value.expect("a value")).collect();
                    assert!(got.iter().zip(&keys).all(|(got, key)| *got == 10 * key), "identity: {got:?} for {keys:?}");
                    assert_eq!(cache.load(&first).expect("a value"), 10 * first);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(calls.lock().unwrap().iter().all(|calls| *calls <= 1), "what was loaded is there");
        assert_eq!(cache.validate(), Ok(()));
    });
}

bellwether_shuttle_tests::bugs! {
    loads_in_the_background: "silent bell", "lost swap stays";
    bulk_loads_that_overlap: "looks before it listens", "one is woken";
}
