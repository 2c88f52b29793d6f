//! The prose of `src`: short lines, no document that is not in the repository, and an actor in place of "whoever".

use std::fs;
use std::path::{Path, PathBuf};

/// Words that stand where an actor should be named. They may be rare: fewer than one in a thousand words.
const VAGUE: &[&str] = &["whoever", "nobody", "somebody", "anybody", "everybody", "whom", "thereof", "whatever"];
/// Documents and places that a reader of the repository does not have.
const ELSEWHERE: &[&str] = &["../shared", "design section", "design.md"];
/// Names from before the present ones.
const FORMER: &[&str] = &[
    "`Scope`",
    "`Through`",
    "`Terms`",
    "`Stamps`",
    "`Spare`",
    "`Hot`",
    "`Keeper`",
    "`Wanted`",
    "`Boarded`",
    "GONE",
    "disembark",
    "unseat",
];

fn sources(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
            all.push(path);
        }
    }
}

/// Each comment line of the sources, with its place, and how long the line is; each line of `PROTOCOL.md`.
fn comments() -> Vec<(String, String, usize)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let prose = file.extension().is_some_and(|e| e == "md");
        for (number, line) in text.lines().enumerate() {
            if prose || line.trim_start().starts_with("//") || line.contains(" // ") {
                let comment = line.split_once("//").map_or(line, |(_, comment)| comment);
                let place = format!("{}:{}", file.strip_prefix(&src).unwrap().display(), number + 1);
                // (A table cannot be wrapped.)
                let columns = if line.contains("| ") { 0 } else { line.chars().count() };
                all.push((place, comment.to_owned(), columns));
            }
        }
    }
    assert!(all.len() > 3000, "the comments were found: {}", all.len());
    all
}

#[test]
fn comments_fit_a_hundred_columns() {
    let long: Vec<String> = comments().into_iter().filter(|(_, _, n)| *n > 100).map(|(place, ..)| place).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn comments_name_their_actors() {
    let (mut words, mut vague) = (0, Vec::new());
    for (place, comment, _) in comments() {
        for word in comment.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            words += 1;
            if VAGUE.contains(&word.to_lowercase().as_str()) {
                vague.push(format!("{place}: {word}"));
            }
        }
    }
    assert!(vague.len() * 1000 < words, "{} in {words} words: {vague:#?}", vague.len());
}

#[test]
fn comments_refer_to_what_is_there() {
    for (place, comment, _) in comments() {
        for word in ELSEWHERE.iter().chain(FORMER) {
            assert!(!comment.contains(word), "{place} says {word}");
        }
    }
}
