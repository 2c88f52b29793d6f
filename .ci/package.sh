#!/usr/bin/env bash
# The crate as it would be published: packed, built from the packed file, and built once more with the oldest direct
# dependencies that Cargo.toml admits.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}

# Built from the packed file, too. (What is not committed is packed as it is.)
cargo package --locked -p bellwether --allow-dirty --quiet
packed=$(cargo package --locked -p bellwether --allow-dirty --list | wc -l)

unpacked=$target/oldest/crate
rm -rf "$unpacked"
mkdir -p "$unpacked"
tar -xzf "$target"/package/bellwether-*.crate --strip-components=1 -C "$unpacked"
cd "$unpacked"
printf '\n[workspace]\n' >>Cargo.toml
cargo +nightly update --quiet -Zdirect-minimal-versions
CARGO_TARGET_DIR=$target/oldest cargo check --quiet --locked --lib --all-features
cargo tree --locked --all-features --edges normal --depth 1 --prefix none
echo "ran: $packed files packed and built; built with the oldest direct dependencies"
