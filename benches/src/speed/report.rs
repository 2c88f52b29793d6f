//! The results as Markdown: a table for each workload, and one of the goals.

use crate::{
    rounds::Track,
    workloads::{Bound, Goal, Measure, Workload},
};
use std::io::{self, Write};

/// A workload and what it gave.
pub(crate) struct Outcome {
    pub(crate) workload: &'static Workload,
    pub(crate) tracks: Vec<Track>,
}

/// The figures of all rounds in short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (&least, &most) = (figures.first()?, figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 { figures[half] } else { (figures[half - 1] + figures[half]) / 2.0 };
        Some(Self { median, least, most })
    }

    fn text(&self) -> String {
        format!("{} | {} – {}", digits(self.median), digits(self.least), digits(self.most))
    }
}

impl Outcome {
    fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| track.name == name)
    }

    /// Of each round the time of a contestant over that of the first, bellwether.
    pub(crate) fn ratio(&self, track: &Track) -> Option<Spread> {
        let ours = &self.tracks.first()?.samples;
        Spread::of(track.samples.iter().zip(ours).map(|(theirs, ours)| theirs.time / ours.time))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Workload { title, unit, extra, .. } = *self.workload;
        let head: String = extra.iter().map(|extra| format!(" {extra} |")).collect();
        let line = "--:|".repeat(extra.len());
        writeln!(out, "### {title}\n\n| | {unit} | range | times bellwether's | range |{head}")?;
        writeln!(out, "|---|--:|--:|--:|--:|{line}")?;
        for track in &self.tracks {
            let Some((time, ratio)) = Spread::of(times(track)).zip(self.ratio(track)) else { continue };
            let extra = |number| Spread::of(track.samples.iter().filter_map(|sample| sample.figure(number)));
            let extra = (1..=self.workload.extra.len()).map(|number| {
                extra(number).map_or_else(|| " |".into(), |extra| format!(" {} |", digits(extra.median)))
            });
            let extra: String = extra.collect();
            let ratio = if std::ptr::eq(track, &self.tracks[0]) { "1 |".into() } else { ratio.text() };
            writeln!(out, "| {} | {} | {ratio} |{extra}", track.name, time.text())?;
        }
        writeln!(out)
    }

    /// The figure of each round that a goal is about.
    fn measured(&self, measure: &Measure) -> Option<Spread> {
        let samples = |name: &str| self.track(name).map(|track| track.samples.as_slice());
        match *measure {
            Measure::Ratio { figure, of, to } => {
                let least = |round: usize| {
                    let of = of.iter().filter_map(|name| samples(name)?.get(round)?.figure(figure));
                    of.reduce(f64::min)
                };
                let rounds = samples(to)?.iter().enumerate();
                Spread::of(rounds.filter_map(|(round, to)| Some(least(round)? / to.figure(figure)?)))
            }
            Measure::Above { of, base, unit } => {
                let rounds = samples(of)?.iter().zip(samples(base)?).zip(samples(unit)?);
                Spread::of(rounds.map(|((of, base), unit)| (of.time - base.time) / unit.time))
            }
            Measure::Figure(figure, of) => Spread::of(samples(of)?.iter().filter_map(|sample| sample.figure(figure))),
            Measure::Lead { figure, of, over } => {
                let rounds = samples(of)?.iter().zip(samples(over)?);
                Spread::of(rounds.filter_map(|(of, over)| Some(of.figure(figure)? - over.figure(figure)?)))
            }
        }
    }
}

fn times(track: &Track) -> impl Iterator<Item = f64> {
    track.samples.iter().map(|sample| sample.time)
}

impl Bound {
    fn holds(&self, figure: f64) -> bool {
        match *self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }
}

/// All tables.
pub(crate) fn write(out: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    writeln!(out, "| workload | goal | measured | range | reached |\n|---|---|--:|--:|---|")?;
    for outcome in outcomes {
        for Goal { text, measure, bound } in outcome.workload.goals {
            let Some(spread) = outcome.measured(measure) else { continue };
            let reached = if bound.holds(spread.median) { "yes" } else { "**no**" };
            writeln!(out, "| {} | {text} | {} | {reached} |", outcome.workload.name, spread.text())?;
        }
    }
    writeln!(out)?;
    outcomes.iter().try_for_each(|outcome| outcome.write(out))
}

/// Three significant digits.
pub(crate) fn digits(figure: f64) -> String {
    let places = match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rounds::Sample, workloads::Pace};

    const WORKLOAD: Workload = Workload {
        name: "w",
        title: "Work",
        unit: "ns",
        extra: &["hits, %"],
        pace: Pace::Turns,
        field: || Ok(Vec::new()),
        goals: &[
            Goal {
                text: "twice",
                measure: Measure::Ratio { figure: 0, of: &["b", "c"], to: "a" },
                bound: Bound::AtLeast(2.0),
            },
            Goal {
                text: "thrice",
                measure: Measure::Ratio { figure: 0, of: &["b"], to: "a" },
                bound: Bound::AtLeast(3.0),
            },
            Goal { text: "lead", measure: Measure::Lead { figure: 1, of: "a", over: "b" }, bound: Bound::AtLeast(0.0) },
            Goal {
                text: "above",
                measure: Measure::Above { of: "c", base: "a", unit: "b" },
                bound: Bound::AtMost(1.0),
            },
        ],
    };

    fn text() -> String {
        let track = |name, times: [f64; 3], extra| {
            let samples = times.map(|time| Sample::with(time, [extra])).to_vec();
            Track { name, samples }
        };
        let tracks = vec![
            track("a", [1.0, 10.0, 100.0], 50.0),
            track("b", [2.0, 30.0, 200.0], 51.0),
            track("c", [5.0, 50.0, 500.0], 49.0),
        ];
        let mut out = Vec::new();
        write(&mut out, &[Outcome { workload: &WORKLOAD, tracks }]).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn ratios_are_by_round() {
        let text = text();
        assert!(text.contains("| a | 10.0 | 1.00 – 100 | 1 | | 50.0 |"), "{text}");
        assert!(text.contains("| b | 30.0 | 2.00 – 200 | 2.00 | 2.00 – 3.00 | 51.0 |"), "{text}");
    }

    #[test]
    fn goals_are_judged_by_the_median() {
        let text = text();
        assert!(text.contains("| w | twice | 2.00 | 2.00 – 3.00 | yes |"), "{text}");
        assert!(text.contains("| w | thrice | 2.00 | 2.00 – 3.00 | **no** |"), "{text}");
        assert!(text.contains("| w | lead | -1.00 | -1.00 – -1.00 | **no** |"), "{text}");
        assert!(text.contains("| w | above | 2.00 | 1.33 – 2.00 | **no** |"), "{text}");
    }
}
