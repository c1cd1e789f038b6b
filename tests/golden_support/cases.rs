//! Files of cases, and their members: what is left out is zero.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::DEVIATIONS;

/// Where an answer differs from the recorded one; empty when it does not.
pub(crate) type Differences = Vec<String>;

/// Runs every case of a file and fails with the first of those that differ.
pub(crate) fn replay(file: &str, mut run: impl FnMut(&Value) -> Differences) {
    let path = directory().join(file);
    let lines = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let mut ran = 0_usize;
    let mut failed = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let case: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{file}, line {}: {error}", number + 1));
        ran += 1;
        let found = catch_unwind(AssertUnwindSafe(|| run(&case)))
            .unwrap_or_else(|_| vec!["it panicked; see above".into()]);
        let found = excuse(file, text(&case, "id"), found);
        if !found.is_empty() {
            failed.push((text(&case, "id").to_owned(), found));
        }
    }
    println!("{file}: {ran} cases, {} differ", failed.len());
    assert!(ran > 0, "{file} has no case");
    assert!(failed.is_empty(), "{}", summary(file, ran, &failed));
}

/// What a listed deviation makes of the differences.
fn excuse(file: &str, id: &str, found: Differences) -> Differences {
    let listed = DEVIATIONS
        .iter()
        .find(|(in_file, of_case, _)| (*in_file, *of_case) == (file, id));
    match listed {
        None => found,
        Some(_) if !found.is_empty() => Vec::new(),
        Some((_, _, reason)) => vec![format!(
            "listed as a deviation, but it does not differ: {reason}"
        )],
    }
}

fn summary(file: &str, ran: usize, failed: &[(String, Differences)]) -> String {
    let mut lines = vec![format!("{file}: {} of {ran} cases differ", failed.len())];
    for (id, found) in failed.iter().take(SHOWN_CASES) {
        lines.push(format!("  {id}"));
        let shown = found.iter().take(SHOWN_DIFFERENCES);
        lines.extend(shown.map(|difference| format!("    {difference}")));
        if found.len() > SHOWN_DIFFERENCES {
            lines.push(format!("    and {} more", found.len() - SHOWN_DIFFERENCES));
        }
    }
    let others = failed.iter().skip(SHOWN_CASES).take(SHOWN_IDS);
    let others: Vec<_> = others.map(|(id, _)| id.as_str()).collect();
    if !others.is_empty() {
        lines.push(format!("  also {}", others.join(" ")));
    }
    lines.join("\n")
}

fn directory() -> PathBuf {
    std::env::var_os("CREDPOOL_GOLDEN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
        PathBuf::from,
    )
}

/// A member that is there and not null.
pub(crate) fn optional<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|member| !member.is_null())
}

/// A text, or the empty one.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    optional(value, name).map_or("", |member| {
        member
            .as_str()
            .unwrap_or_else(|| panic!("`{name}` is not text"))
    })
}

/// A flag, or `false`.
pub(crate) fn flag(value: &Value, name: &str) -> bool {
    optional(value, name).is_some_and(|member| {
        member
            .as_bool()
            .unwrap_or_else(|| panic!("`{name}` is not a flag"))
    })
}

/// A whole number in any spelling, or zero.
pub(crate) fn integer(value: &Value, name: &str) -> i64 {
    optional(value, name).map_or(0, |member| {
        member
            .as_i64()
            .or_else(|| {
                let number = member.as_f64().filter(|number| number.fract() == 0.0)?;
                format!("{number:.0}").parse().ok()
            })
            .unwrap_or_else(|| panic!("`{name}` is not an integer"))
    })
}

/// A list, or the empty one.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    optional(value, name).map_or(&[], |member| {
        member
            .as_array()
            .unwrap_or_else(|| panic!("`{name}` is not a list"))
    })
}

/// An object's members, or none.
pub(crate) fn map(value: &Value, name: &str) -> Map<String, Value> {
    optional(value, name).map_or_else(Map::new, |member| {
        member
            .as_object()
            .unwrap_or_else(|| panic!("`{name}` is not an object"))
            .clone()
    })
}

const SHOWN_CASES: usize = 8;
const SHOWN_DIFFERENCES: usize = 6;
const SHOWN_IDS: usize = 100;
