//! What a soak came to.

use crate::memory::Thirds;
use crate::pasture::Pasture;
use crate::{Soak, task};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What each cache has been through: a law that nothing tried to break was not tested.
pub(crate) fn caches(pastures: &[Arc<Pasture>]) {
    print!("   {:<17}", "");
    pastures.iter().for_each(|pasture| print!("{:>12}", pasture.cache.name()));
    println!();
    type Column = (&'static str, fn(&Pasture) -> u64);
    let rows: [Column; 14] = [
        ("loads", |p| p.cache.stats().loads),
        ("that failed", |p| p.cache.stats().load_failures),
        ("waited for", |p| p.cache.stats().coalesced),
        ("early", |p| p.cache.stats().early_refreshes),
        ("handed over", |p| p.cache.stats().handovers),
        ("taken over", |p| p.cache.stats().takeovers),
        ("not stored", |p| p.cache.stats().bypassed),
        ("stale serves", |p| p.cache.stats().stale_serves),
        ("wait timeouts", |p| p.cache.stats().wait_timeouts),
        ("evictions", |p| p.cache.stats().evictions),
        ("expirations", |p| p.cache.stats().expirations),
        ("invalidations", |p| p.cache.stats().invalidations),
        ("most retired, B", |p| p.retired.load(SeqCst)),
        ("broken laws", |p| p.ledger.lapses.load(SeqCst)),
    ];
    for (what, of) in rows {
        print!("   {what:<17}");
        pastures.iter().for_each(|pasture| print!("{:>12}", of(pasture)));
        println!();
    }
}

pub(crate) fn run(soak: &Soak<'_>, thirds: Option<Thirds>, lapses: u64, alive: u64) {
    let (rounds, steps, seconds) = (soak.rounds, soak.steps, soak.start.elapsed().as_secs_f64());
    let cancelled = task::CANCELLED.load(SeqCst);
    println!(
        "\n   {steps} steps in {rounds} rounds and {seconds:.1} s, by {} threads and {} tasks; {cancelled} futures dropped.",
        soak.args.threads,
        2 * soak.args.threads
    );
    match thirds {
        None => println!("   Memory: too few rounds to tell whether it is flat."),
        Some(Thirds { middle, last }) => {
            let mib = |bytes| bytes as f64 / f64::from(1 << 20);
            println!("   Resident: {:.1} MiB in the middle third, {:.1} MiB in the last.", mib(middle), mib(last));
        }
    }
    println!("   Values alive after the caches are dropped: {alive}.");
    for fault in &soak.faults {
        println!("   BROKEN after {:.1} s: {}", fault.at.as_secs_f64(), fault.what);
    }
    match lapses {
        0 if alive == 0 => println!("   Every law held (seed {}).", soak.args.seed),
        _ => println!("   {lapses} times a law was broken (seed {}).", soak.args.seed),
    }
}
