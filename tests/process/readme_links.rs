//! What the README and the pages of the docs point at is there, wherever they are read: in the repository, on a package
//! registry's page, or as rustdoc's pages. And the names that users of other caches type find their counterparts.

#[path = "../common/sources.rs"]
mod sources;

use sources::{is_rust, sources};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Where the docs are, once the crate is published: the one address of its own that the README links to.
const DOCS: &str = "https://docs.rs/bellwether/latest/bellwether/";

/// Package registries, whose pages are nothing to link to: a project has sources or docs of its own.
const REGISTRIES: &[&str] =
    &["crates.io", "pypi.org", "lib.rs", "npmjs.com", "rubygems.org", "nuget.org", "packagist.org"];

/// Pages that are not in the package, or not shown as they are.
const REPOSITORY: &[&str] = &[
    "benches/README.md",
    "fuzz/README.md",
    "loom-tests/README.md",
    "loom-tests/flight-model/README.md",
    "shuttle-tests/README.md",
];

/// Where a path in code font may begin.
const FOLDERS: &[&str] = &[
    "tests",
    "src",
    "benches",
    "docs",
    "demos",
    "examples",
    "loom-tests",
    "shuttle-tests",
    "fuzz",
    "scripts",
    "integrations",
];

/// What users of moka, quick_cache, Caffeine and FusionCache would search the docs for.
const ALIASES: &[&str] = &[
    "entry_count",
    "get_with_by_ref",
    "get_or_insert_with",
    "get_or_insert_async",
    "get_value_or_guard",
    "or_insert_with",
    "or_insert_with_if",
    "optionally_get_with",
    "and_compute_with",
    "and_upsert_with",
    "and_try_compute_with",
    "CompResult",
    "is_pinned",
    "invalidate_entries_if",
    "expire_after",
    "Expiry",
    "Lifecycle",
    "Weighter",
    "weight_capacity",
    "estimated_items_capacity",
    "build_with_hasher",
    "refresh_after_write",
    "stale_while_revalidate",
    "singleflight",
    "dogpile",
    "timeout",
    "negative_cache",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The README, and the files that rustdoc shows as pages.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), read("README.md"))];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = format!("docs/{}", path.file_name().unwrap().to_str().unwrap());
            pages.push((name.clone(), read(&name)));
        }
    }
    assert!(pages.len() > 4, "the pages were found");
    pages
}

/// The sources of the crate, file by file.
fn code() -> Vec<String> {
    sources().into_iter().filter(|(path, _)| is_rust(path)).map(|(_, text)| text).collect()
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The targets of the links and pictures in a text: `[text](target)`, `[label]: target`, `<https:…>`.
fn targets(text: &str) -> Vec<String> {
    let prose = prose(text);
    let mut targets: Vec<String> = Vec::new();
    for rest in prose.split("](").skip(1) {
        targets.push(rest[..rest.find(')').expect("a link ends")].to_owned());
    }
    for line in prose.lines().filter(|line| line.starts_with('[')) {
        if let Some((_, target)) = line.split_once("]: ") {
            targets.push(target.trim().to_owned());
        }
    }
    for rest in prose.split("<http").skip(1) {
        targets.push(format!("http{}", &rest[..rest.find('>').expect("a link ends")]));
    }
    targets
}

/// The words of a text that are set in code font.
fn code_words(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether `text` has `word` with no letter of an identifier on either side.
fn has_word(text: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(letter)
            && !text[at + word.len()..].chars().next().is_some_and(letter)
    })
}

