//! The crate without std: a `#![no_std] #![no_main]` binary runs a lease by hand, and cannot be linked as soon as a
//! dependency brings std in. The work is done by `tests/no_std/check.sh`, with a cargo of its own.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;
use std::process::Command;

#[test]
fn the_crate_works_without_std() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash")
        .arg(root.join("tests/no_std/check.sh"))
        // Flags of this build (a sanitizer, say) are not that one's.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .expect("bash can be started");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
