//! Files that are not as they should be: clear errors, and nothing guessed.

use std::fs;

use credpool::import;
use credpool::{ErrorCode, FileStore, Store};
use serde_json::{Value, json};

use crate::files;

fn refused(bytes: &[u8]) -> String {
    let error = import::parse(bytes).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Config);
    files::holds_no_secret(&format!("{error} {error:?}"));
    error.message().to_owned()
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_or_read_as_a_whole() {
    for (name, bytes) in files::all() {
        let whole = import::parse(&bytes).map(|import| import.to_string());
        let step = (bytes.len() / 61).max(1);
        for cut in (0..bytes.len()).step_by(step) {
            match import::parse(&bytes[..cut]) {
                Ok(import) => assert_eq!(Ok(import.to_string()), whole, "{name} at {cut}"),
                Err(error) => {
                    let message = error.message();
                    files::holds_no_secret(&format!("{error} {error:?}"));
                    let is_clear = [
                        "is cut short",
                        "is empty",
                        "is an SQLite",
                        "is not JSON",
                        "form of no",
                    ]
                    .iter()
                    .any(|reason| message.contains(reason));
                    assert!(is_clear, "{name} at {cut}: {message}");
                }
            }
        }
    }
}

#[test]
fn a_byte_order_mark_and_other_line_ends_change_nothing() {
    for (name, bytes) in files::all() {
        let Ok(import) = import::parse(&bytes) else {
            continue;
        };
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            format!("\u{feff}{text}"),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
            format!("{text}\n\n\0").trim_end_matches('\0').to_owned(),
        ] {
            let other = import::parse(other.as_bytes()).unwrap();
            assert_eq!(other.to_string(), import.to_string(), "{name}");
        }
    }
}

#[test]
fn members_of_another_type_are_named_and_nothing_is_made_of_them() {
    for (name, bytes) in files::all() {
        let Ok(Value::Object(members)) = serde_json::from_slice(&bytes) else {
            continue;
        };
        for member in members.keys() {
            for odd in [
                json!(7),
                json!(["canary"]),
                json!({"canary": "canary"}),
                json!(true),
                json!("canary"),
            ] {
                let mut file = members.clone();
                file[member] = odd.clone();
                let text = Value::Object(file).to_string();
                match import::parse(text.as_bytes()) {
                    Ok(import) => {
                        let shown = import.to_string().replace("`canary`", "");
                        let shown = shown.replace(".canary`", "");
                        // Names of accounts and of members are shown.
                        let shown = shown
                            .replace("of canary", "")
                            .replace("type that is not imported: canary", "");
                        files::holds_no_secret(&shown);
                    }
                    Err(error) => files::holds_no_secret(&format!("{error:?}")),
                }
                let _ = &name;
            }
        }
    }
    let parsed = |value: Value| {
        import::parse(value.to_string().as_bytes())
            .unwrap()
            .to_string()
    };
    let told = parsed(
        json!({"claudeAiOauth": {"accessToken": 7, "refreshToken": ["canary"], "expiresAt": "canary"}}),
    );
    assert_eq!(
        told,
        "Claude Code: not understood: member `claudeAiOauth.accessToken` is not text\n\
         Claude Code: not understood: member `claudeAiOauth.refreshToken` is not text\n\
         Claude Code: not understood: member `claudeAiOauth.expiresAt` is not a time\n"
    );
    let told = parsed(json!({"OPENAI_API_KEY": null, "tokens": "canary"}));
    assert_eq!(
        told,
        "Codex: not understood: member `tokens` is not an object\n"
    );
}

#[test]
fn what_is_no_file_of_a_program_is_refused_with_a_reason() {
    assert!(refused(b"").contains("is empty"));
    assert!(refused(b" \r\n").contains("is empty"));
    assert!(refused(b"[]").contains("is JSON, and no object"));
    assert!(refused(b"\"canary\"").contains("no object"));
    assert!(refused(b"sk-canary").contains("is not JSON (line 1"));
    assert!(refused(b"\xff\xfe{\0}\0").contains("is not JSON"));
    assert!(refused(b"SQLite format 3\0canary").contains("credentials.db"));
    assert!(refused(b"{\"canary\": \"canary\"}").contains("the form of no known program"));
    let mut huge = b"{\"claudeAiOauth\": {\"accessToken\": \"canary".to_vec();
    huge.resize(1024 * 1024 + 1, b'y');
    assert!(refused(&huge).contains("is larger than 1048576 bytes"));
    let deep = "{\"tokens\":".repeat(100_000);
    assert!(refused(deep.as_bytes()).contains("is"));
}

#[test]
fn a_path_that_is_no_file_is_refused_with_a_reason() {
    let home = tempfile::tempdir().unwrap();
    let refused = |path: &std::path::Path| import::read(path).unwrap_err().message().to_owned();
    assert!(refused(home.path()).contains("is a directory"));
    assert!(refused(&home.path().join("none.json")).contains("cannot be read"));
    let large = home.path().join("large.json");
    fs::write(&large, vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert!(refused(&large).contains("is larger than"));
}

#[test]
fn a_store_skips_each_with_a_reason_and_leaves_it() {
    let home = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    for (at, (_, bytes)) in files::all().into_iter().enumerate() {
        let half = &bytes[..bytes.len() / 2];
        fs::write(home.path().join(format!("{at}.json")), half).unwrap();
        before.push(half.to_owned());
    }
    let store = FileStore::open(home.path()).unwrap();
    let listing = store.list().unwrap();
    assert!(listing.records.is_empty(), "{:?}", listing.records);
    assert_eq!(listing.skipped.len(), before.len());
    for (at, before) in before.iter().enumerate() {
        let after = fs::read(home.path().join(format!("{at}.json"))).unwrap();
        assert!(after == *before);
    }
}
