//! Writing a record's files: staged, compared with what is there, put in place, made durable.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::atomic::Staged;
use super::read::{self, Unreadable};
use super::record::{self, Form, Home};
use super::{legacy, modes, names};
use crate::auth::{Auth, TokenStorage};
use crate::error::{Error, ErrorCode};
use crate::runtime::guard;

pub(super) use modes::create_dirs;

/// Writes a record and says where it is now; both of its files, where they changed.
pub(super) fn save(root: &Path, auth: &Auth, former: &Home) -> Result<Home, Error> {
    let credential = match auth.storage.as_deref() {
        Some(storage) => stage_tokens(root, auth, storage, token_path(auth, former))?,
        None => stage_record(root, auth, former)?,
    };
    let Prepared { home, object, file } = credential;
    let rest = match home.form {
        Form::Record => Map::new(),
        Form::Token => legacy::remainder(auth, &object).map_err(|why| refused(auth, &why))?,
    };
    let state = record::state(auth, &home, rest);
    let state = stage(root, &home.state_path(), &state, auth)?;
    // The state first: it says whose token file it is. Losing what else is in it is no harm.
    for staged in [state, file].into_iter().flatten() {
        staged
            .commit()
            .map_err(|error| failed("write", auth, error))?;
    }
    // Also where nothing changed: who wrote it may not have made it durable.
    make_durable(root, &home).map_err(|error| failed("make durable", auth, error))?;
    Ok(home)
}

/// Writes the state file alone.
pub(super) fn save_state(root: &Path, auth: &Auth, home: &Home) -> Result<(), Error> {
    let path = home.state_path();
    let rest = match (home.form, read::object(root, &path)) {
        (Form::Token, Ok(Some(state))) => record::rest_of(state, &auth.id),
        _ => Map::new(),
    };
    let state = record::state(auth, home, rest);
    if let Some(staged) = stage(root, &path, &state, auth)? {
        staged
            .commit()
            .and_then(|()| modes::sync_dir(&parent(root, &path)))
            .map_err(|error| failed("write the state of", auth, error))?;
    }
    Ok(())
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
            return Err(Error::new(ErrorCode::Store, message).with_auth_id(id));
        }
    };
    // The credential first: without it, the state means nothing.
    for place in [place, root.join(home.state_path())] {
        match fs::remove_file(&place) {
            Err(error) if read::is_missing(&error) => {}
            result => result.map_err(|error| delete_failed(id, error))?,
        }
    }
    modes::sync_dir(&parent(root, &home.path)).map_err(|error| delete_failed(id, error))
}

/// A credential's file, ready to be put in place.
struct Prepared {
    home: Home,
    object: Map<String, Value>,
    /// None where it is unchanged.
    file: Option<Staged>,
}

fn stage_record(root: &Path, auth: &Auth, home: &Home) -> Result<Prepared, Error> {
    let object = match home.form {
        Form::Record => record::credential(auth).map_err(|why| refused(auth, &why))?,
        Form::Token => legacy::write(auth),
    };
    if home.form == Form::Token && !legacy::is_token(&object) {
        let why = "its metadata has members `id` and `provider`, which a token file cannot have";
        return Err(refused(auth, &why));
    }
    Ok(Prepared {
        file: stage(root, &home.path, &object, auth)?,
        home: home.clone(),
        object,
    })
}

/// Lets the program's own storage write the token file.
fn stage_tokens(
    root: &Path,
    auth: &Auth,
    storage: &dyn TokenStorage,
    path: String,
) -> Result<Prepared, Error> {
    if let Ok(Some(found)) = record::load(root, &path)
        && found.id != auth.id
    {
        return Err(taken(auth, &path, &found.id));
    }
    let former = current(root, &path, auth)?;
    let place = prepare_parent(root, &path, auth)?;
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
        // What the error says is the program's own text, and may hold anything.
        let message = format!(
            "the token storage of credential {} failed ({}); what was stored is unchanged",
            shown(&auth.id),
            error.kind()
        );
        Error::new(code, message)
            .with_auth_id(&auth.id)
            .with_source(error)
    })?;
    let object = read::own_object(staged.temp())
        .map_err(|why| refused(auth, &format_args!("what its token storage wrote {why}")))?;
    let form = if legacy::is_token(&object) {
        Form::Token
    } else {
        Form::Record
    };
    if form == Form::Record && object.get("id").and_then(Value::as_str) != Some(&auth.id) {
        return Err(refused(
            auth,
            &"its token storage wrote a record with another id",
        ));
    }
    Ok(Prepared {
        file: (former.as_ref() != Some(&object)).then_some(staged),
        home: Home { path, form },
        object,
    })
}

