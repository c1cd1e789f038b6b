//! Directories of credential files: each file is read or told as skipped, none hides another, what is saved reads back as it was,
//! and a save keeps the spelling of numbers that it does not change.
#![no_main]

use std::fs;
use std::path::Path;

use credpool::{Auth, FileStore, Listing, Store};
use credpool_fuzz::{holds_no_secret, parts, settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([names], rest)) = settings(input) else {
        return;
    };
    let home = tempfile::tempdir_in(directory()).expect("a directory");
    let files = parts(rest);
    for (at, text) in files.iter().take(NAMES.len()).enumerate() {
        let name = NAMES[(usize::from(names) + at) % NAMES.len()];
        fs::write(home.path().join(name), text).expect("a file");
    }
    let good = r#"{"type":"good","access_token":"a","number":12345678901234567890123}"#;
    fs::write(home.path().join("good.json"), good).expect("a file");
    let store = FileStore::open(home.path()).expect("a store");
    let listing = store.list().expect("a listing");
    for skipped in &listing.skipped {
        holds_no_secret(&skipped.reason);
    }
    assert!(
        listing.records.iter().any(|auth| auth.provider == "good"),
        "{listing:?}"
    );
    // A save costs a hundred times as much as a look.
    if names >= 64 {
        return;
    }
    for auth in &listing.records {
        let file = home
            .path()
            .join(auth.file_name.as_deref().expect("a file's name"));
        let before = fs::read(&file).expect("a file");
        let mut changed = auth.clone();
        changed.label = "another label".to_owned();
        if store.save(&changed).is_err() {
            continue;
        }
        let after = fs::read(&file).expect("a file");
        for number in long_numbers(&before) {
            let is_kept = after.windows(number.len()).any(|window| window == number);
            assert!(is_kept, "{:?} is not kept", String::from_utf8_lossy(number));
        }
        let again = read_back(home.path(), &auth.id);
        assert_eq!(again.provider, auth.provider);
        assert_eq!(again.disabled, auth.disabled);
        assert_eq!(again.metadata.is_some(), auth.metadata.is_some());
        let expiry = |auth: &Auth| auth.expiration_time();
        assert_eq!(expiry(&again), expiry(auth));
        auth.account_info();
        auth.preferred_refresh_interval();
    }
});

/// The record, by a store that has seen nothing yet.
fn read_back(home: &Path, id: &str) -> Auth {
    let Listing {
        records, skipped, ..
    } = FileStore::open(home)
        .and_then(|store| store.list())
        .expect("a listing");
    let found = records.into_iter().find(|auth| auth.id == id);
    found.unwrap_or_else(|| panic!("{id:?} is lost: {skipped:?}"))
}

/// Numbers of a JSON object that are longer than any binary form of theirs, outside its texts; those of members that a later one of the
/// same name replaces are none of its.
fn long_numbers(text: &[u8]) -> Vec<&[u8]> {
    let numbers = digits(text);
    let mut marked = String::new();
    let mut rest = 0;
    for (index, number) in numbers.iter().enumerate() {
        let from = number.as_ptr() as usize - text.as_ptr() as usize;
        marked += &String::from_utf8_lossy(&text[rest..from]);
        marked += &format!("\"number {index} of it\"");
        rest = from + number.len();
    }
    marked += &String::from_utf8_lossy(&text[rest..]);
    // A sign, a fraction or an exponent makes it another one.
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&marked) else {
        return Vec::new();
    };
    let kept = json.to_string();
    let numbers = numbers.into_iter().enumerate();
    let numbers = numbers.filter(|(index, _)| kept.contains(&format!("number {index} of it")));
    numbers.map(|(_, number)| number).collect()
}

fn digits(text: &[u8]) -> Vec<&[u8]> {
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text).is_err() {
        return Vec::new();
    }
    let mut numbers = Vec::new();
    let (mut in_text, mut escaped, mut start) = (false, false, None);
    for (at, byte) in text.iter().enumerate() {
        let is_digit = !in_text && byte.is_ascii_digit();
        if let (Some(from), false) = (start, is_digit) {
            start = None;
            if at - from >= 25 {
                numbers.push(&text[from..at]);
            }
        }
        if is_digit && start.is_none() {
            start = Some(at);
        }
        match byte {
            b'"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && *byte == b'\\' && !escaped;
    }
    numbers
}

/// In memory where there is such a place: a run writes many files.
fn directory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    }
}

const NAMES: [&str; 6] = [
    "a.json",
    "b.credential",
    "b.state",
    "sub.json",
    "c~d.credential",
    "a.json.state",
];
