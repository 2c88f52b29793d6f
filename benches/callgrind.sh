#!/usr/bin/env bash
# Counts what an operation executes: instructions, locked instructions and fences, clock reads. Fails if there are other
# instructions than benches/instructions.txt says, or more than MOST allows, or if a warm hit executes a locked instruction
# besides the pin's, or reads a precise clock. `--update` writes that file anew. See README.md.
# Needs valgrind and objdump (Debian: valgrind, binutils).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

TIMES=${TIMES:-12800} # a hundred times crossbeam's 128 pins between two attempts to move the epoch on
HITS=(get pinned get_with ttl ttl_get_with)
OTHERS=(insert_over insert_full load remove)
declare -A MOST=([insert_full]=1000 [load]=1250)
committed=benches/instructions.txt
case ${1:-} in
'' | --update) mode=${1:-} ;;
*)
    echo "usage: callgrind.sh [--update]" >&2
    exit 2
    ;;
esac

cargo build --quiet --release --locked -p bellwether-benches --bin paths
binary=${CARGO_TARGET_DIR:-target}/release/paths
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Instructions that lock the bus (an xchg with memory does so without saying), order memory, or read the time.
special='^ *[0-9a-f]+:\t(lock|xchg +[^(]*\(|xchg +.*\),|[lms]fence|rdtscp?|cpuid|syscall)'

# count WAY TIMES: the run's profile in $out/WAY.TIMES; prints its instructions.
count() {
    local function
    case $1 in
    get | ttl) function=path_get ;;
    get_with | ttl_get_with) function=path_get_with ;;
    insert_*) function=path_insert ;;
    *) function=path_$1 ;;
    esac
    valgrind --tool=callgrind --dump-instr=yes --compress-pos=no --compress-strings=no \
        --toggle-collect="$function" --callgrind-out-file="$out/$1.$2" "$binary" "$1" "$2" \
        >/dev/null 2>"$out/log" </dev/null || { cat "$out/log"; exit 1; }
    awk '/^summary:/ { print $2 }' "$out/$1.$2"
}

# clocks WAY TIMES ID: how often clock_gettime(ID) was called. valgrind has no vDSO, so every read is a system call.
clocks() {
    valgrind --tool=none --trace-syscalls=yes "$binary" "$1" "$2" 2>&1 </dev/null | grep -c "clock_gettime( $3," || true
}

# locked WAY TIMES: the special instructions that were executed, and how often, per operation.
locked() {
    local profile=$out/$1.$2 object
    sed -n 's/^ob=//p' "$profile" | sort -u | while read -r object; do
        [ -r "$object" ] || continue
        objdump -d --no-show-raw-insn "$object" | grep -P "$special" |
            sed -E 's/^ *([0-9a-f]+):\t(.*)$/0x\1\t\2/; s/ +/ /g' | awk -v ob="$object" '{ print ob "\t" $0 }'
    done >"$out/special"
    awk -F'\t' -v times="$2" '
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
                printf "%10.4f each   %-32s %s (%s:%s)\n", at[3] / times, text[ob, at[1]], fn, file, at[2]
            }
        }' "$out/special" "$profile"
}

failed=0
broken() {
    echo "FAILED: $1"
    failed=1
}

compiler=$(rustc -vV | sed -n 's/^host: //p; s/^release: //p' | paste -sd' ')
was=$(sed -n 's/^# counted with: //p' "$committed" 2>/dev/null || true)

# judge WAY INSTRUCTIONS: beside the committed count. A hit's is exact, but for the rounding; the others call the allocator,
# whose paths depend on what is free.
judge() {
    local before
    before=$(awk -v w="$1" '$1 == w { print $2 }' "$committed" 2>/dev/null || true)
    if [ "$mode" = --update ]; then
        echo "${before:--}"
    elif [ -z "$before" ]; then
        echo "- (**not in $committed**)"
    elif awk -v a="$before" -v b="$2" -v hits=" ${HITS[*]} " -v w="$1" 'BEGIN {
            off = a > b ? a - b : b - a
            exit !(off <= (index(hits, " " w " ") ? 0.5 : 0.03 * a)) }'; then
        echo "$before"
    else
        echo "$before (**changed**)"
    fi
}

printf '| way | instructions | committed | locked | reads of CLOCK_MONOTONIC_COARSE | reads of CLOCK_MONOTONIC |\n|---|--:|--:|--:|--:|--:|\n'
for way in "${HITS[@]}" "${OTHERS[@]}"; do
    # By difference, so that what happens once (lazy binding, settling) cancels out.
    once=$(count "$way" "$TIMES") twice=$(count "$way" $((2 * TIMES)))
    coarse=$(($(clocks "$way" $((2 * TIMES)) 6) - $(clocks "$way" "$TIMES" 6)))
    precise=$(($(clocks "$way" $((2 * TIMES)) 1) - $(clocks "$way" "$TIMES" 1)))
    for times in "$TIMES" $((2 * TIMES)); do
        locked "$way" "$times" >"$out/$way.$times.locked"
    done
    instructions=$(awk -v i=$((twice - once)) -v n="$TIMES" 'BEGIN { printf "%.1f", i / n }')
    echo "$way $instructions" >>"$out/counts"
    before=$(judge "$way" "$instructions")
    awk -v w="$way" -v i="$instructions" -v b="$before" -v c="$coarse" -v p="$precise" -v n="$TIMES" '
        !/syscall/ { sum[FILENAME] += $1 }
        END { printf "| %s | %s | %s | %.2f | %.2f | %.2f |\n", w, i, b, 2 * sum[ARGV[2]] - sum[ARGV[1]], c / n, p / n }
        ' "$out/$way.$TIMES.locked" "$out/$way.$((2 * TIMES)).locked"
    [ $((twice - once)) -ge "$TIMES" ] || broken "$way: it was not counted"
    most=${MOST[$way]:-}
    if [ -n "$most" ] && [ "$was" = "$compiler" ] && [ $((twice - once)) -gt $((most * TIMES)) ]; then
        broken "$way: $instructions instructions, $most at most"
    fi
    case " ${HITS[*]} " in *" $way "*) [ "$precise" -eq 0 ] || broken "$way: $precise reads of the precise clock" ;; esac
    case $before in *\*\**)
        if [ "$was" = "$compiler" ]; then
            broken "$way: $instructions instructions, committed: $before. If that is meant: benches/callgrind.sh --update"
        else
            echo "not judged: counted with $compiler; the committed ones with ${was:-nothing}"
        fi
        ;;
    esac
done

for way in "${HITS[@]}"; do
    printf '\n%s: locked instructions, fences, timestamps and system calls executed\n' "$way"
    grep . "$out/$way.$TIMES.locked" || echo "      none"
    # The pin's one; and crossbeam's attempt to move the epoch on, at every 128th pin.
    most=1.05
    [ "$way" != pinned ] || most=0
    awk -v most="$most" '!/syscall/ { sum += $1 } END { exit !(sum <= most) }' "$out/$way.$TIMES.locked" ||
        broken "$way: more locked instructions than the pin's"
done

if [ "$mode" = --update ]; then
    {
        echo "# Instructions an operation executes: benches/callgrind.sh compares with this, and writes it with --update."
        echo "# counted with: $compiler"
        cat "$out/counts"
    } >"$committed"
fi
exit "$failed"
