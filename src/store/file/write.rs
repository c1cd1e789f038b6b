//! Writes a record's files: staged, compared with what is there, put in place, made durable. The caller holds the record's write lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::atomic::Staged;
use super::fingerprint::{Mark, Marks};
use super::read::{self, Unreadable};
use super::record::{self, Form, Home, Note};
use super::{legacy, names, recovery, text};
use crate::auth::{Auth, TokenStorage};
use crate::error::{Error, ErrorCode};
use crate::import::pool;
use crate::panic::guard;
use crate::store::codec;
use crate::store::codec::{Object, refused, shown};
use crate::store::support::permissions;

/// What was written where; nothing where the file said the same already.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) home: Home,
    credential: Option<Mark>,
    state: Option<Mark>,
}

impl Written {
    /// Brings what is known of the files up to date.
    pub(super) fn mark(&self, marks: &mut Marks) {
        if let Some(credential) = self.credential {
            marks.credential = credential;
        }
        match self.state {
            Some(state) if self.home.member.is_empty() => marks.state = state,
            Some(state) => marks.set(&self.home.state_path(), state),
            None => {}
        }
    }
}

/// Makes a record's files ready to be put in place, both of them, where they changed. Dropped, nothing has happened.
pub(super) fn stage_save(root: &Path, auth: &Auth, former: &Home) -> Result<Prepared, Error> {
    recover(root, former, auth)?;
    match auth.storage.as_deref() {
        _ if former.form == Form::Held && auth.holder().is_some() => {
            prepare_held(root, auth, former)
        }
        // It was taken over, and its former holder's file stays as it is.
        _ if former.form == Form::Held => prepare(root, auth, &Home::native(&auth.id)),
        Some(storage) => prepare_tokens(root, auth, storage, token_path(auth, former)),
        None => prepare(root, auth, former),
    }
}

/// Puts them in place.
pub(super) fn save(root: &Path, auth: &Auth, prepared: Prepared) -> Result<Written, Error> {
    let Prepared {
        home,
        credential,
        state,
    } = prepared;
    let commit = |staged: Option<Staged>| {
        let committed = staged.map(Staged::commit).transpose();
        committed.map_err(|error| failed("write", auth, error))
    };
    // The credential first: nothing is as dear. But where a token file does not exist yet, only the state says whose it is.
    let is_new = home.form == Form::Token && fs::symlink_metadata(root.join(&home.path)).is_err();
    let (credential, state) = if is_new {
        let state = commit(state)?;
        (commit(credential)?, state)
    } else {
        (commit(credential)?, commit(state)?)
    };
    // Also where nothing changed: its writer may not have made it durable.
    if home.form != Form::Held {
        make_durable(root, &home).map_err(|error| failed("make durable", auth, error))?;
    }
    Ok(Written {
        home,
        credential,
        state,
    })
}

/// Writes the state file alone, which need not be durable: a cooldown costs no `fsync`. That of a token file holds what belongs to
/// the credential, too, and is durable.
pub(super) fn save_state(root: &Path, auth: &Auth, home: &Home) -> Result<Written, Error> {
    recover(root, home, auth)?;
    let path = home.state_path();
    let note = match (home.form, read::object(root, &path)) {
        (Form::Record, _) => Note {
            generation: auth.generation,
            ..Note::default()
        },
        (Form::Token | Form::Held, Ok(Some(state))) => Note::of(&state, &auth.id),
        (Form::Token | Form::Held, _) => Note::default(),
    };
    let state = record::state(auth, home, note);
    let mut written = Written {
        home: home.clone(),
        credential: None,
        state: None,
    };
    let is_durable = home.form != Form::Record;
    let write = if is_durable {
        Staged::write
    } else {
        Staged::write_volatile
    };
    if let Some(staged) = stage_with(root, &path, &state, auth, write)? {
        let commit = || {
            let mark = staged.commit()?;
            if is_durable {
                permissions::sync_dir(&parent(root, &path))?;
            }
            Ok(mark)
        };
        let mark = commit().map_err(|error| failed("write the state of", auth, error))?;
        written.state = Some(mark);
    }
    Ok(written)
}

