//! Crash recovery: staged files of a writer that was killed. One of them may hold the only copy of a rotated token.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::atomic::{Staged, temp_name};
use super::record::{self, Form, Home, Note};
use super::{legacy, locks, names, read};
use crate::store::codec::Object;
use crate::store::support::permissions;

/// Whether a write of the record is in progress, or was interrupted.
pub(super) fn is_left(root: &Path, home: &Home) -> bool {
    temps(root, home)
        .iter()
        .any(|temp| fs::symlink_metadata(temp).is_ok())
}

/// Where new files of a record are until they are in their place.
pub(super) fn temps(root: &Path, home: &Home) -> [PathBuf; 2] {
    [home.path.clone(), home.state_path()].map(|target| root.join(beside(&home.path, &target)))
}

/// Puts the files in place that were left whole and are newer than those they were to replace, and removes the others. The
/// caller has the right to write the record, so that no other writer is at work on them.
pub(super) fn recover(root: &Path, home: &Home, id: &str) -> io::Result<()> {
    if !is_left(root, home) || !matches!(read::place(root, &home.path), Ok(Some(_))) {
        return Ok(());
    }
    let [credential_temp, state_temp] = temps(root, home);
    let credential = left(root, &home.path);
    let state = left(root, &home.state_path());
    let is_newer = credential.as_ref().is_some_and(|credential| {
        let current = record::load(root, home).ok().flatten();
        let newest = current.map(|current| current.generation());
        let offered = generation(root, home, id, credential, state.as_ref());
        offered.is_some_and(|offered| newest.is_none_or(|newest| offered > newest))
    });
    if is_newer {
        let damaged = read::object(root, &home.path).is_err();
        Staged::left(root.join(&home.path))?
            .keep_former(damaged)
            .commit()?;
        log::warn!(
            "{:?} was partly saved: the newer tokens are recovered",
            home.path
        );
    } else {
        read::remove(&credential_temp)?;
    }
    let current = record::load(root, home).ok().flatten();
    let goes_with = |state| current.is_some_and(|current| current.goes_with(state));
    if state.as_ref().is_some_and(goes_with) {
        Staged::left(root.join(home.state_path()))?.commit()?;
    } else {
        read::remove(&state_temp)?;
    }
    permissions::sync_dir(credential_temp.parent().unwrap_or(root))
}

/// The records that the files `temps` were to be, by where they lie and what is in them.
pub(super) fn owners(root: &Path, temps: &[String], paths: &[String]) -> Vec<(Home, String)> {
    let mut by_temp = HashMap::new();
    for path in paths {
        by_temp.insert(beside(path, path), path);
        by_temp.insert(beside(path, &names::state_file(path)), path);
    }
    let mut owners: Vec<(Home, String)> = Vec::new();
    for temp in temps {
        let owner = by_temp
            .get(temp)
            .and_then(|path| by_path(root, path))
            .or_else(|| by_content(root, temp));
        if let Some(owner) = owner.filter(|owner| !owners.contains(owner)) {
            owners.push(owner);
        }
    }
    owners
}

fn by_path(root: &Path, path: &str) -> Option<(Home, String)> {
    let (contents, _) = record::look(root, path);
    let stored = contents.ok()?.records.into_iter().next()?;
    Some((stored.home, stored.id))
}

/// For a new record, or one whose file is damaged.
fn by_content(root: &Path, temp: &str) -> Option<(Home, String)> {
    let object = read::object(root, temp).ok()??;
    let id = record::text(&object, "id").to_owned();
    let mut homes = Home::natives(&id).chain(record::home_of(&object));
    let home = homes.find(|home| {
        [home.path.clone(), home.state_path()]
            .iter()
            .any(|path| beside(&home.path, path) == temp)
    });
    home.filter(|_| !id.is_empty()).map(|home| (home, id))
}

/// The generation of a credential that was left behind; none where it is not this record's.
fn generation(
    root: &Path,
    home: &Home,
    id: &str,
    credential: &Object,
    state: Option<&Object>,
) -> Option<u64> {
    match record::form(&home.path, credential) {
        Form::Record => (record::text(credential, "id") == id).then(|| {
            let generation = credential.get("generation").and_then(Value::as_u64);
            generation.unwrap_or(0)
        }),
        // The state that was written with it says so: the one that was left too, or the one in place.
        Form::Token | Form::Held => {
            let tokens = legacy::token_digest(credential);
            let in_place = read::object(root, &home.state_path()).ok().flatten();
            [state, in_place.as_ref()]
                .into_iter()
                .flatten()
                .map(|state| Note::of(state, id))
                .find(|note| note.tokens.as_ref() == Some(&tokens))
                .map(|note| note.generation)
        }
    }
}

/// A whole file that was left instead of `path`.
fn left(root: &Path, path: &str) -> Option<Object> {
    read::object(root, &beside(path, path)).ok().flatten()
}

/// The name that a new file for `target`, in the directory of `path`, has until it is in its place.
fn beside(path: &str, target: &str) -> String {
    let temp = temp_name(Path::new(target));
    path.rsplit_once('/')
        .map_or_else(|| temp.clone(), |(parents, _)| format!("{parents}/{temp}"))
}

/// Recovers what was left of many records. What cannot be is left for the next time.
pub(super) fn recover_all(root: &Path, temps: &[String], paths: &[String]) -> Vec<String> {
    let mut recovered = Vec::new();
    for (home, id) in owners(root, temps, paths) {
        let done = locks::write_lock(root, &id)
            .map_err(|error| error.to_string())
            .and_then(|_lock| recover(root, &home, &id).map_err(|error| error.to_string()));
        match done {
            Ok(()) => recovered.push(home.path),
            Err(error) => log::error!(
                "{:?} was partly saved, and newer tokens may be in the temporary file: {error}",
                home.path
            ),
        }
    }
    recovered
}
