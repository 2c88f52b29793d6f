//! The results as Markdown.

use crate::race::{Heat, OURS, Race, names};
use std::io::{self, Write};

/// What bellwether is meant to reach: the fraction of Belady's hits, the most points that a peer may be ahead on a
/// trace, and the most that two threads may differ from one.
const FRACTION: f64 = 0.87;
const LEAD: f64 = 2.0;
const THREADS: f64 = 0.5;

/// All tables.
pub(crate) fn write(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    means(out, races)?;
    leads(out, races)?;
    goals(out, races)?;
    sizes(out, races)
}

/// Each cache's means, over the sizes of a trace, then over traces.
fn means(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    writeln!(out, "| cache | of Belady's hits | hit ratio, % |\n|---|--:|--:|")?;
    for (index, name) in names().enumerate() {
        writeln!(out, "| {name} | {:.4} | {:.2} |", of_optimum(races, index), 100.0 * over_all(races, index))?;
    }
    let best = mean(races.iter().map(|race| mean(race.heats.iter().map(|heat| ratio(heat.optimum, race.requests)))));
    writeln!(out, "| Belady | 1 | {:.2} |\n", 100.0 * best)
}

/// By trace: who of the peers was best, and by how much.
fn leads(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    writeln!(out, "| trace | bellwether, % | 2 threads, % | best peer | its, % | its lead, points |")?;
    writeln!(out, "|---|--:|--:|---|--:|--:|")?;
    for race in races {
        let percent = |index| 100.0 * on_trace(race, index);
        let (name, best) = best_peer(race);
        let lead = best - percent(0);
        let trace = &race.trace;
        writeln!(out, "| {trace} | {:.2} | {:.2} | {name} | {best:.2} | {lead:+.2} |", percent(0), percent(1))?;
    }
    writeln!(out)
}

/// What is to be reached, and what was.
fn goals(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    let fraction = of_optimum(races, 0);
    let ratio = 100.0 * over_all(races, 0);
    let peers = names().enumerate().skip(OURS.len()).map(|(index, name)| (name, 100.0 * over_all(races, index)));
    let (peer, best) = most(peers);
    let (trace, lead) =
        most(races.iter().map(|race| (race.trace.as_str(), best_peer(race).1 - 100.0 * on_trace(race, 0))));
    let apart = |race: &Race| 100.0 * (on_trace(race, 0) - on_trace(race, 1)).abs();
    let (torn, threads) = most(races.iter().map(|race| (race.trace.as_str(), apart(race))));
    writeln!(out, "| goal | measured | reached |\n|---|---|---|")?;
    let mut row = |goal: &str, measured: String, reached: bool| {
        writeln!(out, "| {goal} | {measured} | {} |", if reached { "yes" } else { "**no**" })
    };
    row(&format!("{FRACTION} of Belady's hits"), format!("{fraction:.4}"), fraction >= FRACTION)?;
    row("mean hit ratio above every peer's", format!("{ratio:.2} %; {peer}: {best:.2} %"), ratio > best)?;
    row(&format!("no peer ahead by {LEAD} points on a trace"), format!("{lead:+.2} on {trace}"), lead <= LEAD)?;
    row(&format!("2 threads within {THREADS} points of one"), format!("{threads:.2} on {torn}"), threads <= THREADS)?;
    writeln!(out)
}

/// The hit ratios by trace and size.
fn sizes(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    let names: Vec<_> = names().collect();
    writeln!(out, "| trace | entries | Belady | {} |", names.join(" | "))?;
    writeln!(out, "|---|--:|--:|{}", "--:|".repeat(names.len()))?;
    for race in races {
        for heat in &race.heats {
            let size = heat.size;
            let percent = |hits| format!("{:.2}", 100.0 * ratio(hits, race.requests));
            let hits: Vec<_> = heat.hits.iter().copied().map(percent).collect();
            let share = format!("{:.3}", size.percent);
            let share = share.trim_end_matches('0').trim_end_matches('.');
            let (trace, entries, best) = (&race.trace, size.entries, percent(heat.optimum));
            writeln!(out, "| {trace} | {entries} ({share} %) | {best} | {} |", hits.join(" | "))?;
        }
    }
    Ok(())
}

