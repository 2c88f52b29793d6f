#!/usr/bin/env bash
# The suite on processors other than the machine's own, and builds for machines without an operating system.
#   targets.sh ci    a share of the suite on i686, and the builds
#   targets.sh full  the suite on i686, natively, and on aarch64 and armv7, under qemu's emulation; and the builds
# The standard library of these is built from its sources (`.ci/std-sources.sh`). Debian's cross compilers link, and build the C of
# the tests' dependencies. What is missing is installed; what cannot be is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

share=${1:-full}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/targets CARGO_PROFILE_DEV_DEBUG=0

# (gcc-multilib, which would do for i686, excludes the cross compilers.)
packages=(gcc-i686-linux-gnu libc6-dev-i386-cross libc6-i386 lib32gcc-s1)
if [ "$share" = full ]; then
    packages+=(qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross)
fi
# For CI.
SHARE=(laws features modes models drops)
# Under emulation these fail, for the emulator's sake: it does not know the advice that huge pages are asked for by, and lets no
# program forbid itself a system call (seccomp).
NOT_EMULATED=(huge_pages no_membarrier lost_membarrier)
BARE=(thumbv7em-none-eabi riscv32imac-unknown-none-elf wasm32-unknown-unknown)

fail() {
    echo "targets: FAILED: $*" >&2
    exit 1
}

install() {
    local missing=()
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] || {
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" || fail "no packages ${missing[*]}"
    }
}

# suite TARGET GCC [RUNNER ...] -- [TEST ...]: some tests, or all of them, on a target.
suite() {
    local target=$1 gcc=$2 runner=() tests=()
    shift 2
    while [ "$1" != -- ]; do
        runner+=("$1")
        shift
    done
    shift
    tests=("$@")
    command -v "$gcc" >/dev/null || fail "there is no $gcc for $target"
    [ "${#runner[@]}" -eq 0 ] || command -v "${runner[0]}" >/dev/null || fail "there is no ${runner[0]} for $target"
    local lower=${target//-/_}
    local settings=("CC_$lower=$gcc" "CARGO_TARGET_${lower^^}_LINKER=$gcc")
    [ "${#runner[@]}" -eq 0 ] || settings+=("CARGO_TARGET_${lower^^}_RUNNER=${runner[*]}")
    echo "targets: $target, ${#tests[@]} test programs"
    env "${settings[@]}" \
        cargo +nightly test -Zbuild-std --locked --all-features --target "$target" --lib "${tests[@]/#/--test=}" -- "${skipped[@]}"
}

# The names of all test programs; without those that are named.
programs() {
    local program
    for program in $(sed -n '/^\[\[test\]\]$/,/^path/s/^name = "\(.*\)"$/\1/p' Cargo.toml tests/runtimes/Cargo.toml); do
        case " $* " in *" $program "*) ;; *) echo "$program" ;; esac
    done
}

install
source .ci/std-sources.sh
skipped=()
if [ "$share" = ci ]; then
    # (Each panic at each hook: minutes, with a standard library that is not optimized.)
    for test in ${LONG_TESTS:-} panics::; do skipped+=(--skip "$test"); done
    suite i686-unknown-linux-gnu i686-linux-gnu-gcc -- "${SHARE[@]}"
else
    mapfile -t all < <(programs)
    mapfile -t emulated < <(programs "${NOT_EMULATED[@]}")
    suite i686-unknown-linux-gnu i686-linux-gnu-gcc -- "${all[@]}"
    echo "targets: without ${NOT_EMULATED[*]}, which the emulator cannot run:"
    suite aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc qemu-aarch64 -L /usr/aarch64-linux-gnu -- "${emulated[@]}"
    suite armv7-unknown-linux-gnueabihf arm-linux-gnueabihf-gcc qemu-arm -L /usr/arm-linux-gnueabihf -- "${emulated[@]}"
fi
echo "targets: ${BARE[*]}, no_std"
cargo +nightly build -Zbuild-std=core,alloc --locked -p bellwether --no-default-features "${BARE[@]/#/--target=}"
echo "targets: ok"
