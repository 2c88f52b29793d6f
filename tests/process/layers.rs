//! The layout: eight folders, imports strictly downward, no two files that import each other in a circle.

#[path = "../common/sources.rs"]
mod sources;

use sources::{is_rust, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The folders of `src`, from the ground up. A file imports from its own folder and from those before it.
const FOLDERS: [&str; 8] = ["sys", "runtime", "reclaim", "policy", "table", "flight", "engine", "api"];

/// The code of every source file but `lib.rs`, without comments, by the path of its module.
fn modules() -> BTreeMap<String, String> {
    let files = sources().into_iter().filter(|(path, _)| is_rust(path) && path != Path::new("lib.rs"));
    let module = |(path, text): (PathBuf, String)| {
        let parts: Vec<String> = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
        (parts.join("::").trim_end_matches("::mod").to_owned(), code.join("\n"))
    };
    files.map(module).collect()
}

/// The paths of a `use` statement, one by one: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_string()];
    };
    let inner = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start, mut all) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                all.extend(paths(&inner[start..at]).iter().map(|path| format!("{}{path}", prefix.trim())));
                start = at + 1;
            }
            _ => {}
        }
    }
    all
}

/// The modules that each module imports from.
fn imports(modules: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let longest = |path: &str| {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| modules.get_key_value(&path[..end])).last().map(|(name, _)| name.as_str())
    };
    let of = |name: &str, code: &str| -> BTreeSet<&str> {
        let begins = |line: &str| ["use ", "pub use ", "pub(crate) use "].iter().any(|word| line.starts_with(word));
        let starts = code.match_indices('\n').map(|(at, _)| &code[at + 1..]).chain([code]);
        let uses = starts.map(str::trim_start).filter(|rest| begins(rest)).flat_map(|rest| {
            let tree = rest.split_once("use ").unwrap().1;
            paths(tree.split(';').next().unwrap())
        });
        // Paths that are written out where they are used.
        let inline = code.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            format!("crate::{}", &rest[..end])
        });
        let parent = name.rsplit_once("::").map_or("", |(parent, _)| parent);
        let absolute = |path: String| match path.strip_prefix("super::") {
            Some(path) => format!("{parent}::{path}"),
            None => path.strip_prefix("crate::").unwrap_or("").to_string(),
        };
        uses.chain(inline).filter_map(|path| longest(&absolute(path))).filter(|other| *other != name).collect()
    };
    modules.iter().map(|(name, code)| (name.as_str(), of(name, code))).collect()
}

fn folder(module: &str) -> usize {
    let name = module.split("::").next().unwrap();
    FOLDERS.iter().position(|folder| *folder == name).unwrap_or_else(|| panic!("{name} is none of the eight folders"))
}

#[test]
fn imports_run_downward() {
    let modules = modules();
    let imports = imports(&modules);
    for (module, others) in &imports {
        for other in others {
            assert!(folder(other) <= folder(module), "{module} imports {other}, which is above it");
        }
    }
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 400, "the imports were found");
}

/// A folder's `mod.rs` and its files are one thing. Any other files that import each other are two halves of one.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = modules();
    let mut left = imports(&modules);
    let within = |a: &str, b: &str| a.starts_with(&format!("{b}::")) || b.starts_with(&format!("{a}::"));
    for (module, others) in &mut left {
        others.retain(|other| !within(module, other));
    }
    // Takes away what imports nothing that is left, until nothing is, or only circles are.
    loop {
        let before = left.len();
        let names: BTreeSet<&str> = left.keys().copied().collect();
        left.retain(|_, others| others.iter().any(|other| names.contains(other)));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "a circle is among {:?}", left.keys());
}

#[test]
fn one_file_names_the_atomics_and_one_the_epoch() {
    let modules = modules();
    let naming = |word: &str| -> Vec<&str> {
        modules.iter().filter(|(_, code)| code.contains(word)).map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(naming("crossbeam_epoch"), ["reclaim::crossbeam"]);
    assert_eq!(naming("portable_atomic"), ["sys::counted", "sys::sync"]);
    assert_eq!(naming("shuttle::"), ["sys::sync"]);
    for lock in ["Mutex", "RwLock", "Condvar"] {
        assert!(naming(lock).is_empty(), "{lock} in {:?}", naming(lock));
    }
}

/// A file is about one thing, and is read at one sitting.
#[test]
fn files_are_short() {
    let lines = |(path, text): &(PathBuf, String)| (path.clone(), text.lines().count());
    let rust = sources().into_iter().filter(|(path, _)| is_rust(path));
    let long: Vec<(PathBuf, usize)> = rust.map(|file| lines(&file)).filter(|(_, lines)| *lines > 410).collect();
    assert!(long.is_empty(), "{long:?}");
}