/// The fraction of the optimum's hits. Sizes at which not even the optimum hits do not count.
fn of_optimum(races: &[Race], index: usize) -> f64 {
    let heats = |race: &Race| {
        let some = race.heats.iter().filter(|heat| heat.optimum > 0);
        mean(some.map(|heat: &Heat| ratio(heat.hits[index], heat.optimum)))
    };
    mean(races.iter().map(heats).filter(|fraction| fraction.is_finite()))
}

/// The hit ratio over all traces.
fn over_all(races: &[Race], index: usize) -> f64 {
    mean(races.iter().map(|race| on_trace(race, index)))
}

/// The hit ratio over the sizes of a trace.
fn on_trace(race: &Race, index: usize) -> f64 {
    mean(race.heats.iter().map(|heat| ratio(heat.hits[index], race.requests)))
}

/// The peer with the best hit ratio, in percent, over the sizes of a trace.
fn best_peer(race: &Race) -> (&'static str, f64) {
    most(names().enumerate().skip(OURS.len()).map(|(index, name)| (name, 100.0 * on_trace(race, index))))
}

fn most<'a>(figures: impl Iterator<Item = (&'a str, f64)>) -> (&'a str, f64) {
    figures.max_by(|a, b| a.1.total_cmp(&b.1)).expect("a trace and a peer at least")
}

/// Not a number if there are no figures.
fn mean(figures: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = figures.fold((0.0, 0), |(sum, count), figure| (sum + figure, count + 1));
    sum / f64::from(count)
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Size;

    /// A heat in which bellwether has these hits (by one thread and two), and all peers but the last one none.
    fn heat(ours: [u64; 2], last: u64, optimum: u64) -> Heat {
        let mut hits = ours.to_vec();
        hits.resize(names().count(), 0);
        *hits.last_mut().expect("a peer") = last;
        Heat { size: Size { entries: 5, percent: 10.0 }, optimum, hits }
    }

    fn text(table: impl FnOnce(&mut Vec<u8>, &[Race]) -> io::Result<()>) -> String {
        let race = |trace: &str, heats| Race { trace: trace.into(), requests: 100, heats };
        let one = race("one", vec![heat([40, 41], 50, 80), heat([80, 80], 80, 80)]);
        let two = race("two", vec![heat([20, 20], 17, 80), heat([0, 0], 0, 0)]);
        let mut out = Vec::new();
        table(&mut out, &[one, two]).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn means_are_over_sizes_then_traces() {
        let text = text(means);
        // (0.75 + 0.25) / 2: where the optimum has no hit there is no fraction. The ratio is (60 + 10) / 2.
        assert!(text.contains("| bellwether | 0.5000 | 35.00 |"), "{text}");
        assert!(text.contains("| Belady | 1 | 60.00 |"), "{text}");
    }

    #[test]
    fn leads_are_of_the_best_peer() {
        let text = text(leads);
        assert!(text.contains("| one | 60.00 | 60.50 | TinyUFO | 65.00 | +5.00 |"), "{text}");
        assert!(text.contains("| two | 10.00 | 10.00 | TinyUFO | 8.50 | -1.50 |"), "{text}");
    }

    #[test]
    fn goals_are_judged() {
        let text = text(goals);
        assert!(text.contains("| 0.87 of Belady's hits | 0.5000 | **no** |"), "{text}");
        assert!(text.contains("| 35.00 %; TinyUFO: 36.75 % | **no** |"), "{text}");
        assert!(text.contains("| +5.00 on one | **no** |"), "{text}");
        assert!(text.contains("| 0.50 on one | yes |"), "{text}");
    }
}
