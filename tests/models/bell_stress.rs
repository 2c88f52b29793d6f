//! Law 2 under stress: many short flights that threads and tasks wait for, mixed, while others give up waiting. A wake-up that
//! is lost leaves somebody asleep for good: then this fails after a minute, and says who, and does not hang.
//!
//! The last ring of a round is the last that there is until all have come back: nobody is woken by accident.

use crate::common::tasks::{Wakes, block_on};
use crate::common::{Census, Member};
use bellwether::{Cache, Entry, Lease, Lookup, Waited, Waiter};
use std::future::Future;
use std::hint::spin_loop;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

type Stressed = Cache<u32, Member<u32>>;
type Waits = Waiter<'static, u32, Member<u32>>;
type Leads = Lease<'static, u32, Member<u32>>;

/// So many take part.
const THREADS: u32 = 6;
/// Flights that are in the air at once. They share the bells, so that some are woken in vain.
const FLIGHTS: u32 = 3;

/// Rounds; `BELLWETHER_STRESS` multiplies them.
fn rounds() -> u32 {
    let times = std::env::var("BELLWETHER_STRESS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    3_000 * times
}

/// What one is about to do, for whoever looks for the one that hangs.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
enum Way {
    Thread,
    ThreadForATime,
    Task,
    TaskOfManyWakers,
    TaskThenThread,
    Leaves,
    SleepsAndLeaves,
    Moves,
}

const WAYS: [Way; 8] = {
    use Way::*;
    [Thread, ThreadForATime, Task, TaskOfManyWakers, TaskThenThread, Leaves, SleepsAndLeaves, Moves]
};

fn poll(waiter: &mut Waits, waker: &Waker) -> Option<Waited<'static, u32, Member<u32>>> {
    match Pin::new(waiter).poll(&mut Context::from_waker(waker)) {
        std::task::Poll::Ready(waited) => Some(waited),
        std::task::Poll::Pending => None,
    }
}

/// Some waker of nobody's, unlike all others.
fn nobody() -> Waker {
    Waker::from(Arc::new(Wakes::default()))
}

/// Waits in this way; None: it gave up. `moved` takes a waiter for another to go on with, and gives one.
fn wait(way: Way, mut waiter: Waits, moved: &Moved) -> Option<Waited<'static, u32, Member<u32>>> {
    match way {
        Way::Thread => Some(waiter.wait()),
        Way::ThreadForATime => loop {
            match waiter.wait_timeout(Duration::from_micros(20)) {
                Ok(waited) => return Some(waited),
                Err(again) => waiter = again,
            }
        },
        Way::Task => Some(block_on(waiter)),
        Way::TaskOfManyWakers => {
            for _ in 0..3 {
                if let Some(waited) = poll(&mut waiter, &nobody()) {
                    return Some(waited);
                }
            }
            Some(block_on(waiter))
        }
        Way::TaskThenThread => Some(poll(&mut waiter, &nobody()).unwrap_or_else(|| waiter.wait())),
        Way::Leaves => None,
        Way::SleepsAndLeaves => {
            let waited = poll(&mut waiter, &nobody());
            thread::yield_now();
            waited
        }
        Way::Moves => {
            if let Some(waited) = poll(&mut waiter, &nobody()) {
                return Some(waited);
            }
            // If the other has ended, this one has left.
            drop(moved.0.send(waiter));
            moved.1.try_recv().ok().map(block_on)
        }
    }
}

/// Has all begin a round in the same moment: hence it spins at first.
#[derive(Default)]
struct Start(AtomicU32);

