//! Loads in the background run in the `tracing` span of the caller on whose behalf they do.
#![cfg(feature = "tracing")]
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Answers, Load, LoadAsync};
use common::tasks::{Task, yield_now};
use common::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use tracing::Metadata;
use tracing::span::{self, Id};
use tracing_core::span::Current;

thread_local! { static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) }; }

/// Knows in which spans a thread is.
#[derive(Default)]
struct Spans(AtomicU64, Mutex<Vec<&'static Metadata<'static>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, new: &span::Attributes<'_>) -> Id {
        self.1.lock().unwrap().push(new.metadata());
        Id::from_u64(self.0.fetch_add(1, SeqCst) + 1)
    }
    fn record(&self, _: &Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }
    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| assert!(entered.pop().is_some()));
    }
    fn current_span(&self) -> Current {
        let Some(id) = current() else { return Current::none() };
        Current::new(Id::from_u64(id), self.1.lock().unwrap()[id as usize - 1])
    }
}

/// The span that this thread is in.
fn current() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

/// Notes where it is called.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

type Note = (ThreadId, Option<u64>);

impl Notes {
    fn note(&self) -> Result<u64, Broken> {
        self.0.lock().unwrap().push((thread::current().id(), current()));
        Ok(1)
    }
}

impl Load<Key, u64> for Notes {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        self.note()
    }
    fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        keys.iter().for_each(|key| assert!(answers.answer(*key, self.note())));
    }
}

impl LoadAsync<Key, u64> for Notes {
    type Error = Broken;
    async fn load(&self, _: &Key) -> Result<u64, Broken> {
        // Polled more than once: in the span each time.
        yield_now().await;
        self.note()
    }
}

#[test]
fn loads_in_the_background_run_in_their_callers_span() {
    let notes = Notes::default();
    let (builder, _) = timed();
    let cache = builder.hard_timeout(600 * SECOND).loader(notes.clone()).build().unwrap();
    let runs = |what: &str, ask: &dyn Fn()| {
        cache.invalidate_all();
        let span = tracing::info_span!("a request");
        let id = span.id().expect("it is enabled").into_u64();
        span.in_scope(ask);
        until("it is loaded", || !cache.is_loading(&1) && !notes.0.lock().unwrap().is_empty());
        for (thread, within) in std::mem::take(&mut *notes.0.lock().unwrap()) {
            assert_ne!(thread, thread::current().id(), "{what}: in the background");
            assert_eq!(within, Some(id), "{what}");
        }
        assert_eq!(current(), None);
    };
    tracing::subscriber::with_default(Spans::default(), || {
        let detached = || {
            let notes = notes.clone();
            drop(cache.cache().detached(&1).try_get_with(move || notes.note()).unwrap());
        };
        runs("detached", &detached);
        let as_task = || {
            let notes = notes.clone();
            let load = move || async move {
                yield_now().await;
                notes.note()
            };
            drop(Task::new(cache.cache().detached(&1).try_get_with_async(load)).finish_when_woken().unwrap());
        };
        runs("detached, as a task", &as_task);
        runs("load", &|| assert_eq!(cache.load(&1).unwrap(), 1));
        runs("load_async", &|| assert_eq!(Task::new(cache.load_async(&1)).finish_when_woken().unwrap(), 1));
        runs("refresh", &|| assert!(cache.refresh(&1)));
        runs("refresh_async", &|| assert!(cache.refresh_async(&1)));
        runs("load_all", &|| assert_eq!(cache.load_all(&[1, 2]).len(), 2));
        runs("load_all_async", &|| assert_eq!(Task::new(cache.load_all_async(&[1, 2])).finish_when_woken().len(), 2));
    });
}
