//! The store's own files in the directory: locks and write-ahead intents. None of their names is a token file's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic::{self, Staged};
use super::{names, read};
use crate::error::Error;
use crate::store::codec::shown;
use crate::store::support::lock_file::LockFile;
use crate::store::support::permissions;
use crate::store::{Intent, RecordLock};

/// The directory below the store's, which a search for records leaves out.
pub(super) const DIR: &str = ".credpool";

/// Waits for the right to write the record's files, which a writer has for as long as one save takes.
pub(super) fn write_lock(root: &Path, id: &str) -> Result<LockFile, Error> {
    take(root, id, WRITE, PATIENCE)?.ok_or_else(|| {
        let message = format!(
            "credential {} is locked by another process whose write does not finish",
            shown(id)
        );
        Error::store(message).with_auth_id(id)
    })
}

/// Waits for the right to refresh the record's tokens.
pub(super) fn refresh_lock(
    root: &Path,
    id: &str,
    wait: Duration,
) -> Result<Option<FileLock>, Error> {
    let lock = take(root, id, REFRESH, wait)?;
    Ok(lock.map(|lock| FileLock {
        _lock: lock,
        intent: file(root, id, INTENT),
        id: id.to_owned(),
    }))
}

/// Forgets what was noted about a record that is deleted.
pub(super) fn forget(root: &Path, id: &str) -> io::Result<()> {
    match fs::remove_file(file(root, id, INTENT)) {
        Err(error) if read::is_missing(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => permissions::sync_dir(&root.join(DIR)),
    }
}

/// The lock on the refreshes of one record, and its intent's file.
#[derive(Debug)]
pub(super) struct FileLock {
    _lock: LockFile,
    intent: PathBuf,
    id: String,
}

impl RecordLock for FileLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        if !self
            .intent
            .try_exists()
            .map_err(|error| self.failed(error))?
        {
            return Ok(None);
        }
        let (object, _) = read::own_object(&self.intent).map_err(|problem| {
            let message = format!(
                "the refresh intent of credential {} {problem}; check and delete {}",
                shown(&self.id),
                self.intent.display()
            );
            Error::store(message).with_auth_id(&self.id)
        })?;
        serde_json::from_value(object.into_inner().into())
            .map(Some)
            .map_err(|_| {
                let message = format!("{} holds no intent; delete it", self.intent.display());
                Error::store(message).with_auth_id(&self.id)
            })
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        self.write(intent).map_err(|error| self.failed(error))
    }
}

impl FileLock {
    fn write(&self, intent: Option<&Intent>) -> io::Result<()> {
        let dir = self.intent.parent().unwrap_or(Path::new("."));
        match intent {
            Some(intent) => {
                // An interrupted writer may have left one, which means nothing: that refresh never began.
                read::remove(&self.intent.with_file_name(atomic::temp_name(&self.intent)))?;
                let bytes = serde_json::to_vec(intent)?;
                Staged::write(self.intent.clone(), &bytes)?.commit()?;
            }
            None => read::remove(&self.intent)?,
        }
        permissions::sync_dir(dir)
    }

    fn failed(&self, error: io::Error) -> Error {
        lock_failed(&self.id, error)
    }
}

fn take(root: &Path, id: &str, kind: &str, wait: Duration) -> Result<Option<LockFile>, Error> {
    permissions::create_dir(&root.join(DIR))
        .and_then(|()| LockFile::take(&file(root, id, kind), wait))
        .map_err(|error| lock_failed(id, error))
}

/// No two of these names meet: an id's name is one part, and the kind is another.
fn file(root: &Path, id: &str, kind: &str) -> PathBuf {
    let dir = root.join(DIR);
    let file = |name: &str| dir.join(format!("{name}.{kind}"));
    // What an earlier version noted, and what it locks, still counts.
    let former = names::former_name(id).map(file);
    let former = former.filter(|former| former.exists());
    former.unwrap_or_else(|| file(&names::safe_name(id)))
}

fn lock_failed(id: &str, error: io::Error) -> Error {
    let advice = permissions::advice(
        &error,
        "check that the store's directory exists and is writable, and that its file system supports locks",
    );
    let message = format!("could not lock credential {}: {error}; {advice}", shown(id));
    Error::store(message).with_auth_id(id).with_source(error)
}

const WRITE: &str = "write";
const REFRESH: &str = "refresh";
const INTENT: &str = "intent";

/// How long a writer waits for another one, which needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
