//! `seal` and `unseal`: what is secret in a store, encrypted or readable.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use credpool::{Auth, Error, ErrorCode, Revision, Saved, SealingKey};

use super::change::{Outcome, tell};
use crate::args::{Seal, Unseal};
use crate::failure::{Exit, Failed, Failure};
use crate::output::{Output, note};
use crate::secret::confirm;
use crate::store::{IfMissing, Opened, Place};
use crate::text::is_place_of;

pub(super) fn seal(place: &Place, seal: &Seal, output: &Output) -> Result<Exit, Failure> {
    if seal.make_key {
        let path = place.key_file().ok_or_else(no_key)?;
        // Before a key is made, the store is looked for.
        place.look_for()?;
        make_key(path)?;
        note(&format!(
            "a new key is in {}: keep it safe, for without it the store cannot be read",
            path.display()
        ));
    }
    let opened = place.open(IfMissing::Refuse)?;
    let sealed = opened.sealed.as_ref().ok_or_else(no_key)?;
    let before = opened.raw.list()?;
    let skipped = sealed.reseal()?;
    let mut outcomes: Vec<_> = before
        .records
        .iter()
        .filter(|auth| {
            !skipped
                .iter()
                .any(|skipped| is_place_of(&skipped.location, &auth.id))
        })
        .map(|auth| Outcome::of(&auth.id, Ok("sealed".to_owned())))
        .collect();
    outcomes.extend(skipped.iter().map(|skipped| {
        let error = Error::new(ErrorCode::Store, format!("not sealed: {}", skipped.reason));
        Outcome::of(&skipped.location, Err(error.into()))
    }));
    tell(&outcomes, output)
}

pub(super) fn unseal(place: &Place, unseal: &Unseal, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let sealed = opened.sealed.as_ref().ok_or_else(no_key)?;
    let question = format!("Write the secrets of {} readable?", opened.name);
    if !unseal.yes && confirm(&question) != Some(true) {
        return Err(
            Failed::usage("nothing was unsealed", "say so: `credpool unseal --yes`").into(),
        );
    }
    let raw = opened.raw.list()?;
    let closed = raw.records.iter().filter(|auth| auth.is_sealed());
    let outcomes: Vec<_> = closed
        .map(|auth| Outcome::of(&auth.id, open(&opened, sealed, &auth.id)))
        .collect();
    note("programs that still have the key seal a record again when they next write it");
    tell(&outcomes, output)
}

/// Writes a record as it is without the key, over the very record that was read.
fn open(
    opened: &Opened,
    sealed: &credpool::Sealed<std::sync::Arc<dyn credpool::Store>>,
    id: &str,
) -> Result<String, Failed> {
    use credpool::Store;
    for _ in 0..MOST_RACES {
        let Some(raw) = opened.raw.load(id)? else {
            return Ok("removed meanwhile".to_owned());
        };
        if !raw.is_sealed() {
            return Ok("readable".to_owned());
        }
        let readable: Option<Auth> = sealed.load(id)?;
        let Some(readable) = readable else {
            continue;
        };
        if let Saved::At(_) = opened.raw.save_if(&readable, Some(&Revision::of(&raw)))? {
            return Ok("readable".to_owned());
        }
    }
    let message = format!("credential {id} changes all the time");
    Err(Failed::from(Error::new(ErrorCode::Conflict, message)).about(id))
}

fn make_key(path: &Path) -> Result<(), Failed> {
    let key = SealingKey::generate()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(key.to_base64().expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| {
        let message = format!(
            "the key could not be written to {}: {error}",
            path.display()
        );
        Failed::usage(
            message,
            "a key that is there is never written over: name a new file",
        )
    })
}

fn no_key() -> Failed {
    let hint =
        "name the file of the keys: `--seal-key-file FILE`; `credpool seal --make-key` makes one";
    Failed::usage("sealing needs a key, and none is named", hint)
}

/// How often another process may be first.
const MOST_RACES: usize = 16;