/// Removes a record's files. That they do not exist is no error.
pub(super) fn remove(root: &Path, home: &Home, id: &str) -> Result<(), Error> {
    let place = match read::place(root, &home.path) {
        Ok(Some(place)) => place,
        Ok(None) => return Ok(()),
        Err(why) => {
            let message = format!(
                "credential {} was not deleted: {:?} {why}",
                shown(id),
                home.path
            );
            return Err(Error::store(message).with_auth_id(id));
        }
    };
    // The credential first: without it, the state means nothing. What a writer left half done would bring it back.
    let left = recovery::temps(root, home);
    for place in left
        .into_iter()
        .chain([place, root.join(home.state_path())])
    {
        read::remove(&place).map_err(|error| delete_failed(id, error))?;
    }
    permissions::sync_dir(&parent(root, &home.path)).map_err(|error| delete_failed(id, error))
}

/// What another writer left half done is not in the way.
fn recover(root: &Path, home: &Home, auth: &Auth) -> Result<(), Error> {
    recovery::recover(root, home, &auth.id).map_err(|error| failed("write", auth, error))
}

/// A record's files, ready to be put in place; none where it is unchanged.
pub(super) struct Prepared {
    home: Home,
    credential: Option<Staged>,
    state: Option<Staged>,
}

/// What is kept beside another program's file.
fn prepare_held(root: &Path, auth: &Auth, home: &Home) -> Result<Prepared, Error> {
    let said = record::load(root, home).map_err(|why| refused(auth, &why))?;
    let said = said.filter(|said| said.is_said_by(auth));
    let Some(said) = said else {
        let why = format_args!(
            "its tokens are those in {:?}, which belongs to another program: they are not written; take the login over to have others",
            home.path
        );
        return Err(refused(auth, &why));
    };
    let state = record::state(auth, home, said.note_for(auth));
    Ok(Prepared {
        home: home.clone(),
        credential: None,
        state: stage(root, &home.state_path(), &state, auth)?,
    })
}

fn prepare(root: &Path, auth: &Auth, home: &Home) -> Result<Prepared, Error> {
    let object = match home.form {
        Form::Record => codec::credential(auth),
        Form::Token | Form::Held => legacy::write(auth),
    };
    if home.form == Form::Token && pool::is_record(&object) {
        let why = "its metadata has members `id` and `provider`, which a token file cannot have";
        return Err(refused(auth, &why));
    }
    Ok(Prepared {
        home: home.clone(),
        // The state first: a whole new token file is worth nothing without what says how new it is.
        state: stage_state(root, auth, home, &object)?,
        credential: stage(root, &home.path, &object, auth)?,
    })
}

fn stage_state(
    root: &Path,
    auth: &Auth,
    home: &Home,
    object: &Object,
) -> Result<Option<Staged>, Error> {
    let state = record::state(auth, home, Note::new(auth, home.form, object));
    stage(root, &home.state_path(), &state, auth)
}

/// Lets the user-supplied storage write the token file.
fn prepare_tokens(
    root: &Path,
    auth: &Auth,
    storage: &dyn TokenStorage,
    path: String,
) -> Result<Prepared, Error> {
    let (there, _) = record::look(root, &path);
    let there = there.ok().map(|there| there.records).unwrap_or_default();
    if let Some(found) = there.into_iter().find(|found| found.id != auth.id) {
        return Err(taken(auth, &path, &found.id));
    }
    let Current {
        object: former,
        damaged,
        ..
    } = current(root, &path, auth)?;
    let place = prepare_parent(root, &path, auth)?;
    let new_home = Home::token(&path);
    recover(root, &new_home, auth)?;
    let mut panicked = false;
    let staged = Staged::write_with(place, |temp| {
        guard(
            || "the token storage".to_owned(),
            || storage.save_token_to_file(auth, temp),
        )
        .unwrap_or_else(|_| {
            panicked = true;
            Err(io::Error::other("it panicked"))
        })
    });
    let staged = staged.map_err(|error| {
        let code = if panicked {
            ErrorCode::Panicked
        } else {
            ErrorCode::Store
        };
        // The error's text is user-supplied, and may hold anything.
        let message = format!(
            "the token storage of credential {} failed ({}); what was stored is unchanged",
            shown(&auth.id),
            error.kind()
        );
        Error::new(code, message)
            .with_auth_id(&auth.id)
            .with_source(error)
    })?;
    let (object, _) = read::own_object(staged.temp())
        .map_err(|why| refused(auth, &format_args!("what its token storage wrote {why}")))?;
    let form = record::form(&path, &object);
    if form == Form::Record && record::text(&object, "id") != auth.id {
        return Err(refused(
            auth,
            &"its token storage wrote a record with another id",
        ));
    }
    let home = match form {
        Form::Record => Home::native_at(path),
        Form::Token | Form::Held => Home::token(path),
    };
    Ok(Prepared {
        state: stage_state(root, auth, &home, &object)?,
        credential: (former.as_ref() != Some(&object)).then(|| staged.keep_former(damaged)),
        home,
    })
}

