//! Scans the directory for records, and reports what else looks like one.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::fingerprint::{Marks, Stamp};
use super::index::Sight;
use super::notices::Watching;
use super::read::{self, Unreadable};
use super::record::{self, Contents, Home};
use super::{atomic, locks, names, recovery};
use crate::auth::Auth;
use crate::store::{Listing, Skipped};

/// The files of a directory that are, or should be, records.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) paths: Vec<String>,
    /// What is there and will not be read.
    pub(super) skipped: Vec<Skipped>,
    /// What cannot be read: nothing is known of what is below it.
    unread: Vec<String>,
}

/// Searches below `root`, and recovers what was left half saved. Only a `root` that cannot be read is an error.
pub(super) fn files(root: &Path, watching: &mut Watching) -> io::Result<Files> {
    let mut walk = Walk::default();
    watching.add(root, "");
    walk.enter("", fs::read_dir(root)?);
    while let Some(dir) = walk.dirs.pop() {
        let (place, start) = (root.join(&dir), format!("{dir}/"));
        watching.add(&place, &start);
        match fs::read_dir(&place) {
            Ok(entries) => walk.enter(&start, entries),
            Err(error) => walk.cannot_read(&start, error),
        }
    }
    if let Some(error) = walk.fault {
        watching.fail(error);
    }
    let mut files = walk.files;
    if !walk.temps.is_empty() {
        for path in recovery::recover_all(root, &walk.temps, &files.paths) {
            if !files.paths.contains(&path) && root.join(&path).exists() {
                files.paths.push(path);
            }
        }
    }
    Ok(files)
}

/// Whether there is a record, or a directory that may have one. Nothing is read of them.
pub(super) fn holds_any(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if names::is_json(&shown) || names::is_credential(&shown) || (is_dir && shown != locks::DIR)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those of `paths` that are new files, not in their place yet.
pub(super) fn staged(root: &Path, paths: &BTreeSet<String>) -> BTreeSet<String> {
    let paths = paths.iter().filter(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        atomic::is_temp(name) && Stamp::at(&root.join(path)).is_some()
    });
    paths.cloned().collect()
}

impl Files {
    /// Those of `paths` that are there and should be records.
    pub(super) fn at(root: &Path, paths: &BTreeSet<String>) -> Self {
        let is_there = |path: &&String| {
            let is_wanted = if names::is_json(path) {
                names::is_token_path(path)
            } else {
                names::is_credential(path) && !path.contains('/')
            };
            let place = read::place(root, path).ok().flatten();
            let found = place.and_then(|place| fs::symlink_metadata(place).ok());
            is_wanted && found.is_some_and(|found| read::refused(found.file_type()).is_none())
        };
        Self {
            paths: paths.iter().filter(is_there).cloned().collect(),
            ..Self::default()
        }
    }

    /// Whether every directory was read.
    pub(super) fn are_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether it is known what is at `path`.
    pub(super) fn know(&self, path: &str) -> bool {
        !self.unread.iter().any(|start| path.starts_with(start))
    }

    /// Reads those of `paths` that are not certainly as they were, and gives each to `read`.
    pub(super) fn read(
        &self,
        root: &Path,
        known: impl Fn(&str) -> Option<Marks>,
        mut read: impl FnMut(&str, Result<Contents, Unreadable>) -> Option<Unreadable>,
    ) -> Vec<Sight> {
        let mut sights = Vec::new();
        for path in &self.paths {
            if known(path).is_some_and(|marks| stands(root, path, &marks)) {
                continue;
            }
            let (contents, marks) = record::look(root, path);
            let records = match &contents {
                Ok(contents) => {
                    let records = contents.records.iter();
                    Ok(records
                        .map(|stored| (stored.id.clone(), stored.home.clone()))
                        .collect())
                }
                Err(problem) => Err(problem.to_string()),
            };
            let refused = read(path, contents);
            sights.push(Sight {
                path: path.clone(),
                marks,
                records: match refused {
                    Some(problem) => Err(problem.to_string()),
                    None => records,
                },
            });
        }
        sights
    }
}

/// The records in them, and what is skipped.
#[derive(Debug, Default)]
pub(super) struct Found {
    records: Vec<(Auth, Home)>,
    skipped: Vec<Skipped>,
}

