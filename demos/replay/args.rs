//! The command line, and what its sizes mean for a given trace.

use crate::Result;
use clap::{Parser, ValueEnum, value_parser};
use std::{path::PathBuf, str::FromStr};

/// The sizes when none are given, in percent: those that the design's figures are for.
const DEFAULT_SIZES: [f64; 5] = [0.1, 1.0, 5.0, 10.0, 25.0];
/// Of the default sizes, those below this many entries say more about luck than about a policy.
pub(crate) const LEAST_DEFAULT_SIZE: u64 = 64;

/// Replays access traces through bellwether and says how near it came to the best possible hit ratio.
///
/// A trace is one of:
///   NAME.u32, NAME.u64   little-endian keys of 4 or 8 bytes, and nothing else
///   NAME.csv             a key a row; see --key-column
///   any other name       UTF-8 text, a key a line; empty lines are skipped
/// Each of them may be compressed by zstd, as NAME.u32.zst and so on.
#[derive(Debug, Parser)]
#[command(name = "replay", verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files to replay
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,

    /// Sizes of the cache: entries (5000), or a share of the trace's unique keys (10%, 0.1%).
    /// Without it: 0.1%,1%,5%,10%,25%, as far as that is 64 entries or more
    #[arg(long, value_name = "SIZE[,SIZE…]", value_delimiter = ',', verbatim_doc_comment)]
    pub(crate) capacity: Vec<Capacity>,

    /// Simulate FIFO, LRU, SIEVE and S3-FIFO too
    #[arg(long)]
    pub(crate) compare: bool,

    /// Draw hit ratio over capacity into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,

    /// What the files hold, whatever their names say
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,

    /// Column of CSV files that holds the key: its name in the first row, or its number, from 1, in files whose first
    /// row is data already. Without it: the column named `key`, or the only one there is
    #[arg(long, value_name = "NAME|N", verbatim_doc_comment)]
    pub(crate) key_column: Option<Column>,

    /// Threads that replay one trace through one cache, taking turns by small blocks of requests
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
}

/// How the keys are written down in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By the name of the file
    Auto,
    /// Little-endian, 4 bytes a key
    U32,
    /// Little-endian, 8 bytes a key
    U64,
    /// One key a line
    Text,
    /// One key a row
    Csv,
}

/// Where a CSV file has its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    /// As the first row calls it.
    Name(String),
    /// From 0; there is no row of names.
    Index(usize),
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<usize>() {
            Ok(number) => number.checked_sub(1).map(Self::Index).ok_or("columns are counted from 1".into()),
            Err(_) if text.is_empty() => Err("a column needs a name".into()),
            Err(_) => Ok(Self::Name(text.into())),
        }
    }
}

/// A size as the user writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Capacity {
    Entries(u64),
    /// Percent of the trace's unique keys.
    Percent(f64),
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return match text.parse() {
                Ok(0) => Err("a cache needs room for one entry".into()),
                Ok(entries) => Ok(Self::Entries(entries)),
                Err(_) => Err("neither a whole number of entries nor a percentage like 0.1%".into()),
            };
        };
        match percent.trim_end().parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent.is_finite() => Ok(Self::Percent(percent)),
            Ok(_) => Err("a percentage must be above 0".into()),
            Err(_) => Err("not a percentage like 0.1%".into()),
        }
    }
}

impl Capacity {
    /// The number of entries, to the nearest one; less than one is no cache.
    fn of(self, unique: u32) -> Result<Size, String> {
        let unique = f64::from(unique);
        match self {
            Self::Entries(entries) => Ok(Size { entries, percent: 100.0 * entries as f64 / unique }),
            Self::Percent(percent) => {
                let entries = percent * unique / 100.0;
                // What is one entry exactly must not fail for a last bit of 0.999….
                if entries + 1e-9 < 1.0 {
                    return Err(format!("{percent}% of {unique} unique keys is less than one entry"));
                }
                Ok(Size { entries: entries.round() as u64, percent })
            }
        }
    }
}

/// A size of the cache for one trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size {
    pub(crate) entries: u64,
    /// Percent of the trace's unique keys.
    pub(crate) percent: f64,
}

