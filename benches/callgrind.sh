#!/usr/bin/env bash
# Counts what a warm hit executes: instructions, locked instructions and fences, clock reads; fails if it executes a
# locked instruction besides the pin's, or reads a precise clock. See README.md.
# Needs valgrind and objdump (Debian: valgrind, binutils).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

HITS=${HITS:-12800} # a hundred times crossbeam's 128 pins between two attempts to move the epoch on
WAYS=(get pinned get_with ttl ttl_get_with)
declare -A FUNCTION=([get]=hit_get [pinned]=hit_pinned [get_with]=hit_get_with [ttl]=hit_get [ttl_get_with]=hit_get_with)

cargo build --quiet --release --locked -p bellwether-benches --bin hit
binary=${CARGO_TARGET_DIR:-target}/release/hit
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Instructions that lock the bus (an xchg with memory does so without saying), order memory, or read the time.
special='^ *[0-9a-f]+:\t(lock|xchg +[^(]*\(|xchg +.*\),|[lms]fence|rdtscp?|cpuid|syscall)'

# count WAY HITS: the run's profile in $out/WAY.HITS; prints its instructions.
count() {
    valgrind --tool=callgrind --dump-instr=yes --compress-pos=no --compress-strings=no \
        --toggle-collect="${FUNCTION[$1]}" --callgrind-out-file="$out/$1.$2" "$binary" "$1" "$2" \
        >/dev/null 2>"$out/log" </dev/null || { cat "$out/log"; exit 1; }
    awk '/^summary:/ { print $2 }' "$out/$1.$2"
}

# clocks WAY HITS ID: how often clock_gettime(ID) was called. valgrind has no vDSO, so every read is a system call.
clocks() {
    valgrind --tool=none --trace-syscalls=yes "$binary" "$1" "$2" 2>&1 </dev/null | grep -c "clock_gettime( $3," || true
}

# locked WAY: the special instructions that were executed, and how often.
locked() {
    local profile=$out/$1.$HITS object
    sed -n 's/^ob=//p' "$profile" | sort -u | while read -r object; do
        [ -r "$object" ] || continue
        objdump -d --no-show-raw-insn "$object" | grep -P "$special" |
            sed -E 's/^ *([0-9a-f]+):\t(.*)$/0x\1\t\2/; s/ +/ /g' | awk -v ob="$object" '{ print ob "\t" $0 }'
    done >"$out/special"
    awk -F'\t' -v hits="$HITS" '
        NR == FNR { text[$1, $2] = $3; next }
        /^calls=/ { skip = 1; next }
        /^ob=/ { ob = substr($0, 4) }
        /^fn=/ { fn = substr($0, 4) }
        /^(fl|fi|fe)=/ { file = substr($0, 4) }
        /^0x/ {
            if (skip) { skip = 0; next }
            split($0, at, " ")
            if ((ob, at[1]) in text) {
                sub(/.*\/registry\/src\/[^\/]*\//, "", file); sub(/.*\/library\//, "std: ", file)
                printf "%10.4f a hit   %-32s %s (%s:%s)\n", at[3] / hits, text[ob, at[1]], fn, file, at[2]
            }
        }' "$out/special" "$profile"
}

failed=0
broken() {
    echo "FAILED: $1"
    failed=1
}

printf '| way | instructions a hit | reads of CLOCK_MONOTONIC_COARSE | reads of CLOCK_MONOTONIC |\n|---|--:|--:|--:|\n'
for way in "${WAYS[@]}"; do
    # By difference, so that what happens once (lazy binding) cancels out.
    once=$(count "$way" "$HITS") twice=$(count "$way" $((2 * HITS)))
    coarse=$(($(clocks "$way" $((2 * HITS)) 6) - $(clocks "$way" "$HITS" 6)))
    precise=$(($(clocks "$way" $((2 * HITS)) 1) - $(clocks "$way" "$HITS" 1)))
    awk -v w="$way" -v i=$((twice - once)) -v c="$coarse" -v p="$precise" -v n="$HITS" \
        'BEGIN { printf "| %s | %.1f | %g | %g |\n", w, i / n, c / n, p / n }'
    [ $((twice - once)) -ge "$HITS" ] || broken "$way: the hits were not counted"
    [ "$precise" -eq 0 ] || broken "$way: $precise reads of the precise clock in $HITS hits"
done

for way in "${WAYS[@]}"; do
    printf '\n%s: locked instructions, fences, timestamps and system calls executed\n' "$way"
    locked "$way" >"$out/locked"
    grep . "$out/locked" || echo "      none"
    # The pin's one; and crossbeam's attempt to move the epoch on, at every 128th pin.
    most=1.05
    [ "$way" != pinned ] || most=0
    awk -v most="$most" '!/syscall/ { sum += $1 } END { exit !(sum <= most) }' "$out/locked" ||
        broken "$way: more locked instructions than the pin's"
done
exit "$failed"
