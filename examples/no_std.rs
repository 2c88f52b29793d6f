//! What a program without std calls: registered pins, and loads by hand, by a lease. (It builds with
//! `default-features = false`, too; `tests/no_std` is a program that has no std.)
//! `cargo run --example no_std`.

use bellwether::{Cache, Lookup, Waited};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

fn main() {
    let cache: Cache<u32, u64> = Cache::builder().max_capacity(100).build().expect("a capacity is all it needs");
    // Without std there are no thread-locals: a thread, or a core, registers once and keeps this.
    let local = cache.register();

    // The first to look leads: it holds the lease, and whoever comes now waits.
    let Lookup::Lead(lease) = local.lease(&1) else { panic!("the cache is empty") };
    let Lookup::Wait(waiter) = local.lease(&1) else { panic!("the key is being loaded") };
    // A waiter is a future. An executor polls it; here it is polled by hand.
    let mut waiter = pin!(waiter);
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiter.as_mut().poll(&mut context).is_pending());

    let loaded = lease.fulfil(42).expect("no other has changed the key meanwhile");
    let Poll::Ready(Waited::Ready(waited)) = waiter.poll(&mut context) else { panic!("it is answered") };
    assert_eq!((*loaded, *waited), (42, 42));

    // Many lookups under one pin.
    let pin = local.pin();
    assert_eq!((pin.get(&1), pin.get(&2)), (Some(42), None));
    println!("{} load, {} waiter, value {}", cache.stats().loads, cache.stats().coalesced, *waited);
}
