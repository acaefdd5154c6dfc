//! `tests/GUARANTEES.md` is true: it has every promise once, names no test that does not exist, and misses none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use testkit::config::updates_files;

/// How many promises there are under each letter.
const PROMISES: [(char, usize); 14] = [
    ('A', 18),
    ('S', 7),
    ('T', 10),
    ('R', 10),
    ('F', 12),
    ('L', 9),
    ('Q', 13),
    ('O', 7),
    ('C', 7),
    ('H', 13),
    ('P', 9),
    ('V', 4),
    ('W', 7),
    ('N', 2),
];

/// What a row says that has no test.
const NOT_YET: &str = "not yet";

#[test]
fn every_promise_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("tests/GUARANTEES.md");
    let table = fs::read_to_string(&path).unwrap();
    let tests = tests_by_promise(root);

    let promised: Vec<String> = PROMISES
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}")))
        .collect();
    let rows: Vec<&str> = table.lines().filter_map(promise_of).collect();
    assert_eq!(rows, promised);
    let complete: String = table.lines().map(|line| completed(line, &tests) + "\n").collect();
    if updates_files() {
        fs::write(path, complete).unwrap();
        return;
    }
    for (line, wanted) in table.lines().zip(complete.lines()) {
        let known: BTreeSet<&str> = named(line).collect();
        let missing: Vec<&str> = named(wanted).filter(|name| !known.contains(name)).collect();
        assert!(missing.is_empty(), "tests/GUARANTEES.md misses {missing:?}; TEST_UPDATE=1 adds them");
        for name in named(line) {
            let exists =
                promise_of(line).and_then(|id| tests.get(id)).is_some_and(|tests| tests.contains(name));
            assert!(exists, "there is no test {name}, or it is about something else: {line}");
        }
    }
}

/// The id of the promise that a line of the table is about.
fn promise_of(line: &str) -> Option<&str> {
    let id = line.strip_prefix("| ")?.split(" |").next()?;
    id.ends_with(|last: char| last.is_ascii_digit()).then_some(id)
}

/// The tests that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').filter(|part| part.contains(".rs::"))
}

/// The line with all tests of its promise.
fn completed(line: &str, tests: &BTreeMap<String, BTreeSet<String>>) -> String {
    let tests = promise_of(line).and_then(|id| tests.get(id));
    let known: BTreeSet<&str> = named(line).collect();
    let missing: Vec<String> = tests
        .into_iter()
        .flatten()
        .filter(|test| !known.contains(test.as_str()))
        .map(|test| format!("`{test}`"))
        .collect();
    if missing.is_empty() {
        return line.to_owned();
    }
    let row = line.strip_suffix(" |").unwrap();
    match row.strip_suffix(NOT_YET) {
        Some(row) => format!("{row}{} |", missing.join("<br>")),
        None => format!("{row}<br>{} |", missing.join("<br>")),
    }
}

/// The tests in the source whose names begin with ids, as `file::name`.
fn tests_by_promise(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(root) {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let Some((_, after)) = line.split_once("fn ") else { continue };
            let name = after.split('(').next().unwrap();
            for id in ids(name) {
                tests.entry(id).or_default().insert(format!("{file}::{name}"));
            }
        }
    }
    tests
}

/// The ids at the beginning of a name.
fn ids(name: &str) -> Vec<String> {
    let is_id = |word: &&str| {
        let (letter, number) = word.split_at_checked(1).unwrap_or_default();
        let letter = PROMISES.iter().find(|(known, _)| letter == known.to_ascii_lowercase().to_string());
        let number = number.parse::<usize>().ok();
        letter.is_some_and(|(_, count)| number.is_some_and(|number| (1..=*count).contains(&number)))
    };
    name.split('_').take_while(is_id).map(str::to_ascii_uppercase).collect()
}

/// Every source file of the crates and the tests.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.join("crates"), root.join("tests")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let skipped = ["target", "node_modules"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !skipped {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