/// Where the token file of a record with its own storage goes.
fn token_path(auth: &Auth, former: &Home) -> String {
    let wish = auth.file_name.as_deref().unwrap_or("");
    [wish, &former.path, &auth.id]
        .into_iter()
        .find(|path| {
            let is_there = *path == former.path;
            names::is_token_path(path) && (is_there || names::is_portable(path))
        })
        .map_or_else(
            || format!("{}.json", names::safe_name(&auth.id)),
            str::to_owned,
        )
}

/// The new file for `path`; none where the one there says the same.
fn stage(root: &Path, path: &str, object: &Object, auth: &Auth) -> Result<Option<Staged>, Error> {
    stage_with(root, path, object, auth, Staged::write)
}

fn stage_with(
    root: &Path,
    path: &str,
    object: &Object,
    auth: &Auth,
    write: fn(PathBuf, &[u8]) -> io::Result<Staged>,
) -> Result<Option<Staged>, Error> {
    let Current {
        text: former,
        object: current,
        damaged,
    } = current(root, path, auth)?;
    if current.as_ref() == Some(object) {
        return Ok(None);
    }
    let other = current
        .as_ref()
        .and_then(|current| current.get("id")?.as_str());
    if let Some(other) = other.filter(|other| names::is_credential(path) && *other != auth.id) {
        return Err(taken(auth, path, other));
    }
    let bytes = text::write(object, &former);
    if bytes.len() > read::MAX_BYTES {
        return Err(refused(auth, &format_args!("it {}", Unreadable::TooLarge)));
    }
    if read::parse(&bytes).is_err() {
        return Err(refused(auth, &"it is nested too deeply to be read again"));
    }
    let place = prepare_parent(root, path, auth)?;
    write(place, &bytes)
        .map(|staged| Some(staged.keep_former(damaged)))
        .map_err(|error| failed("write", auth, error))
}

/// What a new file takes the place of.
#[derive(Default)]
struct Current {
    text: Zeroizing<Vec<u8>>,
    object: Option<Object>,
    /// There is a file, and it cannot be parsed.
    damaged: bool,
}

/// What is at `path` now, if that can be replaced.
fn current(root: &Path, path: &str, auth: &Auth) -> Result<Current, Error> {
    let damaged = Current {
        damaged: true,
        ..Current::default()
    };
    match read::text(root, path) {
        Ok(None) => Ok(Current::default()),
        Ok(Some(text)) => Ok(match read::parse(&text) {
            Ok(object) => Current {
                text,
                object: Some(object),
                damaged: false,
            },
            Err(_) => damaged,
        }),
        Err(Unreadable::Kind(why)) => {
            Err(refused(auth, &format_args!("{path:?} {why}: move it away")))
        }
        Err(_) => Ok(damaged),
    }
}

fn prepare_parent(root: &Path, path: &str, auth: &Auth) -> Result<PathBuf, Error> {
    let place = root.join(path);
    if path.contains('/') {
        permissions::create_dirs(&parent(root, path))
            .map_err(|error| failed("write", auth, error))?;
    }
    Ok(place)
}

fn make_durable(root: &Path, home: &Home) -> io::Result<()> {
    permissions::sync_file(&root.join(&home.path))?;
    permissions::sync_dir(&parent(root, &home.path))
}

fn parent(root: &Path, path: &str) -> PathBuf {
    path.rsplit_once('/')
        .map_or_else(|| root.to_owned(), |(parents, _)| root.join(parents))
}

fn failed(what: &str, auth: &Auth, error: io::Error) -> Error {
    let advice = permissions::advice(
        &error,
        "check that the store's directory exists, is writable and has space",
    );
    let message = format!(
        "could not {what} credential {}: {error}; {advice}",
        shown(&auth.id)
    );
    Error::store(message)
        .with_auth_id(&auth.id)
        .with_source(error)
}

pub(super) fn delete_failed(id: &str, error: io::Error) -> Error {
    let advice = permissions::advice(&error, "check that the store's directory is writable");
    let message = format!(
        "could not delete credential {}: {error}; {advice}",
        shown(id)
    );
    Error::store(message).with_auth_id(id).with_source(error)
}

fn taken(auth: &Auth, path: &str, id: &str) -> Error {
    let message = format!(
        "credential {} was not saved: {path:?} belongs to credential {}; use that id, or another `file_name`",
        shown(&auth.id),
        shown(id)
    );
    Error::new(ErrorCode::Conflict, message).with_auth_id(&auth.id)
}
