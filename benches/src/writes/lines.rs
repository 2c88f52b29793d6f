//! Cache lines as processors keep them: one may write a line while no other has it, many may read it while nobody writes.
//!
//! Threads take turns, one operation each, so what is counted does not depend on how many processors there are.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    panic::Location,
    sync::{Arc, mpsc},
    thread,
};

type From = &'static Location<'static>;

const LINE: usize = 64;
/// Turns of each thread before counting begins: by then it is registered, and whatever it does once is done.
const WARM: u64 = 20;
const TURNS: u64 = 100;
pub(crate) const TURNS_A_THREAD: u64 = WARM + TURNS;

/// What a thread does to an atomic.
#[derive(Debug, Clone, Copy)]
struct Access {
    line: usize,
    kind: Kind,
    from: From,
    counts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Load,
    Store,
    Update,
    /// A prefetch of a line that is to be written.
    Take,
}

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Vec<Access>> = const { RefCell::new(Vec::new()) };
}

/// The shim of the counting build (`src/sync.rs`) calls this at each access.
#[unsafe(no_mangle)]
fn bellwether_access(address: usize, size: usize, kind: u8, from: From) {
    let kind = [Kind::Load, Kind::Store, Kind::Update, Kind::Take][usize::from(kind)];
    assert_eq!(address / LINE, (address + size - 1) / LINE, "an atomic is in one line");
    // A thread that ends has nobody left to tell.
    let _ = SEEN.try_with(|seen| {
        seen.borrow_mut().push(Access { line: address / LINE, kind, from, counts: COUNTS.get() });
    });
}

/// Counts what this operation does; what a turn does besides only decides who has which line.
pub(crate) fn counted<R>(operation: impl FnOnce() -> R) -> R {
    COUNTS.set(true);
    let result = operation();
    COUNTS.set(false);
    result
}

/// Who has a line.
#[derive(Default)]
struct Line {
    /// The threads that have a copy: one, if it was written last.
    holders: u64,
    /// All that ever read or wrote it.
    users: u64,
}

/// The accesses of one place in the source, of one kind.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// To lines that no other thread uses.
    pub(crate) own: u64,
    /// To lines that others use, too.
    pub(crate) shared: u64,
    /// Those for which the line had to come from another processor, or be taken from others.
    pub(crate) moved: u64,
}

/// What an operation costs, over all its turns.
pub(crate) struct Counts {
    pub(crate) turns: u64,
    pub(crate) by_place: HashMap<(Kind, &'static str, u32), Tally>,
    /// Of the moves, those of the line that moves most.
    pub(crate) busiest: u64,
}

impl Counts {
    /// A figure an operation, over all places.
    pub(crate) fn each(&self, kinds: &[Kind], figure: fn(&Tally) -> u64) -> f64 {
        let of = self.by_place.iter().filter(|((kind, ..), _)| kinds.contains(kind));
        of.map(|(_, tally)| figure(tally)).sum::<u64>() as f64 / self.turns as f64
    }
}

/// Has threads take turns at `turn`, which is given a number that no other turn has.
pub(crate) fn take_turns(threads: usize, turn: Arc<dyn Fn(u64) + Send + Sync>) -> Counts {
    assert!(threads <= u64::BITS as usize);
    let (report, reports) = mpsc::channel();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (go, goes) = mpsc::channel();
            let (turn, report) = (Arc::clone(&turn), report.clone());
            let work = move || {
                for number in goes {
                    turn(number);
                    report.send(SEEN.take()).expect("somebody counts");
                }
            };
            (go, thread::spawn(work))
        })
        .collect();
    let (mut lines, mut counted) = (HashMap::new(), Vec::new());
    for number in 0..TURNS_A_THREAD * threads as u64 {
        let thread = number as usize % threads;
        workers[thread].0.send(number).expect("the thread waits for its turn");
        let seen = reports.recv().expect("the thread reports");
        for access in seen {
            let moved = pass(&mut lines, thread, access);
            if access.counts && number >= WARM * threads as u64 {
                counted.push((access, moved));
            }
        }
    }
    for (go, worker) in workers {
        drop(go);
        worker.join().expect("no turn panics");
    }
    sum(&lines, &counted, TURNS * threads as u64)
}

/// Who has the line afterwards; returns whether it had to move.
fn pass(lines: &mut HashMap<usize, Line>, thread: usize, access: Access) -> bool {
    let (me, line) = (1 << thread, lines.entry(access.line).or_default());
    // The first access of all says nothing: it may be memory that no thread has had before.
    let known = line.users != 0;
    line.users |= me;
    if access.kind == Kind::Load {
        let moved = line.holders & me == 0;
        line.holders |= me;
        return known && moved;
    }
    let moved = line.holders != me;
    line.holders = me;
    known && moved
}

fn sum(lines: &HashMap<usize, Line>, counted: &[(Access, bool)], turns: u64) -> Counts {
    let (mut by_place, mut moves) = (HashMap::<_, Tally>::new(), HashMap::<_, u64>::new());
    for (access, moved) in counted {
        let tally = by_place.entry((access.kind, access.from.file(), access.from.line())).or_default();
        let shared = lines[&access.line].users.count_ones() > 1;
        *if shared { &mut tally.shared } else { &mut tally.own } += 1;
        tally.moved += u64::from(*moved);
        *moves.entry(access.line).or_default() += u64::from(*moved);
    }
    Counts { turns, by_place, busiest: moves.into_values().max().unwrap_or_default() }
}
