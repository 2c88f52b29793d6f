//! A first cache: a value that many threads ask for is loaded once. `cargo run --example first_cache`.

use bellwether::Cache;
use std::{error::Error, fs, thread, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Cache<String, usize> =
        Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build()?;

    // Sixteen threads ask at once. One of them reads the file; the others wait for its answer.
    let lines = || fs::read_to_string("Cargo.toml").map(|text| text.lines().count());
    let read = thread::scope(|scope| {
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(|| files.try_get_with("Cargo.toml", lines))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Result<Vec<_>, _>>()
    })?;
    assert!(read.iter().all(|lines| *lines == read[0]));
    assert_eq!(files.stats().loads, 1);
    println!("16 callers, {} load: Cargo.toml has {} lines", files.stats().loads, read[0]);

    // A failed load is an error to all who waited for it, and is not kept.
    let error = files.try_get_with("no such file", || fs::read("no such file").map(|bytes| bytes.len())).unwrap_err();
    println!("{error}: {}", error.source().expect("the loader's own error"));

    // Without a loader it is a concurrent map.
    files.insert("by hand".into(), 7);
    assert_eq!(files.get("by hand"), Some(7));
    assert_eq!(files.remove("by hand"), Some(7));
    assert_eq!(files.len(), 1);
    Ok(())
}
