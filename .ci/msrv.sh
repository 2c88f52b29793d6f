#!/usr/bin/env bash
# Checks that the crate's `rust-version` is true: `cargo check --lib` by that very compiler, from Debian's packages.
# The library only: the examples' dependencies ask for newer compilers.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
root=$(.ci/debian-rustc.sh "$want")
export RUSTC=$root/usr/bin/rustc LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv/build
"$RUSTC" --version
case "$("$RUSTC" --version)" in
    "rustc $want."*) ;;
    *) echo "msrv: this is not $want"; exit 1 ;;
esac
for features in "" "--no-default-features" "--all-features"; do
    echo "msrv: cargo check --lib $features"
    # shellcheck disable=SC2086
    cargo check --quiet --locked -p bellwether --lib $features </dev/null
done
echo "msrv: ok, $want"
