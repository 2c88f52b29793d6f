#!/usr/bin/env bash
# ThreadSanitizer over tests whose threads meet. It needs a standard library that is instrumented, too, so that is built:
# by Debian's compiler, whose sources are to be had as a package. Nodes are blocks of the allocator's, which it watches, and
# tables, rings and bags are small, so that growth, eviction and replacement collide. With NODES=slabs, nodes lie in slabs, as
# they do elsewhere, and threads have free ones for themselves.
#   tsan.sh [MODULE ...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Modules of these test binaries.
BINARIES=(models laws features runtimes)
MODULES=(stress bell_stress linearizable one_flight no_stale_sets take_over_corners detached_threads)
[ "$#" -eq 0 ] || MODULES=("$@")

host=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(rustc +nightly --print sysroot)/lib/rustlib/$host/lib/librustc-nightly_rt.tsan.a
root=$(.ci/debian-rustc.sh newest rust-web-src)
cp "$runtime" "$root/usr/lib/rustlib/$host/lib/librustc-stable_rt.tsan.a"

export RUSTC=$root/usr/bin/rustc LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan
"$RUSTC" --version
nodes="--cfg bellwether_malloc"
[ "${NODES:-}" != slabs ] || nodes=
RUSTFLAGS="-Zsanitizer=thread $nodes --cfg bellwether_shrunk --cfg bellwether_tsan" cargo +nightly test -Zbuild-std --locked --all-features \
    --target "$host" "${BINARIES[@]/#/--test=}" -- "${MODULES[@]/%/::}" </dev/null
echo "tsan: no race found"
