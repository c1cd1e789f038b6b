//! What comments and documents may not say, and how long a file may be.

use std::fs;
use std::path::Path;

use crate::sources;

/// Words that name no thing of the domain, or that the field has a term for.
const AVOIDED: &[&str] = &[
    "the seed",
    // Persons where the subject is a credential, a call or a store.
    "somebody",
    "someone",
    "nobody",
    "no one",
    "everybody",
    "everyone",
    "anybody",
    "anyone",
    "whoever",
    "whom",
    "those who",
    "who is",
    // Cooling down, disabled, at its limit or unavailable.
    "is out",
    "are out",
    "put out",
    "who is out",
    // Immediately, or concurrently.
    "at once",
    // Random, and user-supplied.
    "by chance",
    "the program's own",
    // Retry-After, reset time or retry hint.
    "the server's word",
    "said by",
    "by guess",
    // Selected, tried, reported, notified.
    "is asked all the same",
    "is told of",
    "are told",
    "was told",
    "left alone",
    "has the word",
    "goes first",
    // Cannot be parsed; has expired, ended or been revoked.
    "does not read",
    "do not read",
    "come to an end",
    "comes to an end",
];

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "RELEASING.md",
    "src/guide",
];

/// Lines of a file without its tests. A longer one is two.
const LONGEST: usize = 540;

#[test]
fn prose_names_things_by_the_fields_terms() {
    let comments = sources().into_iter().flat_map(|(name, code)| {
        let lines: Vec<_> = code
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with("//"))
            .map(|line| (name.clone(), line.to_owned()))
            .collect();
        lines
    });
    let documents = documents().into_iter().flat_map(|(name, text)| {
        let lines: Vec<_> = text
            .lines()
            .map(|line| (name.clone(), line.to_owned()))
            .collect();
        lines
    });
    let found: Vec<_> = comments
        .chain(documents)
        .filter(|(_, line)| {
            // What stands between back quotes is code.
            let line: String = line.split('`').step_by(2).collect();
            is_avoided(&line)
        })
        .map(|(name, line)| format!("{name}: {line}"))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// A line of a log and the message of an error are prose, too.
#[test]
fn messages_name_things_by_the_fields_terms() {
    let found: Vec<_> = sources()
        .into_iter()
        .flat_map(|(name, code)| {
            let code = without_comments(&code);
            // What stands between quotes is every other piece: a text may hold no quote but an escaped one.
            let texts: Vec<_> = code
                .replace("\\\"", "'")
                .replace("'\"'", "")
                .split('"')
                .skip(1)
                .step_by(2)
                .filter(|text| is_avoided(text))
                .map(|text| format!("{name}: {text}"))
                .collect();
            texts
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_file_is_longer_than_two_should_be() {
    let found: Vec<_> = sources()
        .into_iter()
        .map(|(name, code)| (code.lines().count(), name))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    assert_eq!(found, Vec::<(usize, String)>::new());
}

fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for name in DOCUMENTS {
        let path = root.join(name);
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        } else {
            found.push(((*name).to_owned(), fs::read_to_string(path).unwrap()));
        }
    }
    found
}

fn without_comments(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_avoided(text: &str) -> bool {
    let text = text.to_lowercase();
    AVOIDED.iter().any(|word| has_word(&text, word))
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let is_edge = |sign: Option<char>| sign.is_none_or(|sign| !sign.is_alphanumeric());
        is_edge(line[..start].chars().next_back())
            && is_edge(line[start + word.len()..].chars().next())
    })
}
