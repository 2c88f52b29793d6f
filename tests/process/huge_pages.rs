//! `huge_pages`: a binary of its own, because it looks at what the whole process has.
#![cfg(all(target_os = "linux", not(any(loom, bellwether_malloc))))]

use bellwether::Cache;
use std::fs;

const MIB: u64 = 1 << 20;
/// Some 22 MiB of entries, of which the first two are in small chunks, and 4 MiB of table, of which the last level has two.
const ENTRIES: u64 = 350_000;

/// Bytes of this process that the system was asked to put on huge pages, and those that are.
fn huge_pages() -> [u64; 2] {
    let (mut size, mut huge, mut asked, mut given) = (0, 0, 0, 0);
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let bytes = |rest: &str| rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
        match line.split_once(':') {
            Some(("Size", rest)) => size = bytes(rest),
            Some(("AnonHugePages", rest)) => huge = bytes(rest),
            // The last line of each mapping.
            Some(("VmFlags", flags)) => {
                asked += if flags.split_whitespace().any(|flag| flag == "hg") { size } else { 0 };
                given += huge;
            }
            _ => {}
        }
    }
    [asked, given]
}

/// How many more of both there are with a cache that is full.
fn taken(switch: bool) -> [u64; 2] {
    let before = huge_pages();
    let builder = Cache::builder().max_capacity(ENTRIES).shards(1);
    let cache: Cache<u64, u64> = builder.huge_pages(switch).build().unwrap();
    (0..ENTRIES).for_each(|key| cache.insert(key, key));
    assert_eq!(cache.get(&7), Some(7));
    let after = huge_pages();
    [0, 1].map(|i| after[i].saturating_sub(before[i]))
}

#[test]
fn asked_for_and_only_then() {
    let mode = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if mode.is_empty() || mode.contains("[never]") {
        eprintln!("skipped: this system has no huge pages to ask for: {mode}");
        return;
    }
    let [asked, _] = taken(false);
    assert_eq!(asked, 0, "without the switch nobody asks");
    let [asked, given] = taken(true);
    println!("asked for {} MiB of huge pages, given {}", asked / MIB, given / MIB);
    assert!((18 + 2..=20 + 2).contains(&(asked / MIB)), "{asked}");
    // How many there are is the system's affair.
    assert!(given <= asked || mode.contains("[always]"), "{given}");
}
