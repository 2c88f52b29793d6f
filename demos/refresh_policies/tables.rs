//! The tables of `docs/refresh.md`.

use crate::{
    candidates::{self, AVERAGED, BEST, DEFAULT, EARLIEST, FACTORS, LATEST, Score, TELLING, XFETCH},
    policy::{Mark, Policy, percent},
    scenario::{LOAD_TIMES, LOADS, RATES, Spread, USUAL},
    simulation::{self, Outcome, TTL},
};
use std::fmt::Write;

pub(crate) fn all() -> String {
    let scores = candidates::all_scores();
    let mut out = String::new();
    write_to(&mut out, "### Policies over the whole grid\n");
    policies(&mut out, &scores);
    write_to(&mut out, "\n### Leads that `Refresh` can say\n");
    leads(&mut out);
    write_to(&mut out, "\n### The grid, for the most telling policies\n");
    grid(&mut out, &scores);
    write_to(&mut out, "\n### Keys that are read rarely, and loads of 100 ms\n");
    rare(&mut out);
    write_to(&mut out, "\n### Two cases that users met\n");
    cases(&mut out);
    write_to(&mut out, "\n### Loads that vary in other ways\n");
    spreads(&mut out);
    out
}

fn write_to(out: &mut String, line: &str) {
    writeln!(out, "{line}").expect("a string takes what is written");
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<_> = cells.into_iter().collect();
    write_to(out, &format!("| {} |", cells.join(" | ")));
}

/// A heading and its rule. Columns are right-aligned but the first `left` ones.
fn heading(out: &mut String, left: usize, names: impl IntoIterator<Item = String>) {
    let names: Vec<_> = names.into_iter().collect();
    let rule = (0..names.len()).map(|index| if index < left { "---" } else { "--:" }).collect::<Vec<_>>().join("|");
    row(out, names);
    write_to(out, &format!("|{rule}|"));
}

fn policies(out: &mut String, scores: &[Score]) {
    let names = ["policy", "warm: loads", "warm: most waits", "all: loads", "all: waits", "all: most loads", "price"]
        .map(String::from);
    heading(out, 1, names);
    for score in scores {
        let (warm, all) = (score.mean(true), score.mean(false));
        let waits = waits(score.worst(true).waits);
        let cells = [
            name(&score.policy),
            format!("{:.3}", warm.loads),
            if score.is_eligible() { format!("**{waits}**") } else { waits },
            format!("{:.3}", all.loads),
            self::waits(all.waits),
            format!("{:.2}", score.worst(false).loads),
            format!("{:.3}", score.price()),
        ];
        row(out, cells);
    }
}

/// Two tables: by factor and latest mark, and the default with other earliest marks.
fn leads(out: &mut String) {
    let by_factor = candidates::scores(&candidates::leads(&[EARLIEST[0]]), LOADS);
    let latest = LATEST.iter().map(|&share| format!("not after {}", percent(share)));
    heading(out, 0, [format!("not before {}", percent(EARLIEST[0]))].into_iter().chain(latest));
    for (factor, scores) in FACTORS.iter().zip(by_factor.chunks(LATEST.len())) {
        row(out, [format!("lead {factor} δ")].into_iter().chain(scores.iter().map(warm)));
    }
    write_to(out, "");
    let Policy::Mark(default) = DEFAULT else { unreachable!("the default has a mark") };
    policies(out, &candidates::scores(&EARLIEST.map(|share| Policy::Mark(default.not_before(share))), LOADS));
}

/// Mean loads, and the most waits, in warm cells.
fn warm(score: &Score) -> String {
    let cell = format!("{:.3} / {}", score.mean(true).loads, waits(score.worst(true).waits));
    if score.policy == DEFAULT { format!("**{cell}**") } else { cell }
}

fn grid(out: &mut String, scores: &[Score]) {
    let telling = TELLING
        .map(|policy| scores.iter().find(|score| score.policy == policy).expect("the telling policies are candidates"));
    let names = ["load".into(), "reads/s".into()].into_iter().chain(TELLING.iter().map(name));
    heading(out, 0, names);
    for (index, &load_time) in LOAD_TIMES.iter().enumerate() {
        for (column, rate) in RATES.into_iter().enumerate() {
            let cells = telling.iter().map(|score| both(score.cells[index][column]));
            row(out, [duration(load_time), count(rate)].into_iter().chain(cells));
        }
    }
}

fn rare(out: &mut String) {
    let loads = USUAL.loads(0.1, LOADS);
    heading(out, 0, ["reads per TTL".into()].into_iter().chain(RARE.iter().map(name)));
    for rate in [0.003, 0.01, 0.03, 0.1, 0.3, 1.0] {
        let cells = RARE.iter().map(|policy| both(simulation::run(policy, rate, &loads)));
        row(out, [format!("{:.2}", rate * TTL)].into_iter().chain(cells));
    }
}

/// Loads per TTL are shown, and loads a second of the second case.
fn cases(out: &mut String) {
    let names = ["policy", "load 15 s, TTL 60 s, 1,000 reads/s", "load 20 ms, TTL 100 ms, 10⁷ reads/s"];
    heading(out, 1, names.map(String::from));
    let first = USUAL.loads(15.0, LOADS);
    // In units of the TTL.
    let (load, rate) = (0.020 / 0.100 * TTL, 1e7 * 0.100 / TTL);
    let second = Spread::Constant.loads(load, LOADS);
    for policy in TELLING {
        let (first, second) = (simulation::run(&policy, 1_000.0, &first), simulation::run(&policy, rate, &second));
        row(out, [name(&policy), both(first), format!("{} ({:.0} loads a second)", both(second), second.loads * 10.0)]);
    }
}

fn spreads(out: &mut String) {
    let policies = [XFETCH, Policy::Mark(Mark::lead(1.5)), DEFAULT, AVERAGED, BEST];
    heading(out, 1, [String::from("duration of loads")].into_iter().chain(policies.iter().map(name)));
    for spread in [Spread::Constant, Spread::Uniform, USUAL, Spread::LogNormal(10.0), Spread::Steps] {
        let loads = spread.loads(5.0, LOADS);
        let cells = policies.iter().map(|policy| both(simulation::run(policy, 100.0, &loads)));
        row(out, [String::from(spread.name())].into_iter().chain(cells));
    }
}

const RARE: [Policy; 5] = [Policy::AtExpiry, Policy::Clairvoyant, XFETCH, DEFAULT, BEST];

fn name(policy: &Policy) -> String {
    if *policy == DEFAULT { format!("**{policy}**") } else { policy.to_string() }
}

/// Loads per TTL, and the percentage of reads that wait.
fn both(outcome: Outcome) -> String {
    format!("{:.2} / {}", outcome.loads, waits(outcome.waits))
}

fn waits(percent: f64) -> String {
    match percent {
        _ if percent < 0.0005 => "0".into(),
        _ if percent < 0.1 => format!("{percent:.3}"),
        _ if percent < 10.0 => format!("{percent:.2}"),
        _ => format!("{percent:.1}"),
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{} ms", seconds * 1e3) } else { format!("{seconds} s") }
}

fn count(rate: f64) -> String {
    if rate >= 1_000.0 { format!("{},000", rate / 1e3) } else { rate.to_string() }
}
