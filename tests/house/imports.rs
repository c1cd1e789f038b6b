//! Who may import whom: rooms from lower floors alone, and files of a room in no circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources;

/// The rooms from the ground up. A room imports from lower floors alone.
const FLOORS: &[&[&str]] = &[
    &["clock", "failure_kind", "per_thread", "percent", "random"],
    &["expiring", "head", "limits"],
    &["error", "json"],
    &["panic"],
    &["proxy_url"],
    &["auth"],
    &["cancel", "import"],
    &["request", "runtime"],
    &["observe", "policy", "store", "transport"],
    &["executor", "health", "metrics"],
    &["provider", "registry"],
    &["login", "persistence", "selection"],
    &["resources"],
    &["services"],
    &["refresh"],
    &["execution"],
    &["manager"],
    &["guide", "testing"],
];

/// Circles of files that are still there. The list may only shrink.
const CIRCLES: &[&[&str]] = &[
    &[
        "execution/acquire",
        "execution/pick",
        "execution/retry_loop",
    ],
    &["refresh/coordinator", "refresh/pending_saves"],
    &[
        "registry/index/model_queue",
        "registry/pick",
        "registry/record",
    ],
    &["runtime/pool/lane", "runtime/pool/worker"],
];

type Module = Vec<String>;

/// The command is a crate of its own, which sees the library's public interface alone.
const COMMAND: &str = "bin/credpool/";

/// The library's files.
fn of_library() -> Vec<(String, String)> {
    let mut files = sources();
    files.retain(|(name, _)| !name.starts_with(COMMAND));
    files
}

/// The command's files, below their own root.
fn of_command() -> Vec<(String, String)> {
    let files = sources().into_iter();
    let below = files.filter_map(|(name, code)| {
        let name = name.strip_prefix(COMMAND)?;
        Some((name.to_owned(), code))
    });
    below.collect()
}

#[test]
fn rooms_import_downward() {
    let floor_of = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let mut found = Vec::new();
    for (name, code) in of_library() {
        let Some(floor) = floor_of(&room_of(&name)) else {
            found.push(format!("{name} is on no floor"));
            continue;
        };
        for path in paths(&code) {
            let [root, other, ..] = path.as_slice() else {
                continue;
            };
            if root != "crate" || *other == room_of(&name) {
                continue;
            }
            match floor_of(other) {
                None => found.push(format!("{name} imports crate::{other} past its room")),
                Some(below) if below >= floor => found.push(format!("{name} imports {other}")),
                Some(_) => {}
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn files_import_each_other_in_no_circle() {
    let found = circles(of_library());
    let known: Vec<Vec<String>> = CIRCLES
        .iter()
        .map(|files| files.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(found, known, "circles that went are taken from the list");
    let command = of_command();
    assert!(command.len() > 10, "the scan sees the command");
    assert_eq!(circles(command), Vec::<Vec<String>>::new());
}

/// The room of a file: the first part of its path.
fn room_of(name: &str) -> String {
    let first = name.split('/').next().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn module_of(name: &str) -> Module {
    let mut module: Module = name
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Files that reach each other by imports. A `mod.rs` is the door of those below it: what it re-exports is no circle.
fn circles(sources: Vec<(String, String)>) -> Vec<Vec<String>> {
    let files: BTreeMap<Module, (bool, String)> = sources
        .into_iter()
        .map(|(name, code)| (module_of(&name), (name.ends_with("/mod.rs"), code)))
        .collect();
    let imports: BTreeMap<&Module, BTreeSet<Module>> = files
        .iter()
        .map(|(module, (_, code))| {
            let targets = paths(code)
                .into_iter()
                .filter_map(|path| target(&path, module, &files))
                .filter(|other| {
                    let is_door =
                        |door: &Module, inner: &Module| files[door].0 && inner.starts_with(door);
                    other != module && !is_door(other, module) && !is_door(module, other)
                })
                .collect();
            (module, targets)
        })
        .collect();
    let reachable = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = imports[from].iter().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(&imports[module]);
            }
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = files
        .keys()
        .map(|module| (module, reachable(module)))
        .collect();
    let mut circles = BTreeSet::new();
    for module in files
        .keys()
        .filter(|module| reach[*module].contains(module))
    {
        let circle: Vec<String> = reach[module]
            .iter()
            .filter(|other| reach[**other].contains(module))
            .map(|other| other.join("/"))
            .collect();
        circles.insert(circle);
    }
    circles.into_iter().collect()
}

/// The file that a path leads into.
fn target(
    path: &[String],
    from: &Module,
    files: &BTreeMap<Module, (bool, String)>,
) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self" | "super") => {
            while let Some(step @ ("self" | "super")) = rest.first().map(String::as_str) {
                if step == "super" {
                    base.pop();
                }
                rest = &rest[1..];
            }
        }
        Some(first) => {
            let child = [from.as_slice(), &[first.to_owned()]].concat();
            files.get(&child)?;
        }
        None => return None,
    }
    base.extend(rest.iter().cloned());
    (1..=base.len())
        .rev()
        .map(|length| base[..length].to_vec())
        .find(|module| files.contains_key(module))
}

/// Every path in the code: each leaf of a `use`, and what begins with `crate`, `self` or `super` elsewhere.
fn paths(code: &str) -> Vec<Vec<String>> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let tokens = tokens(&lines.collect::<Vec<_>>().join("\n"));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "use" => {
                at += 1;
                leaves(&tokens, &mut at, &mut Vec::new(), &mut found);
            }
            "crate" | "self" | "super" if tokens.get(at + 1).is_some_and(|next| next == "::") => {
                leaves(&tokens, &mut at, &mut Vec::new(), &mut found);
            }
            _ => at += 1,
        }
    }
    found
}

/// Words, `::`, braces and commas; everything else ends a path.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest
            .find(|sign: char| !sign.is_alphanumeric() && sign != '_')
            .unwrap_or(rest.len());
        let length = match first {
            _ if word > 0 => word,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            found.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    found
}

fn leaves(tokens: &[String], at: &mut usize, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let depth = path.len();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        if token == "{" {
            while tokens.get(*at).is_some_and(|next| next != "}") {
                leaves(tokens, at, path, found);
                if tokens.get(*at).is_some_and(|next| next == ",") {
                    *at += 1;
                }
            }
            *at += 1;
            path.truncate(depth);
            return;
        }
        path.push(token.clone());
        if tokens.get(*at).is_some_and(|next| next == "::") {
            *at += 1;
            continue;
        }
        if tokens.get(*at).is_some_and(|next| next == "as") {
            *at += 2;
        }
        break;
    }
    found.push(path.clone());
    path.truncate(depth);
}
