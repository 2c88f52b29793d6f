#!/usr/bin/env bash
# Checks that the crate's `rust-version` is true: `cargo check --lib` by that very compiler, from Debian's packages,
# unpacked into target/msrv and not installed. The library only: the examples' dependencies ask for newer compilers.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
debs=target/msrv/debs
root=$PWD/target/msrv/$want
rustc=$root/usr/bin/rustc

if [ ! -x "$rustc" ]; then
    packaged() { apt-cache madison rustc-web | awk -v want="$want." 'index($3, want) == 1 && !seen++ { print $3 }'; }
    version=$(packaged)
    if [ -z "$version" ]; then
        apt-get update -qq
        version=$(packaged)
    fi
    [ -n "$version" ] || { echo "msrv: no package rustc-web of version $want"; exit 1; }
    echo "msrv: unpacking rustc-web $version"
    mkdir -p "$debs"
    llvm=$(apt-cache show "libstd-rust-web-$want=$version" | sed -n 's/^Depends:.*\(libllvm[0-9]*\).*/\1/p')
    (cd "$debs" && rm -f ./*.deb && apt-get download -qq -o APT::Sandbox::User=root \
        "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-$want=$version" "$llvm")
    rm -rf "$root.part"
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root.part"; done
    rm -rf "$debs" "$root"
    mv "$root.part" "$root"
fi

export RUSTC=$rustc LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv/build
"$rustc" --version
case "$("$rustc" --version)" in
    "rustc $want."*) ;;
    *) echo "msrv: this is not $want"; exit 1 ;;
esac
for features in "" "--no-default-features" "--all-features"; do
    echo "msrv: cargo check --lib $features"
    # shellcheck disable=SC2086
    cargo check --quiet --locked --lib $features </dev/null
done
echo "msrv: ok, $want"