/// What is wrong with a link to the docs of this crate.
fn wrong_in_docs(rest: &str, lib: &str, sources: &[String]) -> Option<String> {
    let (page, anchor) = rest.split_once('#').map_or((rest, None), |(page, anchor)| (page, Some(anchor)));
    if let Some(module) = page.strip_suffix("/index.html") {
        let shown = lib.contains(&format!("docs/{module}.md\")]")) && lib.contains(&format!("pub mod {module} {{}}"));
        return (!shown || !root().join(format!("docs/{module}.md")).exists()).then(|| format!("no page {module}"));
    }
    let Some((kind, name)) = page.strip_suffix(".html").and_then(|item| item.split_once('.')) else {
        return Some("neither an item nor a page".to_owned());
    };
    let exported = lib.split("\npub use ").skip(1).any(|rest| has_word(rest.split(';').next().unwrap(), name));
    if !exported || !sources.iter().any(|file| has_word(file, &format!("pub {kind} {name}"))) {
        return Some(format!("no {kind} {name}"));
    }
    let method = anchor?.strip_prefix("method.")?;
    // In a file that has an `impl` of the type.
    let of_type = |file: &str| file.lines().any(|line| line.starts_with("impl") && has_word(line, name));
    let has = |file: &str| ["pub fn", "pub async fn"].iter().any(|of| has_word(file, &format!("{of} {method}")));
    (!sources.iter().any(|file| of_type(file) && has(file))).then(|| format!("no method {method}"))
}

/// Whether the page has a heading of this name, as rustdoc and GitHub write it in links.
fn has_heading(page: &str, name: &str) -> bool {
    let letter = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    let headings = page.lines().filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' '));
    headings.map(|heading| heading.chars().filter_map(letter).collect::<String>()).any(|heading| heading == name)
}

#[test]
fn links_resolve_wherever_they_are_read() {
    let (lib, sources) = (read("src/lib.rs"), code());
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, text) in pages() {
        for target in targets(&text) {
            seen += 1;
            let trouble = if let Some(rest) = target.strip_prefix(DOCS) {
                wrong_in_docs(rest, &lib, &sources)
            } else if let Some(rest) = target.strip_prefix("https://") {
                let host = rest.split('/').next().unwrap().trim_start_matches("www.");
                REGISTRIES.contains(&host).then(|| "a package registry's page".to_owned())
            } else if let Some(heading) = target.strip_prefix('#') {
                (!has_heading(&text, heading)).then(|| "no such heading".to_owned())
            } else if page != "README.md" && (target.starts_with("crate::") || target.starts_with("std::")) {
                None // rustdoc resolves it, or warns.
            } else {
                Some("resolves only in the repository".to_owned())
            };
            wrong.extend(trouble.map(|trouble| format!("{page}: {target}: {trouble}")));
        }
    }
    assert!(seen > 60, "the links were found: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each label that the README uses without a target beside it has one at the end, and each of these is used.
#[test]
fn labels_and_targets_are_the_same_ones() {
    let readme = prose(&read("README.md"));
    let (ends, text): (Vec<&str>, Vec<&str>) =
        readme.lines().partition(|line| line.starts_with('[') && line.contains("]: "));
    let defined: BTreeSet<&str> = ends.iter().map(|line| &line[1..line.find("]: ").unwrap()]).collect();
    let text = text.join("\n");
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices('[') {
        let label = &text[at + 1..];
        let label = &label[..label.find(']').expect("a label ends")];
        let after = &text[at + 1 + label.len() + 1..];
        if !after.starts_with(['(', '[']) {
            used.insert(label);
        }
    }
    assert_eq!(used, defined);
}

/// Paths in code font, with a test after `::` or not, and the links of pages that are read in the repository alone.
#[test]
fn what_is_named_in_the_repository_exists() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (page, text) in pages().into_iter().chain(REPOSITORY.iter().map(|&page| (page.to_owned(), read(page)))) {
        let folder = root().join(&page).parent().unwrap().to_owned();
        let there = |path: &str| root().join(path).exists() || folder.join(path).exists();
        for word in code_words(&text) {
            if !word.contains('/') || word.contains([' ', '*']) || !FOLDERS.contains(&word.split('/').next().unwrap()) {
                continue;
            }
            seen += 1;
            let (path, test) = word.split_once("::").map_or((&*word, None), |(path, test)| (path, Some(test)));
            let has =
                |test: &str| fs::read_to_string(root().join(path)).is_ok_and(|t| t.contains(&format!("fn {test}(")));
            if !there(path) || !test.is_none_or(has) {
                wrong.push(format!("{page}: {word}"));
            }
        }
        if REPOSITORY.contains(&&*page) {
            for target in targets(&text).iter().filter(|target| !target.starts_with("http")) {
                seen += 1;
                if !there(target) {
                    wrong.push(format!("{page}: {target}"));
                }
            }
        }
    }
    assert!(seen > 80, "the paths were found: {seen}");
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
}