impl Found {
    /// Adds one; the answer says that it is no record after all.
    pub(super) fn add(
        &mut self,
        path: &str,
        contents: Result<Contents, Unreadable>,
    ) -> Option<Unreadable> {
        let read = contents.and_then(|contents| {
            self.skipped.extend(contents.notes);
            for stored in contents.records {
                let home = stored.home.clone();
                let (auth, skipped) = stored.into_auth()?;
                self.skipped.extend(skipped);
                self.records.push((auth, home));
            }
            Ok(())
        });
        let problem = read.err()?;
        self.skipped.push(Skipped::new(path, problem.to_string()));
        Some(problem)
    }

    pub(super) fn listing(mut self, files: Files) -> Listing {
        self.records.sort_by(|(one, at), (other, then)| {
            let rank = |auth: &Auth, home: &Home| home.rank(&auth.id);
            (&one.id, rank(one, at), &at.path).cmp(&(&other.id, rank(other, then), &then.path))
        });
        let mut listing = Listing::default();
        let mut first: Option<(String, String)> = None;
        for (auth, home) in self.records {
            match &first {
                Some((id, path)) if *id == auth.id => {
                    let reason = format!("holds the same id as {path:?}; that one is used");
                    self.skipped.push(Skipped::new(&home.path, reason));
                }
                _ => {
                    first = Some((auth.id.clone(), home.path));
                    listing.records.push(auth);
                }
            }
        }
        self.skipped.extend(copies(&listing.records));
        listing.skipped = files.skipped;
        listing.skipped.append(&mut self.skipped);
        listing.skipped.sort_by(|a, b| a.location.cmp(&b.location));
        listing
    }
}

/// Records whose refresh token another one has too, as a backup copy has: each is used, and the second refresh may end both.
fn copies(records: &[Auth]) -> Vec<Skipped> {
    let mut first = HashMap::new();
    let mut copies = Vec::new();
    for auth in records {
        let (Some(token), Some(path)) = (refresh_token(auth), &auth.file_name) else {
            continue;
        };
        if let Some(former) = first.insert(token, path) {
            let reason = format!(
                "holds the same refresh token as {former:?}: both are used, but a server that rotates tokens may revoke both at the \
                 second refresh; remove one"
            );
            copies.push(Skipped::new(path, reason));
        }
    }
    copies
}

fn refresh_token(auth: &Auth) -> Option<&str> {
    auth.texts("refresh_token").find(|token| !token.is_empty())
}

#[derive(Default)]
struct Walk {
    files: Files,
    dirs: Vec<String>,
    /// New files that are not in their place.
    temps: Vec<String>,
    /// Why a directory cannot be read, where that may end without a change of it.
    fault: Option<io::Error>,
}

impl Walk {
    fn enter(&mut self, prefix: &str, entries: fs::ReadDir) {
        for entry in entries {
            match entry {
                Ok(entry) => self.look_at(prefix, &entry),
                Err(error) => self.cannot_read(prefix, error),
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
            self.files.paths.push(path);
        } else if kind.is_dir() {
            if path == locks::DIR {
                return;
            }
            if name.to_str().is_none() {
                self.skip(&path, "has a name that is not Unicode text");
            } else if path.split('/').count() < names::MAX_DEPTH {
                self.dirs.push(path);
            } else {
                self.skip(
                    &path,
                    "is nested too deeply: directories below it are not searched",
                );
            }
        } else if kind.is_file() && atomic::is_temp(&shown) {
            self.temps.push(path);
        }
    }

    fn skip(&mut self, path: &str, reason: impl Into<String>) {
        self.files.skipped.push(Skipped::new(path, reason));
    }

    fn cannot_read(&mut self, prefix: &str, error: io::Error) {
        let path = prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
        // Gone since its name was read.
        if error.kind() != io::ErrorKind::NotFound {
            self.skip(&path, format!("could not be read: {error}"));
            self.files.unread.push(prefix.to_owned());
            let may_end = error.kind() != io::ErrorKind::PermissionDenied;
            self.fault = Some(error).filter(|_| may_end).or(self.fault.take());
        }
    }
}

fn stands(root: &Path, path: &str, marks: &Marks) -> bool {
    let now = |path: &str| Stamp::at(&root.join(path));
    marks.credential.stands(now(path))
        && marks.state.stands(now(&names::state_file(path)))
        && marks.further_stand(now)
}
