//! What the herds showed, as tables.

use crate::{
    Args, Case,
    herd::{Abort, LOAD_TIME},
};
use std::time::Duration;

/// The columns, in tenths of a percent.
const QUANTILES: [(&str, usize); 6] =
    [("min", 0), ("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999), ("max", 1_000)];

pub(crate) fn wake_ups(cases: &[Case<'_>], args: &Args) {
    println!(
        "1. The wake-up: {} tasks ask for one cold key; one loads it in {} ms, and all others wait for that\n",
        thousands(args.tasks as usize),
        LOAD_TIME.as_millis()
    );
    println!("   {:<44} {:>5}   milliseconds until a task goes on with the value", "", "");
    let names: String = QUANTILES.iter().map(|(name, _)| format!("{name:>8}")).collect();
    println!("   {:<44} {:>5} {names}", "", "loads");
    for case in cases {
        let round = case.typical();
        let delay = |rank| millis(quantile(&round.delays, rank));
        let delays: String = QUANTILES.iter().map(|(_, rank)| format!("{:>8.2}", delay(*rank))).collect();
        println!("   {:<44} {:>5} {delays}", name(case), round.loads);
    }
    println!(
        "\n   Of {} rounds, the one whose slowest task is the middle one. Counted from the end of the load, over all tasks but\n   \
         the one that loads. The runtime has them go on one after another, on each of its threads.",
        args.rounds
    );
}

pub(crate) fn aborts(cases: &[Case<'_>], aborts: &[Abort]) {
    println!("2. The abort: the load hangs, and its task is aborted while all others wait for it\n");
    let row = |name: &str, cells: [&str; 5]| {
        let [begun, stored, answered, taken_over, last] = cells;
        println!("   {name:<44} {begun:>5} {stored:>8} {answered:>10} {taken_over:>12} {last:>14}");
    };
    row("", ["loads", "values", "tasks", "taken over", "last answer"]);
    row("", ["begun", "stored", "answered", "after", "after"]);
    for (case, abort) in cases.iter().zip(aborts) {
        row(
            &name(case),
            [
                &abort.loads_begun.to_string(),
                &abort.loads_ended.to_string(),
                &thousands(abort.answers),
                &format!("{:.2} ms", millis(abort.taken_over)),
                &format!("{:.2} ms", millis(abort.last_answer)),
            ],
        );
    }
    println!("\n   The last answer is counted from the end of the second load.");
}

fn name(case: &Case<'_>) -> String {
    format!("{}: {}", case.runtime_name(), case.way.name())
}

/// The smallest of the sorted values that at least so many tenths of a percent do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1_000);
    sorted[rank.saturating_sub(1)]
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// With a comma between groups of three digits.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let comma = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(comma).collect()
}
