//! Imports run strictly downward, over the floors of `src` (design section 8, as it was built).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground up. A module may import from floors below its own, and within its own directory.
const FLOORS: &[&[&str]] = &[
    // What everything stands on.
    &[
        "sync", "zeroed", "unwind", "clock", "key", "error", "hasher", "expiry", "order", "outcome", "rejected",
        "failure", "span",
    ],
    &["observer", "ticker", "unpark", "answers", "stack"],
    &["time", "timer", "tags", "spawn", "stats", "link", "doubling", "futex"],
    // Memory; the cells of the list; a flight on its own; the list; the slots.
    &["reclaim", "alarms", "buckets"],
    &["flight", "table", "policy"],
    // A cache without its hasher.
    &["engine"],
    // What callers hold.
    &["entry"],
    &["alert", "deadline", "fate"],
    &["inline"],
    &["lease", "waiter", "iter"],
    &["lookup", "form"],
    &["through"],
    // The cache.
    &["cache", "builder", "pinned"],
    // How to sleep.
    &["blocking", "future", "janitor"],
    &["request", "tokio_rt"],
    &["detached"],
    &["loading"],
    &["bulk"],
    &["lib"],
];

fn sources(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn imports_run_downward() {
    let floors: HashMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(n, names)| names.iter().map(move |&name| (name, n))).collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 20, "the sources were found");
    let mut seen = 0;
    for file in files {
        let module = file.strip_prefix(&src).unwrap().iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let floor = *floors.get(module).unwrap_or_else(|| panic!("{module} has no floor"));
        for line in fs::read_to_string(&file).unwrap().lines() {
            let line = line.trim();
            let Some(path) = line.strip_prefix("use crate::").or_else(|| line.strip_prefix("pub(crate) use crate::"))
            else {
                continue;
            };
            let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let other = *floors.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no floor"));
            assert!(
                other < floor || name == module || siblings(module, &name),
                "{} imports upward or sideways: {line}",
                file.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "the imports were found");
}

/// Pairs on one floor that are two halves of one thing: a waiter may come to lead, and a lookup to wait; a cache is
/// what a builder builds and a pin is of.
fn siblings(a: &str, b: &str) -> bool {
    [["lease", "waiter"], ["cache", "builder"], ["cache", "pinned"]]
        .iter()
        .any(|pair| pair.contains(&a) && pair.contains(&b))
}

#[test]
fn only_one_file_names_the_atomics_and_one_the_epoch() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let naming = |word: &str| -> Vec<String> {
        let uses = |f: &&PathBuf| {
            fs::read_to_string(f).unwrap().lines().any(|l| !l.trim().starts_with("//") && l.contains(word))
        };
        files.iter().filter(uses).map(|f| f.strip_prefix(&src).unwrap().display().to_string()).collect()
    };
    assert_eq!(naming("crossbeam_epoch"), ["reclaim/epoch.rs"]);
    assert_eq!(naming("portable_atomic"), ["sync.rs"]);
    assert_eq!(naming("shuttle::"), ["sync.rs"]);
    for lock in ["Mutex", "RwLock", "Condvar"] {
        assert!(naming(lock).is_empty(), "{lock} in {:?}", naming(lock));
    }
}
