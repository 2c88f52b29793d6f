#!/usr/bin/env bash
# Links the cache into a program without std and runs it; then sees that build fail when a dependency brings std in.
# Needs cargo and a C linker.
set -euo pipefail
cd "$(dirname "$0")"

for profile in dev release; do
    echo "no_std: build and run ($profile)"
    cargo run --quiet --locked --profile "$profile" </dev/null
done

echo "no_std: the same with std brought in by a dependency; must fail with E0152"
if log=$(cargo build --quiet --locked --features leak 2>&1 </dev/null); then
    echo "no_std: FAILED: a dependency on std went unnoticed"
    exit 1
fi
if ! grep -q 'E0152' <<<"$log"; then
    echo "no_std: FAILED: the build with std failed for another reason:"
    echo "$log"
    exit 1
fi
grep -m1 'E0152' <<<"$log"
echo "no_std: ok"
