//! The results as tables, and their means.

use crate::{
    args::LEAST_DEFAULT_SIZE,
    race::{BELLWETHER, Field, Heat, OPTIMUM, Race},
};
use std::{
    io::{self, Write},
    num::NonZeroUsize,
};

/// How the replays are run.
pub(crate) fn heading(out: &mut impl Write, field: &Field, cores: Option<NonZeroUsize>) -> io::Result<()> {
    let threads = match field.threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    let cores = cores.map_or(String::new(), |cores| format!(" on {cores} cores"));
    writeln!(
        out,
        "Read-through replay by {threads}{cores}. Hit ratios in %; \"of it\" is the fraction of the optimum.\n"
    )
}

/// One trace: a row for each size.
pub(crate) fn table(out: &mut impl Write, race: &Race, left_out: usize) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} requests, {} unique keys",
        race.trace,
        grouped(race.requests),
        grouped(u64::from(race.unique))
    )?;
    write!(
        out,
        "  {:>19} {:>10} {:>8} {:>6} {:>11} {:>11} {:>12}",
        "capacity", BELLWETHER, OPTIMUM, "of it", "loads", "evictions", "requests/s"
    )?;
    for (name, _) in race.heats.iter().take(1).flat_map(|heat| &heat.others) {
        write!(out, " {name:>8}")?;
    }
    writeln!(out)?;
    for heat in &race.heats {
        row(out, race, heat)?;
    }
    if left_out > 0 {
        let sizes = if left_out == 1 {
            "the smallest default size".into()
        } else {
            format!("the {left_out} smallest default sizes")
        };
        writeln!(out, "  Left out: {sizes}, below {LEAST_DEFAULT_SIZE} entries here.")?;
    }
    writeln!(out)
}

fn row(out: &mut impl Write, race: &Race, heat: &Heat) -> io::Result<()> {
    let percent = |hits: u64| 100.0 * hits as f64 / race.requests as f64;
    let capacity = format!("{} ({})", grouped(heat.size.entries), share(heat.size.percent));
    let bellwether = &heat.bellwether;
    let fraction = fraction(bellwether.hits, heat.optimum).map_or("-".into(), |fraction| format!("{fraction:.3}"));
    let speed = race.requests as f64 / bellwether.time.as_secs_f64().max(1e-9);
    write!(
        out,
        "  {capacity:>19} {:>10.2} {:>8.2} {fraction:>6} {:>11} {:>11} {:>12}",
        percent(bellwether.hits),
        percent(heat.optimum),
        grouped(bellwether.stats.loads),
        grouped(bellwether.stats.evictions),
        grouped(speed as u64)
    )?;
    for (_, hits) in &heat.others {
        write!(out, " {:>8.2}", percent(*hits))?;
    }
    writeln!(out)
}

/// The means of each policy, over sizes, then over traces.
pub(crate) fn means(out: &mut impl Write, races: &[Race]) -> io::Result<()> {
    let Some(first) = races.iter().flat_map(|race| &race.heats).next() else { return Ok(()) };
    writeln!(out, "Means over the sizes of a trace, then over {}:", plural(races.len(), "trace"))?;
    writeln!(out, "  {:<12} {:>12} {:>12}", "", "of optimum", "hit ratio, %")?;
    for (index, (name, _)) in first.hits().enumerate() {
        let hits = |heat: &Heat| heat.hits().nth(index).map_or(0, |(_, hits)| hits);
        let fractions = mean_of_means(races, |_, heat| fraction(hits(heat), heat.optimum));
        let ratios = mean_of_means(races, |race, heat| fraction(hits(heat), race.requests));
        let fractions = fractions.map_or("-".into(), |mean| format!("{mean:.4}"));
        writeln!(out, "  {name:<12} {fractions:>12} {:>12.2}", 100.0 * ratios.unwrap_or(0.0))?;
    }
    let best = mean_of_means(races, |race, heat| fraction(heat.optimum, race.requests));
    writeln!(out, "  {OPTIMUM:<12} {:>12} {:>12.2}", "1", 100.0 * best.unwrap_or(0.0))
}

/// The mean over races of the mean over their heats. Heats without a figure do not count.
fn mean_of_means(races: &[Race], figure: impl Fn(&Race, &Heat) -> Option<f64>) -> Option<f64> {
    mean(races.iter().filter_map(|race| mean(race.heats.iter().filter_map(|heat| figure(race, heat)))))
}

fn mean(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0), |(sum, count), figure| (sum + figure, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// There is no fraction of nothing: where not even the optimum hits, policies do not differ.
fn fraction(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn plural(count: usize, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// A share in percent, with no more digits than it needs.
pub(crate) fn share(percent: f64) -> String {
    // As many decimals as make two digits of a small share: 0.1, 0.0012, 12.3.
    let decimals = (1.0 - percent.log10().floor()).clamp(1.0, 9.0) as usize;
    let text = format!("{percent:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Size, replay::Outcome};
    use bellwether::Stats;
    use std::time::Duration;

    fn heat(hits: u64, optimum: u64) -> Heat {
        let bellwether = Outcome { hits, stats: Stats::default(), time: Duration::from_secs(1) };
        Heat { size: Size { entries: 5, percent: 10.0 }, bellwether, optimum, others: vec![("LRU", hits / 2)] }
    }

    fn race(heats: Vec<Heat>) -> Race {
        Race { trace: "t".into(), requests: 100, unique: 50, heats }
    }

    #[test]
    fn mean_is_over_sizes_then_traces() {
        let races = [race(vec![heat(40, 80), heat(80, 80)]), race(vec![heat(20, 80)])];
        let mut out = Vec::new();
        means(&mut out, &races).expect("memory takes it");
        let text = String::from_utf8(out).expect("text");
        // (0.75 + 0.25) / 2, not (0.5 + 1 + 0.25) / 3.
        assert!(text.contains("bellwether         0.5000        40.00"), "{text}");
        assert!(text.contains("LRU                0.2500        20.00"), "{text}");
        assert!(text.contains("optimum                 1        80.00"), "{text}");
    }

    #[test]
    fn sizes_without_a_hit_do_not_count() {
        let mut out = Vec::new();
        means(&mut out, &[race(vec![heat(0, 0), heat(40, 80)])]).expect("memory takes it");
        assert!(String::from_utf8_lossy(&out).contains("bellwether         0.5000        20.00"));
        let mut out = Vec::new();
        means(&mut out, &[race(vec![heat(0, 0)])]).expect("memory takes it");
        assert!(String::from_utf8_lossy(&out).contains("bellwether              -         0.00"));
    }

    #[test]
    fn rows_say_what_was_measured() {
        let mut out = Vec::new();
        table(&mut out, &race(vec![heat(40, 80)]), 2).expect("memory takes it");
        let text = String::from_utf8(out).expect("text");
        let expected = "            5 (10%)      40.00    80.00  0.500           0           0          100    20.00\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("the 2 smallest"), "{text}");
    }

    #[test]
    fn numbers_for_readers() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let shares = [10.0, 0.1, 0.100_06, 25.0003, 0.0012, 300.0, 1.00036].map(share);
        assert_eq!(shares, ["10%", "0.1%", "0.1%", "25%", "0.0012%", "300%", "1%"]);
    }
}