/// Where the token file of a record with its own storage goes.
fn token_path(auth: &Auth, former: &Home) -> String {
    let wish = auth.file_name.as_deref().unwrap_or("");
    [wish, &former.path, &auth.id]
        .into_iter()
        .find(|path| names::is_token_path(path))
        .map_or_else(
            || format!("{}.json", names::safe_name(&auth.id)),
            str::to_owned,
        )
}

/// The new file for `path`; none where the one there says the same.
fn stage(
    root: &Path,
    path: &str,
    object: &Map<String, Value>,
    auth: &Auth,
) -> Result<Option<Staged>, Error> {
    let current = current(root, path, auth)?;
    if current.as_ref() == Some(object) {
        return Ok(None);
    }
    let other = current
        .as_ref()
        .and_then(|current| current.get("id")?.as_str());
    if let Some(other) = other.filter(|other| names::is_credential(path) && *other != auth.id) {
        return Err(taken(auth, path, other));
    }
    let mut bytes = serde_json::to_vec_pretty(object)
        .map_err(|error| refused(auth, &Unreadable::Json(error)))?;
    bytes.push(b'\n');
    if bytes.len() > read::MAX_BYTES {
        return Err(refused(auth, &format_args!("it {}", Unreadable::TooLarge)));
    }
    if read::parse(&bytes).is_err() {
        return Err(refused(auth, &"it is nested too deeply to be read again"));
    }
    let place = prepare_parent(root, path, auth)?;
    Staged::write(place, &bytes)
        .map(Some)
        .map_err(|error| failed("write", auth, error))
}

/// What is at `path` now, if that can be replaced.
fn current(root: &Path, path: &str, auth: &Auth) -> Result<Option<Map<String, Value>>, Error> {
    match read::object(root, path) {
        Ok(current) => Ok(current),
        Err(Unreadable::Kind(why)) => {
            Err(refused(auth, &format_args!("{path:?} {why}: move it away")))
        }
        // Damaged: a whole one takes its place.
        Err(_) => Ok(None),
    }
}

fn prepare_parent(root: &Path, path: &str, auth: &Auth) -> Result<PathBuf, Error> {
    let place = root.join(path);
    if path.contains('/') {
        create_dirs(&parent(root, path)).map_err(|error| failed("write", auth, error))?;
    }
    Ok(place)
}

fn make_durable(root: &Path, home: &Home) -> io::Result<()> {
    modes::sync_file(&root.join(&home.path))?;
    modes::sync_dir(&parent(root, &home.path))
}

fn parent(root: &Path, path: &str) -> PathBuf {
    path.rsplit_once('/')
        .map_or_else(|| root.to_owned(), |(parents, _)| root.join(parents))
}

fn failed(what: &str, auth: &Auth, error: io::Error) -> Error {
    let message = format!(
        "could not {what} credential {}: {error}; check that the store's directory exists, is writable and has space",
        shown(&auth.id)
    );
    Error::new(ErrorCode::Store, message)
        .with_auth_id(&auth.id)
        .with_source(error)
}

fn delete_failed(id: &str, error: io::Error) -> Error {
    let message = format!(
        "could not delete credential {}: {error}; check that the store's directory is writable",
        shown(id)
    );
    Error::new(ErrorCode::Store, message)
        .with_auth_id(id)
        .with_source(error)
}

fn refused(auth: &Auth, why: &dyn fmt::Display) -> Error {
    let message = format!("credential {} was not saved: {why}", shown(&auth.id));
    Error::new(ErrorCode::Store, message).with_auth_id(&auth.id)
}

fn taken(auth: &Auth, path: &str, id: &str) -> Error {
    let message = format!(
        "credential {} was not saved: {path:?} belongs to credential {}; use that id, or another `file_name`",
        shown(&auth.id),
        shown(id)
    );
    Error::new(ErrorCode::Conflict, message).with_auth_id(&auth.id)
}

/// An id as people can read it, whatever is in it.
fn shown(id: &str) -> String {
    let start: String = id.chars().take(SHOWN).collect();
    let more = if start.len() < id.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

const SHOWN: usize = 100;
