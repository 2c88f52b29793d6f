#!/usr/bin/env bash
# Unpacks a Rust compiler from Debian's packages, without installing it, and prints where it is.
#   debian-rustc.sh VERSION [PACKAGE ...]   VERSION: as 1.85; "newest": as new as there is. Further packages of that version.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$1
shift
packaged() {
    apt-cache madison rustc-web | awk -v want="$want." 'want == "newest." || index($3, want) == 1 { print $3; exit }'
}
version=$(packaged)
if [ -z "$version" ]; then
    apt-get update -qq >&2
    version=$(packaged)
fi
[ -n "$version" ] || { echo "debian-rustc: no package rustc-web of version $want" >&2; exit 1; }
minor=$(cut -d. -f1,2 <<<"$version")
name=$(IFS=+; echo "$minor${*:++$*}")
root=$PWD/target/debian-rustc/$name

if [ ! -x "$root/usr/bin/rustc" ]; then
    echo "debian-rustc: unpacking rustc-web $version" >&2
    debs=$root.debs
    mkdir -p "$debs"
    llvm=$(apt-cache show "libstd-rust-web-$minor=$version" | sed -n 's/^Depends:.*\(libllvm[0-9]*\).*/\1/p')
    (cd "$debs" && rm -f ./*.deb && apt-get download -qq -o APT::Sandbox::User=root \
        "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-$minor=$version" "$llvm" "${@/%/=$version}") >&2
    rm -rf "$root.part"
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root.part"; done
    rm -rf "$debs" "$root"
    mv "$root.part" "$root"
fi
echo "$root"
