//! The files of `src`, for tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Each file below `src`, with its path there and its text.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, src: &Path, all: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, src, all);
            } else {
                all.push((path.strip_prefix(src).unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    walk(&src, &src, &mut all);
    assert!(all.len() > 100, "the sources were found");
    all
}

/// Whether a file is Rust's.
pub(crate) fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}
