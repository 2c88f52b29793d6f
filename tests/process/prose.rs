//! The prose of `src`: short lines, no document that is not in the repository, and an actor in place of "whoever".

#[path = "../common/sources.rs"]
mod sources;

use sources::{is_rust, sources};

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

/// Each comment line of the sources, with its place, and how long the line is; each line of `PROTOCOL.md`.
fn comments() -> Vec<(String, String, usize)> {
    let mut all = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if !is_rust(&path) || line.trim_start().starts_with("//") || line.contains(" // ") {
                let comment = line.split_once("//").map_or(line, |(_, comment)| comment);
                // (A table cannot be wrapped.)
                let columns = if line.contains("| ") { 0 } else { line.chars().count() };
                all.push((format!("{}:{}", path.display(), number + 1), comment.to_owned(), columns));
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
