#!/usr/bin/env bash
# ThreadSanitizer over tests whose threads meet. It needs a standard library that is instrumented, too, so that is built. Nodes are
# blocks of the allocator's, which it watches, and tables, rings and bags are small, so that growth, eviction and replacement
# collide. With NODES=slabs, nodes lie in slabs, as they do elsewhere, and threads have free ones for themselves.
#   tsan.sh BINARY[,BINARY...] MODULE ...
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(rustc +nightly --print target-libdir)/librustc-nightly_rt.tsan.a
IFS=, read -ra binaries <<<"$1"
shift
source .ci/std-sources.sh
# Debian's compiler comes without the sanitizer's runtime.
if [ -n "${RUSTC:-}" ]; then cp "$runtime" "$("$RUSTC" --print target-libdir)/librustc-stable_rt.tsan.a"; fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan
nodes="--cfg bellwether_malloc"
[ "${NODES:-}" != slabs ] || nodes=
RUSTFLAGS="-Zsanitizer=thread $nodes --cfg bellwether_shrunk --cfg bellwether_tsan" cargo +nightly test -Zbuild-std --locked --all-features \
    --target "$host" "${binaries[@]/#/--test=}" -- "${@/%/::}" </dev/null
echo "tsan: no race found"
