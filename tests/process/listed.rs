//! Every test is part of a test binary: `Cargo.toml` names each file below `tests`, or a `main.rs` has
//! it as a module.

use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files of a folder, without those in the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn no_test_is_left_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (tests, manifest) = (root.join("tests"), read(&root.join("Cargo.toml")));
    let (mut left_out, mut seen) = (Vec::new(), 0);
    assert_eq!(files(&tests), [] as [PathBuf; 0], "tests are in folders");
    for folder in ["laws", "features", "models", "process", "runtimes", "modes"] {
        let main = tests.join(folder).join("main.rs");
        let modules = if main.exists() { read(&main) } else { String::new() };
        for file in files(&tests.join(folder)) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let entry = format!("\npath = \"tests/{folder}/{name}.rs\"\n");
            let runtimes = matches!(folder, "runtimes" | "modes") && name == "main";
            if !runtimes && !manifest.contains(&entry) && !modules.contains(&format!("\nmod {name};\n")) {
                left_out.push(file.clone());
            }
            seen += 1;
        }
    }
    assert!(seen > 70, "only {seen} files");
    assert!(left_out.is_empty(), "no test binary has {left_out:?}");
}