impl Start {
    fn meet(&self) {
        let all = self.0.fetch_add(1, SeqCst) / THREADS * THREADS + THREADS;
        let mut spins = 0;
        while self.0.load(SeqCst) < all {
            spins += 1;
            if spins % 64 == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}

/// Waiters on their way to another thread. Whatever is left there at the end of a round has left.
struct Moved(Sender<Waits>, Receiver<Waits>);

fn xorshift(random: &mut u32) -> u32 {
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    *random
}

/// Ends a lease, so or so: whoever waits gets the value, or leads in turn, or is told.
fn end(lease: Leads, key: u32, random: u32, census: &Census) {
    match random % 8 {
        0 => drop(lease),
        1 => lease.fail(),
        2 => lease.fail_with("no"),
        _ => drop(lease.fulfil(census.member(key))),
    }
}

/// One who takes part in all rounds; notes what it is at.
fn member(id: u32, cache: &Arc<Stressed>, (start, at): (&Start, &AtomicU32), census: &Census, moved: &Moved) {
    let mut random = 0x9e37_79b9_u32.wrapping_mul(id + 1);
    for round in 0..rounds() {
        start.meet();
        let key = round * FLIGHTS + xorshift(&mut random) % FLIGHTS;
        let way = WAYS[(xorshift(&mut random) >> 8) as usize % WAYS.len()];
        at.store(round << 4 | way as u32, SeqCst);
        match cache.lease_owned(&key) {
            Lookup::Hit(value) => assert_eq!(value.what, key),
            Lookup::Lead(lease) => {
                match xorshift(&mut random) >> 8 {
                    n if n % 4 == 0 => (0..n >> 8 & 7).for_each(|_| thread::yield_now()),
                    n => (0..n >> 8 & 255).for_each(|_| spin_loop()),
                }
                end(lease, key, random >> 4, census);
            }
            Lookup::Wait(waiter) => match wait(way, waiter, moved) {
                Some(Waited::Ready(value)) => assert_eq!(value.what, *Entry::key(&value)),
                Some(Waited::Lead(lease)) => {
                    let key = *lease.key();
                    end(lease, key, random >> 4, census);
                }
                Some(Waited::Failed(_) | Waited::Abandoned) | None => {}
                Some(_) => panic!("nothing sheds here"),
            },
            _ => panic!("nothing expires here"),
        }
        // What others have moved here and nobody has taken.
        drop(moved.1.try_recv());
    }
    at.store(u32::MAX, SeqCst);
}

#[test]
fn nobody_sleeps_for_good() {
    let (census, done) = (Census::default(), Arc::new(AtomicBool::new(false)));
    let cache: Arc<Stressed> = Arc::new(Cache::new(100));
    let start = Start::default();
    let at: Arc<Vec<AtomicU32>> = Arc::new((0..THREADS).map(|_| AtomicU32::new(0)).collect());
    watch(at.clone(), done.clone());
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    thread::scope(|scope| {
        for (id, receiver) in (0..).zip(receivers) {
            let moved = Moved(senders[(id as usize + 1) % THREADS as usize].clone(), receiver);
            let (cache, start, at, census) = (&cache, &start, &at[id as usize], &census);
            scope.spawn(move || member(id, cache, (start, at), census, &moved));
        }
    });
    done.store(true, SeqCst);
    drop((senders, cache));
    assert_eq!(census.alive(), 0);
}

/// Says who hangs, and ends the process: they cannot be woken.
fn watch(at: Arc<Vec<AtomicU32>>, done: Arc<AtomicBool>) {
    let look = move || -> Vec<u32> { at.iter().map(|at| at.load(SeqCst)).collect() };
    thread::spawn(move || {
        let (mut seen, mut since) = (look(), Instant::now());
        while !done.load(SeqCst) {
            thread::sleep(Duration::from_millis(50));
            let now = look();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(60) {
                let who = |at: &u32| format!("round {} {:?}", at >> 4, WAYS.get((at & 15) as usize));
                // Not by `eprintln`, which the test harness captures.
                let who: Vec<_> = seen.iter().map(who).collect();
                let _ = writeln!(std::io::stderr(), "somebody sleeps for good: {who:#?}");
                std::process::exit(101);
            }
        }
    });
}