/// A package of the workspace, by its name: its folder, and its manifest.
fn package(name: &str) -> Option<(PathBuf, String)> {
    let folders = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).chain([root()]);
    folders
        .filter_map(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok().map(|manifest| (folder, manifest)))
        .find(|(_, manifest)| manifest.contains(&format!("[package]\nname = \"{name}\"\n")))
}

#[test]
fn the_programs_that_the_readme_runs_exist() {
    let readme = read("README.md");
    let mut seen = 0;
    for command in readme.lines().filter(|line| line.starts_with("cargo run ")) {
        let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
        let after = |flag: &str| words.iter().position(|word| *word == flag).map(|at| words[at + 1]);
        let (folder, manifest) =
            package(after("-p").unwrap_or("bellwether")).unwrap_or_else(|| panic!("no package for: {command}"));
        for kind in ["bin", "example"] {
            let Some(name) = after(&format!("--{kind}")) else { continue };
            seen += 1;
            let listed = manifest.contains(&format!("[[{kind}]]\nname = \"{name}\"\n"));
            let place = if kind == "bin" { "src/bin" } else { "examples" };
            let found = ["", "/main"].iter().any(|main| folder.join(format!("{place}/{name}{main}.rs")).exists());
            assert!(listed || found, "no {kind} {name} for: {command}");
        }
    }
    assert_eq!(seen, 1, "the demo's command was found");
}

#[test]
fn the_package_has_its_pages_and_pictures() {
    let (manifest, lib) = (read("Cargo.toml"), read("src/lib.rs"));
    let include = manifest.lines().find(|line| line.starts_with("include = ")).expect("a list of what is packed");
    let mut shown = 0;
    for rest in lib.split("include_str!(\"../").skip(1) {
        let path = &rest[..rest.find('"').unwrap()];
        shown += 1;
        assert!(root().join(path).exists(), "{path}");
        let first = path.split('/').next().unwrap();
        assert!(include.contains(&format!("\"/{first}\"")), "{path} is not packed");
    }
    assert!(shown > 6, "the pages were found: {shown}");
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(lib.contains(&format!("../docs/{name}\")")), "docs/{name} is packed and shown nowhere");
        let blank = |text: String| text.lines().any(|line| line.trim().is_empty());
        assert!(
            !name.ends_with(".svg") || !blank(read(&format!("docs/{name}"))),
            "{name}: a blank line ends a picture"
        );
    }
}

/// The example for services runs as a doctest of `src/lib.rs`, whose hidden lines drive it. The README's is the same.
#[test]
fn the_readmes_example_is_the_one_that_runs() {
    let readme = read("README.md");
    let example = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let lib: String = read("src/lib.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    assert!(example.contains(".await"));
    assert!(lib.contains(example), "src/lib.rs shows another example");
}

#[test]
fn the_names_of_other_caches_find_their_counterparts() {
    let sources = code().concat();
    for alias in ALIASES {
        let attribute = format!("#[doc(alias = \"{alias}\")]\n");
        let at = sources.find(&attribute).unwrap_or_else(|| panic!("no item has the alias {alias}"));
        // Attributes, comments, and then the item, which must be public for its alias to be seen.
        let item = sources[at..].lines().map(str::trim).find(|line| !line.starts_with(['#', '/'])).unwrap_or_default();
        assert!(item.starts_with("pub fn ") || item.starts_with("pub struct "), "{alias} leads to: {item}");
    }
}