impl Args {
    /// What clap cannot know to be wrong.
    pub(crate) fn check(&self) -> Result {
        if self.key_column.is_some() && !matches!(self.format, Format::Auto | Format::Csv) {
            return Err("--key-column is for CSV files, --format says that these are not".into());
        }
        let Some(svg) = &self.plot else { return Ok(()) };
        if svg.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("svg")) {
            return Err(
                format!("--plot {}: the picture is an SVG, and its name must end in .svg", svg.display()).into()
            );
        }
        // Better now than after the replays.
        let dir = svg.parent().filter(|dir| !dir.as_os_str().is_empty());
        match dir {
            Some(dir) if !dir.is_dir() => Err(format!("--plot: there is no directory {}", dir.display()).into()),
            _ => Ok(()),
        }
    }

    /// The sizes to replay a trace at, and how many of the default ones are left out because they are too small.
    pub(crate) fn sizes(&self, unique: u32) -> Result<(Vec<Size>, usize), String> {
        if !self.capacity.is_empty() {
            let sizes = self.capacity.iter().map(|capacity| capacity.of(unique));
            return Ok((sizes.collect::<Result<_, _>>()?, 0));
        }
        let all = DEFAULT_SIZES.iter().filter_map(|&percent| Capacity::Percent(percent).of(unique).ok());
        let sizes: Vec<_> = all.filter(|size| size.entries >= LEAST_DEFAULT_SIZE).collect();
        if sizes.is_empty() {
            return Err(format!(
                "with {unique} unique keys even {}% is below {LEAST_DEFAULT_SIZE} entries; name sizes by --capacity",
                DEFAULT_SIZES[DEFAULT_SIZES.len() - 1]
            ));
        }
        let left_out = DEFAULT_SIZES.len() - sizes.len();
        Ok((sizes, left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    fn entries(line: &str, unique: u32) -> Result<(Vec<u64>, usize), String> {
        let (sizes, left_out) = parse(line).expect("a good command line").sizes(unique)?;
        Ok((sizes.iter().map(|size| size.entries).collect(), left_out))
    }

    #[test]
    fn command_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_are_entries_or_a_share() {
        let sizes = entries("replay t --capacity 10%,5000,0.1%,25%", 86_466);
        assert_eq!(sizes, Ok((vec![8_647, 5_000, 86, 21_617], 0)));
        // The user's own sizes may be as small as they like, and larger than the trace.
        assert_eq!(entries("replay t --capacity 1,1%,300%", 100), Ok((vec![1, 1, 300], 0)));
        // All shares that are one entry exactly.
        for unique in 1..2_000 {
            let one = format!("replay t --capacity {}%", 100.0 / f64::from(unique));
            assert_eq!(entries(&one, unique), Ok((vec![1], 0)), "{unique}");
        }
    }

    #[test]
    fn less_than_one_entry_is_refused() {
        let refused = entries("replay t --capacity 10%,0.1%", 999).expect_err("0.999 entries");
        assert_eq!(refused, "0.1% of 999 unique keys is less than one entry");
    }

    #[test]
    fn small_default_sizes_are_left_out() {
        assert_eq!(entries("replay t", 5_684), Ok((vec![284, 568, 1_421], 2)));
        assert_eq!(entries("replay t", 64_000), Ok((vec![64, 640, 3_200, 6_400, 16_000], 0)));
        assert!(entries("replay t", 100).is_err_and(|why| why.contains("25% is below 64 entries")));
    }

    #[test]
    fn bad_arguments_end_with_code_2() {
        for bad in ["0", "-1", "1.5", "0%", "-3%", "nan%", "inf%", "ten", "%", "", "5,,6", "5,"] {
            let error = parse(&format!("replay t --capacity={bad}")).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
        for bad in [
            "replay",
            "replay t --format u16",
            "replay t --threads 0",
            "replay t --threads 1025",
            "replay t --key-column 0",
            "replay t -x",
        ] {
            assert_eq!(parse(bad).expect_err(bad).exit_code(), 2, "{bad}");
        }
        assert_eq!(parse("replay --help").expect_err("help").kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |line| parse(line).expect("known options").check().map_err(|error| error.to_string());
        assert!(check("replay t --key-column url --format u32").is_err());
        assert!(check("replay t --plot picture.png").is_err_and(|why| why.contains("end in .svg")));
        assert!(check("replay t --plot no/such/directory/x.svg").is_err_and(|why| why.contains("no directory")));
        assert_eq!(check("replay t --key-column url --plot x.SVG"), Ok(()));
    }

    #[test]
    fn column_is_a_name_or_a_number() {
        assert_eq!("url".parse(), Ok(Column::Name("url".into())));
        assert_eq!("3".parse(), Ok(Column::Index(2)));
        assert!("0".parse::<Column>().is_err());
    }
}
