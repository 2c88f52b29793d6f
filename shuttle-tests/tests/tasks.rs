//! Tasks among threads, and futures that are dropped.
#![cfg(shuttle)]

use bellwether::Lookup;
use bellwether_shuttle_tests::{Field, Terms, deeds::*, schedules};
use shuttle::{future, thread};
use std::sync::Arc;

/// Tasks and threads join one flight; some tasks are dropped at an await, as leaders too, and some loads panic.
#[test]
fn tasks_come_and_go() {
    fn polls(field: &Arc<Field>, _: u64) {
        some(field, 3, &[task, try_task, lease]);
    }
    fn blocks(field: &Arc<Field>, _: u64) {
        some(field, 3, &[get_with, try_get_with, lease]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 1, fails: true, ..Terms::default() });
        field.at_once(&[polls, polls, polls, blocks]);
        field.end();
    });
}

/// Several tasks of one executor wait for a thread, which gives up, and a task is aborted while it waits, or as it is woken.
#[test]
fn a_task_is_aborted_as_it_waits() {
    schedules(|| {
        let field = Field::new(Terms { keys: 1, ..Terms::default() });
        let Lookup::Lead(lease) = field.cache.lease_owned(&0) else { panic!("the first one leads") };
        let (tasks, doomed): (Vec<_>, Vec<_>) = (0..4)
            .map(|n| {
                let field = field.clone();
                let waits = async move {
                    let before = field.before(0);
                    let load = async || {
                        let loading = field.load(0, before);
                        future::yield_now().await;
                        field.loaded(0, loading.version)
                    };
                    let value = field.cache.get_with_async(&0, load).await;
                    field.ledger.given(0, before, value.record(), "get_with_async");
                };
                (n, future::spawn(waits))
            })
            .partition(|(n, _)| n % 2 == 0);
        let aborts = thread::spawn(move || {
            doomed.iter().for_each(|(_, task)| task.abort());
            doomed.into_iter().for_each(|(_, task)| drop(future::block_on(task)));
        });
        thread::yield_now();
        drop(lease);
        tasks.into_iter().for_each(|(_, task)| future::block_on(task).expect("it was not aborted"));
        aborts.join().unwrap();
        // The first lease, which was taken by hand, was no call of a loader.
        assert!(!field.cache.is_loading(&0), "a flight was left behind");
        assert!(field.cache.contains_key(&0));
        assert_eq!(field.cache.validate(), Ok(()));
    });
}

bellwether_shuttle_tests::bugs! {
    tasks_come_and_go: "a task is left asleep", "sleeps through the ring", "handed in silence";
    a_task_is_aborted_as_it_waits: "a task is left asleep", "sleeps through the ring";
}
