//! A record in its files: the credential, and the runtime state beside it.

use std::path::Path;

use serde_json::{Map, Value};

use super::read::{self, Unreadable};
use super::{legacy, names};
use crate::auth::{Auth, Status, state_from_json, state_to_json};
use crate::store::Skipped;

/// Where a record lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// The credential's file, relative to the directory.
    pub(super) path: String,
    pub(super) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The crate's own.
    Record,
    /// A token file.
    Token,
}

/// What the files of one record hold.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) home: Home,
    object: Map<String, Value>,
    state: Result<Option<Map<String, Value>>, Unreadable>,
}

impl Home {
    /// Where a new record goes.
    pub(super) fn native(id: &str) -> Self {
        Self {
            path: names::credential_file(id),
            form: Form::Record,
        }
    }

    pub(super) fn state_path(&self) -> String {
        names::state_file(&self.path)
    }
}

/// Reads the files of the record at `path`; none if there is no such file.
pub(super) fn load(root: &Path, path: &str) -> Result<Option<Stored>, Unreadable> {
    let Some(object) = read::object(root, path)? else {
        return Ok(None);
    };
    let state = read::object(root, &names::state_file(path));
    let form = if names::is_json(path) && legacy::is_token(&object) {
        Form::Token
    } else {
        Form::Record
    };
    let id = match (form, &state) {
        (Form::Record, _) => text(&object, "id"),
        (Form::Token, Ok(Some(state))) if text(state, FILE) == path => text(state, "id"),
        (Form::Token, _) => path,
    };
    if id.is_empty() {
        return Err(Unreadable::Content("has no id".into()));
    }
    if names::is_credential(path) && names::credential_file(id) != path {
        return Err(Unreadable::Content(
            "holds a record whose id belongs to another file name".into(),
        ));
    }
    Ok(Some(Stored {
        id: id.to_owned(),
        home: Home {
            path: path.to_owned(),
            form,
        },
        object,
        state,
    }))
}

impl Stored {
    /// The record. A damaged state file costs the state alone.
    pub(super) fn into_auth(self) -> Result<(Auth, Option<Skipped>), Unreadable> {
        let Home { path, form } = &self.home;
        let mut auth = match form {
            Form::Record => from_object(self.object)?,
            Form::Token => legacy::read(path, self.object),
        };
        auth.id = self.id;
        auth.file_name = Some(path.clone());
        // It was stored, hence it is not runtime-only.
        auth.metadata.get_or_insert_default();
        let state = match self.state {
            Ok(Some(state)) => add_state(&mut auth, state, *form).map(|()| true),
            Ok(None) => Ok(false),
            Err(problem) => Err(problem),
        };
        if auth.status == Status::Unset && !matches!(state, Ok(true)) {
            auth.status = switched(auth.disabled);
        }
        let skipped = state
            .err()
            .map(|problem| Skipped::new(self.home.state_path(), problem.to_string()));
        Ok((auth, skipped))
    }
}

/// The part of a record that is written when a credential changes.
pub(super) fn credential(auth: &Auth) -> Result<Map<String, Value>, Unreadable> {
    let Value::Object(mut object) = serde_json::to_value(auth).map_err(Unreadable::Json)? else {
        return Err(Unreadable::NotAnObject);
    };
    for name in state_to_json(auth).keys() {
        object.remove(name);
    }
    Ok(object)
}

/// The state file of `auth`, with what its token file cannot say.
pub(super) fn state(auth: &Auth, home: &Home, rest: Map<String, Value>) -> Map<String, Value> {
    let mut object = state_to_json(auth);
    object.insert("id".into(), auth.id.clone().into());
    object.insert(DISABLED.into(), auth.disabled.into());
    if home.form == Form::Token && home.path != auth.id {
        object.insert(FILE.into(), home.path.clone().into());
    }
    if !rest.is_empty() {
        object.insert(REST.into(), rest.into());
    }
    object
}

/// What a state file of the credential `id` keeps for its token file.
pub(super) fn rest_of(mut state: Map<String, Value>, id: &str) -> Map<String, Value> {
    match state.remove(REST) {
        Some(Value::Object(rest)) if text(&state, "id") == id => rest,
        _ => Map::new(),
    }
}

fn add_state(auth: &mut Auth, mut state: Map<String, Value>, form: Form) -> Result<(), Unreadable> {
    if text(&state, "id") != auth.id {
        return Err(Unreadable::Content(
            "holds the state of another credential".into(),
        ));
    }
    let disabled_then = state.remove(DISABLED);
    let rest = state.remove(REST).filter(|_| form == Form::Token);
    let rest = match rest {
        Some(Value::Object(rest)) => Some(from_object(rest)?),
        Some(_) => return Err(Unreadable::NotAnObject),
        None => None,
    };
    state_from_json(auth, state).map_err(|problem| Unreadable::Content(problem.to_string()))?;
    if let Some(rest) = rest {
        legacy::add_remainder(auth, rest);
    }
    // The operator may have switched it in the credential's file since.
    if disabled_then.is_some_and(|then| then != auth.disabled)
        && (auth.disabled || auth.status == Status::Disabled)
    {
        auth.status = switched(auth.disabled);
    }
    Ok(())
}

fn from_object(object: Map<String, Value>) -> Result<Auth, Unreadable> {
    // The record's own reader names a member and never quotes a value.
    serde_json::from_value(object.into())
        .map_err(|error| Unreadable::Content(format!("is not a record: {error}")))
}

fn switched(disabled: bool) -> Status {
    if disabled {
        Status::Disabled
    } else {
        Status::Active
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

/// In a state file: the token file that belongs to the id, where the id is not that file's path.
const FILE: &str = "file";
/// In a state file: what the token file has no place for.
const REST: &str = "record";
/// In a state file: whether the credential was disabled when the state was written.
const DISABLED: &str = "disabled";
