//! The corpus.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the corpus, by its path below `files/`, and what is in it.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let mut found = vec![(
        "service-account.json".to_owned(),
        credpool::testing::service_account_file("https://oauth2.googleapis.com/token").into_bytes(),
    )];
    for dir in ["", "sso/"] {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = format!("{dir}{}", entry.file_name().to_str().unwrap());
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// One file of it.
pub(crate) fn one(name: &str) -> Vec<u8> {
    fs::read(root().join(name)).unwrap()
}

/// Puts a copy of all files into a directory.
pub(crate) fn copy_to(dir: &Path) {
    for (name, bytes) in all() {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What they have become by now, in the order of [`all`].
pub(crate) fn copied_in(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = all().into_iter().map(|(name, _)| name);
    names
        .map(|name| {
            let bytes = fs::read(dir.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

pub(crate) fn holds_no_secret(text: &str) {
    assert!(!text.contains("canary"), "a secret is shown: {text}");
    assert!(!text.contains("-----BEGIN"), "a key is shown: {text}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/files")
}
