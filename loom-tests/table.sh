#!/usr/bin/env bash
# Holds README.md's tables against what a run of the models printed (`--nocapture`): each model has a row, each row a model,
# and the bugs of each row are those that were seen. `--update` writes executions and times anew.
# `--without-slow`: the run has left out the models of `slow_models`, and no others. (Their bugs were looked for all the same.)
#   table.sh LOG [--update | --without-slow]
set -euo pipefail
log=$(realpath "$1")
cd "$(dirname "$0")"

out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
slow=
[ "${2:-}" != --without-slow ] || slow=$(<slow_models)
slow=$slow awk '
    function seconds(text) {
        if (text ~ /µs$/) return substr(text, 1, length(text) - 2) / 1e6
        if (text ~ /ms$/) return substr(text, 1, length(text) - 2) / 1e3
        return substr(text, 1, length(text) - 1) + 0
    }
    function grouped(n,    text) {
        text = sprintf("%d", n)
        while (match(text, /[0-9][0-9][0-9][0-9]($|,)/)) text = substr(text, 1, RSTART) "," substr(text, RSTART + 1)
        return text
    }
    BEGIN {
        split(ENVIRON["slow"], lines, "\n")
        for (i in lines) { split(lines[i], part, " "); left_out["tests/" part[1] ".rs " part[2]] = 1 }
    }
    function complain(text) { print "loom-tests/README.md: " text > "/dev/stderr"; wrong = 1 }

    # The log. The models of the pins run three times: the rows have the first run, and the bugs of all.
    FNR == NR && /Running tests\// {
        file = $2
        run = sub(/pins_fenced/, "pins", file) ? "second" : sub(/pins_switched/, "pins", file) ? "third" : "first"
    }
    # (What a test prints may come behind the name of another one that has not ended yet.)
    FNR == NR && match($0, /model [a-z_]+: bound |mutant «/) { $0 = substr($0, RSTART) }
    # (Those without preemption are no races, but the scenes of others.)
    FNR == NR && /^model / && $4 != "0," {
        name = file " " substr($2, 1, length($2) - 1)
        total += $5
        if (!((name, run) in ran)) { ran[name, run] = 1; models++ }
        if (run == "first") { executions[name] += $5; time[name] += seconds($NF) }
    }
    FNR == NR && /^mutant / {
        match($0, /«[^»]*»/)
        bug = substr($0, RSTART, RLENGTH)
        sub(/.*» caught by /, "")
        if (!((file " " $1, bug, run) in ran)) { ran[file " " $1, bug, run] = 1; pairs++ }
        seen[file " " $1, bug] = 1
        if (!(bug in known)) { known[bug] = 1; bugs++ }
    }
    FNR == NR { next }

    # The tables. A heading, or the words above a table, say what file it is about.
    /^(### |`tests)/ && match($0, /tests\/[a-z_]+\.rs/) { file = substr($0, RSTART, RLENGTH) }
    /^\| `/ {
        n = split($0, cell, "|")
        name = cell[2]
        gsub(/[ `]/, "", name)
        name = file " " name
        rows[name] = 1
        listed = cell[n - 1]
        while (match(listed, /«[^»]*»/)) {
            bug = substr(listed, RSTART, RLENGTH)
            listed = substr(listed, RSTART + RLENGTH)
            said[name, bug] = 1
            if (!((name, bug) in seen)) complain(name " was not seen to catch " bug)
        }
        if (name in executions) {
            cell[n - 3] = " " grouped(executions[name]) " "
            cell[n - 2] = sprintf(" %.2f s ", time[name])
            if (name in left_out) complain(name " is in slow_models, and was run")
        } else if (name in left_out) skipped++
        else if (cell[n - 3] !~ /ignored/) complain(name " was not run")
        line = cell[1]
        for (i = 2; i <= n; i++) line = line "|" cell[i]
        $0 = line
    }
    / executions in all\.$/ { sub(/[0-9,]+ executions in all\.$/, grouped(total) " executions in all.") }
    /models see .* bugs, in .* pairs/ { sub(/[0-9]+ models see [0-9]+ bugs, in [0-9]+ pairs/, models " models see " bugs " bugs, in " pairs " pairs") }
    { print > "'"$out"'" }
    END {
        for (name in executions) if (!(name in rows)) complain(name " has no row")
        for (name in left_out) if (!(name in rows)) complain(name " is in slow_models, and has no row")
        for (pair in seen) if (!(pair in said)) { split(pair, part, SUBSEP); complain(part[1] " catches " part[2] ", which is not said") }
        if (!wrong) print "ran: " models " models, " grouped(total) " executions, " bugs " bugs seen in " pairs " pairs" (skipped ? "; without " skipped " slow models" : "")
        exit wrong
    }
' "$log" README.md || status=$?
if [ "${2:-}" = --update ]; then
    cat "$out" >README.md
fi
exit "$status"
