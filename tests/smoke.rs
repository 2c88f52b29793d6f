//! Smoke.
use bellwether::*;
use std::time::Duration;
use std::sync::atomic::*;
#[test]
fn herd() {
    for n in [10, 100, 1000] {
        let c: Cache<u64, u64> = Cache::new(100);
        let calls = AtomicUsize::new(0);
        std::thread::scope(|s| { for _ in 0..n { s.spawn(|| { assert_eq!(c.get_with(&1, || { calls.fetch_add(1, Ordering::SeqCst); std::thread::sleep(Duration::from_millis(30)); 7 }), 7); }); } });
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        println!("{:?}", c.stats());
    }
}
#[test]
fn churn() {
    let c: Cache<u64, u64> = Cache::new(1000);
    std::thread::scope(|s| for t in 0..4u64 { let c = &c; s.spawn(move || { let mut x = t; for _ in 0..300000 { x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); let k = (x >> 40) % 3000; match x >> 62 { 0 => c.insert(k, x), 1 => { c.remove(&k); } _ => { c.get_with(&k, || x); } } } }); });
    println!("{:?} {:?} walk {}", c, c.stats(), c.iter().count());
    assert!(c.weight() <= 1000);
    assert_eq!(c.len(), c.iter().count());
    c.invalidate_all();
    assert_eq!((c.len(), c.weight()), (0, 0));
}
#[test]
fn ttl() {
    let clock = ManualClock::new();
    let c: Cache<String, u64> = Cache::builder().max_capacity(10).time_to_live(Duration::from_secs(10)).clock(clock.clone()).build().unwrap();
    assert_eq!(c.get_with("a", || { clock.advance(Duration::from_secs(1)); 1 }), 1);
    clock.advance(Duration::from_secs(10));
    assert_eq!(c.get("a"), None);
    assert_eq!(c.get_with("a", || 2), 2);
    assert_eq!(c.len(), 1);
}
#[test]
fn overwrite() {
    let c: Cache<u64, u64> = Cache::new(10);
    for i in 0..1_000_000 { c.insert(1, i); }
    println!("{:?}", c.stats());
    let r = c.get_ref(&1).unwrap();
    std::thread::scope(|s| { s.spawn(|| { for i in 0..1_000_000 { c.insert(1, i); } println!("{:?}", c.stats()); }); });
    drop(r);
    for i in 0..1000 { c.insert(1, i); }
    println!("{:?} {:?}", c.stats(), c.get(&1));
}
