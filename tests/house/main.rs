//! The house rules that no compiler checks.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod imports;
mod prose;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every source file with its path below `src`, without its tests.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    assert!(paths.len() > 30, "the scan sees the sources");
    paths
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name != "lib.rs" && name != "tests.rs" && !name.ends_with("_tests.rs")
        })
        .map(|path| {
            let code = without_tests(&fs::read_to_string(&path).unwrap());
            let name = path.strip_prefix(&root).unwrap();
            (name.to_str().unwrap().replace('\\', "/"), code)
        })
        .collect()
}

/// A file without the module of its tests: one that is written in it ends it, one in another file is a line anywhere.
fn without_tests(text: &str) -> String {
    const TESTS: &str = "\n#[cfg(test)]\nmod ";
    let mut pieces = text.split(TESTS);
    let mut code = pieces.next().unwrap().to_owned();
    for piece in pieces {
        match piece.split_once('\n') {
            Some((name, rest)) if name.ends_with(';') => {
                code.push('\n');
                code.push_str(rest);
            }
            _ => break,
        }
    }
    code
}

/// Lines outside comments that hold one of `patterns`, in files that `allowed` does not admit.
fn offences(patterns: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    sources()
        .into_iter()
        .filter(|(name, _)| !allowed(name))
        .flat_map(|(name, code)| {
            code.lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
                .filter(|(_, line)| patterns.iter().any(|pattern| line.contains(pattern)))
                .map(|(number, line)| format!("{name}:{}: {}", number + 1, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_time_is_read_in_one_place() {
    let found = offences(
        &["::now()", "now_utc()", "now_local()", ".elapsed()"],
        |name| name == "clock.rs",
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn nothing_sleeps() {
    let found = offences(&["thread::sleep", "park_timeout"], |_| false);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn threads_start_in_one_room() {
    let found = offences(
        &["thread::spawn", "thread::Builder", "thread::scope"],
        |name| name.starts_with("runtime/"),
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn panics_are_caught_in_one_room() {
    let found = offences(&["catch_unwind"], |name| name == "panic.rs");
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_async_runtime_is_anywhere_in_the_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--all-features", "--prefix", "none", "--locked"])
        .args(["--edges", "normal,build,dev", "--target", "all"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(tree.contains("ureq v3."), "the tree is read: {tree}");
    let runtimes = [
        "tokio",
        "async-std",
        "smol",
        "async-executor",
        "async-io",
        "futures-executor",
        "mio",
        "glommio",
        "monoio",
        "compio",
        "actix-rt",
        "embassy-executor",
        "pollster",
    ];
    let found: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| runtimes.contains(name))
        .collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn examples_and_documentation_name_no_registry_and_no_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_dir(root.join("src/guide")).unwrap();
    let pages = guide.map(|page| page.unwrap().path());
    let documents = [
        "README.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "SECURITY.md",
    ];
    let documents = documents.map(|name| root.join(name));
    let documents = documents.into_iter().chain(pages).map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        (path.display().to_string(), text)
    });
    for (name, text) in documents.chain(sources()) {
        for word in ["crates.io", "/home/", "/root/", "/work/"] {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}
