//! Finding every record of a directory, and saying what else looks like one.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::record::{self, Form, Home};
use super::{names, read};
use crate::auth::Auth;
use crate::store::{Listing, Skipped};

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) listing: Listing,
    /// Where each record is, by its id.
    pub(super) homes: BTreeMap<String, Home>,
}

/// Reads all records below `root`. Only a `root` that cannot be read is an error.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut walk = Walk {
        root,
        files: Vec::new(),
        dirs: Vec::new(),
        skipped: Vec::new(),
    };
    walk.enter("", fs::read_dir(root)?);
    while let Some(dir) = walk.dirs.pop() {
        match fs::read_dir(root.join(&dir)) {
            Ok(entries) => walk.enter(&format!("{dir}/"), entries),
            Err(error) => walk.skip(&dir, format!("could not be read: {error}")),
        }
    }
    Ok(walk.read())
}

struct Walk<'a> {
    root: &'a Path,
    files: Vec<String>,
    dirs: Vec<String>,
    skipped: Vec<Skipped>,
}

impl Walk<'_> {
    fn enter(&mut self, prefix: &str, entries: fs::ReadDir) {
        for entry in entries {
            match entry {
                Ok(entry) => self.look_at(prefix, &entry),
                Err(error) => self.skip(prefix, format!("could not be read on: {error}")),
            }
        }
    }

    fn look_at(&mut self, prefix: &str, entry: &DirEntry) {
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        let path = format!("{prefix}{shown}");
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.skip(&path, format!("could not be looked at: {error}")),
        };
        let wanted = names::is_json(&shown) || (prefix.is_empty() && names::is_credential(&shown));
        if kind.is_symlink() || wanted {
            if let Some(reason) = read::refused(kind) {
                return self.skip(&path, reason);
            }
            if name.to_str().is_none() {
                return self.skip(&path, "has a name that is not Unicode text");
            }
            if names::is_json(&path) && !names::is_token_path(&path) {
                return self.skip(&path, "has a name that is too long");
            }
            self.files.push(path);
        } else if kind.is_dir() {
            if name.to_str().is_none() {
                self.skip(&path, "has a name that is not Unicode text");
            } else if path.split('/').count() < names::MAX_DEPTH {
                self.dirs.push(path);
            } else {
                self.skip(&path, "is too deep: directories below it are not searched");
            }
        }
    }

    fn skip(&mut self, path: &str, reason: impl Into<String>) {
        self.skipped.push(Skipped::new(path, reason));
    }

    fn read(mut self) -> Scan {
        let mut found = Vec::new();
        for path in std::mem::take(&mut self.files) {
            let stored = match record::load(self.root, &path) {
                Ok(Some(stored)) => stored,
                // Gone since the directory was read.
                Ok(None) => continue,
                Err(problem) => {
                    self.skip(&path, problem.to_string());
                    continue;
                }
            };
            let home = stored.home.clone();
            match stored.into_auth() {
                Ok((auth, skipped)) => {
                    self.skipped.extend(skipped);
                    found.push((auth, home));
                }
                Err(problem) => self.skip(&path, problem.to_string()),
            }
        }
        found.sort_by_cached_key(|(auth, home)| {
            (auth.id.clone(), rank(auth, home), home.path.clone())
        });
        let mut scan = Scan::default();
        for (auth, home) in found {
            if let Some(first) = scan.homes.get(&auth.id) {
                let reason = format!("holds the same id as {:?}, which is used", first.path);
                self.skip(&home.path, reason);
            } else {
                scan.homes.insert(auth.id.clone(), home);
                scan.listing.records.push(auth);
            }
        }
        self.skipped.sort_by(|a, b| a.location.cmp(&b.location));
        scan.listing.skipped = self.skipped;
        scan
    }
}

/// Which of two files with the same id is used: a token file that replaced the store's own file (a crash may have left
/// both), then the store's own, then what somebody put there.
fn rank(auth: &Auth, home: &Home) -> u8 {
    match home.form {
        Form::Token if home.path != auth.id => 0,
        _ if names::is_credential(&home.path) => 1,
        _ => 2,
    }
}
