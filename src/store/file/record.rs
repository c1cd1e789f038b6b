//! A record in its files: the credential, and the runtime state beside it.

use std::path::Path;

use serde_json::{Map, Value};

use super::fingerprint::Marks;
use super::read::{self, Unreadable};
use super::{foreign, legacy, names};
use crate::auth::{Auth, Wiped};
use crate::store::codec::Object;
use crate::store::{Skipped, codec};

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
    object: Object,
    state: Result<Option<Object>, Unreadable>,
}

/// The members of a state file that belong to the credential, not to the state.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// What a token file has no place for.
    pub(super) rest: Object,
    /// The generation of the credential that it was written with.
    pub(super) generation: u64,
    /// The tokens of that generation, where a token file holds them.
    pub(super) tokens: Option<String>,
}

impl Home {
    /// Where a new record goes.
    pub(super) fn native(id: &str) -> Self {
        Self {
            path: names::credential_file(id),
            form: Form::Record,
        }
    }

    /// Where the record may be in the crate's own form: an earlier version may have put it elsewhere.
    pub(super) fn natives(id: &str) -> impl Iterator<Item = Self> + use<> {
        let former = names::former_credential_file(id).map(|path| Self {
            path,
            form: Form::Record,
        });
        std::iter::once(Self::native(id)).chain(former)
    }

    pub(super) fn state_path(&self) -> String {
        names::state_file(&self.path)
    }

    /// Which of two files with the same id is used: a token file that replaced the store's own file (a crash may have left
    /// both), then the store's own, then a file that was put there from outside.
    pub(super) fn rank(&self, id: &str) -> u8 {
        match self.form {
            Form::Token if self.path != id => 0,
            _ if names::is_credential(&self.path) => 1,
            _ => 2,
        }
    }
}

/// Reads the files of the record at `path`; none if there is no such file.
pub(super) fn load(root: &Path, path: &str) -> Result<Option<Stored>, Unreadable> {
    look(root, path).0
}

/// As [`load`], and how to tell when its files have changed.
pub(super) fn look(root: &Path, path: &str) -> (Result<Option<Stored>, Unreadable>, Marks) {
    // The state first: a writer replaces it last, so that what it says of the tokens is never ahead of them.
    let state = read::look(root, &names::state_file(path));
    let credential = read::look(root, path);
    let marks = Marks {
        credential: credential.mark,
        state: state.mark,
    };
    let stored = match credential.object {
        Ok(Some(object)) => stored(path, object, state.object).map(Some),
        Ok(None) => Ok(None),
        Err(problem) => Err(problem),
    };
    (stored, marks)
}

fn stored(
    path: &str,
    object: Object,
    state: Result<Option<Object>, Unreadable>,
) -> Result<Stored, Unreadable> {
    let form = form(path, &object);
    let id = match (form, &state) {
        (Form::Record, _) => text(&object, "id"),
        (Form::Token, Ok(Some(state))) if text(state, FILE) == path => text(state, "id"),
        (Form::Token, _) => path,
    };
    if id.is_empty() {
        return Err(Unreadable::Content("has no id".into()));
    }
    let is_ours = || matches!(&state, Ok(Some(state)) if Note::of(state, id).tokens.is_some());
    if form == Form::Token && !foreign::is_understood(&object) && !is_ours() {
        return Err(Unreadable::Foreign);
    }
    if names::is_credential(path) && Home::natives(id).all(|home| home.path != path) {
        return Err(Unreadable::Content(
            "holds a record whose id belongs to another file name".into(),
        ));
    }
    Ok(Stored {
        id: id.to_owned(),
        home: Home {
            path: path.to_owned(),
            form,
        },
        object,
        state,
    })
}

/// The form of what is, or would be, at `path`.
pub(super) fn form(path: &str, object: &Map<String, Value>) -> Form {
    if names::is_json(path) && legacy::is_token(object) {
        Form::Token
    } else {
        Form::Record
    }
}

impl Stored {
    /// The record. A damaged state file costs the state alone.
    pub(super) fn into_auth(self) -> Result<(Auth, Option<Skipped>), Unreadable> {
        let generation = self.generation();
        let Home { path, form } = &self.home;
        let mut auth = match form {
            Form::Record => codec::from_credential(self.object).map_err(Unreadable::Content)?,
            Form::Token => legacy::read(path, self.object),
        };
        auth.id = self.id;
        auth.file_name = Some(path.clone());
        let state = match self.state {
            Ok(Some(state)) => add_state(&mut auth, state, *form).map(|()| true),
            Ok(None) => Ok(false),
            Err(problem) => Err(problem),
        };
        if !matches!(state, Ok(true)) {
            codec::without_state(&mut auth);
        }
        auth.generation = generation;
        let skipped = state
            .err()
            .map(|problem| Skipped::new(self.home.state_path(), problem.to_string()));
        Ok((auth, skipped))
    }

    /// The generation of the tokens. That of a token file is kept beside it; tokens that are not those it was noted for are
    /// newer, and come from another tool, or from an interrupted writer.
    pub(super) fn generation(&self) -> u64 {
        match self.home.form {
            Form::Record => count(&self.object, GENERATION),
            Form::Token => {
                let note = self.note();
                let foreign = note
                    .tokens
                    .is_some_and(|tokens| tokens != legacy::token_digest(&self.object));
                note.generation.saturating_add(foreign.into())
            }
        }
    }

    /// What its state file notes of the credential.
    pub(super) fn note(&self) -> Note {
        match &self.state {
            Ok(Some(state)) => Note::of(state, &self.id),
            _ => Note::default(),
        }
    }

    /// Whether a state was written with this very credential.
    pub(super) fn goes_with(&self, state: &Object) -> bool {
        let note = Note::of(state, &self.id);
        text(state, "id") == self.id
            && match self.home.form {
                Form::Record => note.generation == count(&self.object, GENERATION),
                Form::Token => note.tokens == Some(legacy::token_digest(&self.object)),
            }
    }
}

impl Note {
    /// What a credential that is written as `object` has to note.
    pub(super) fn new(auth: &Auth, form: Form, object: &Map<String, Value>) -> Self {
        match form {
            Form::Record => Self {
                generation: auth.generation,
                ..Self::default()
            },
            Form::Token => Self {
                rest: legacy::remainder(auth, object),
                generation: auth.generation,
                tokens: Some(legacy::token_digest(object)),
            },
        }
    }

    /// What a state file of the credential `id` notes.
    pub(super) fn of(state: &Map<String, Value>, id: &str) -> Self {
        if text(state, "id") != id {
            return Self::default();
        }
        Self {
            rest: match state.get(REST) {
                Some(Value::Object(rest)) => Wiped::new(rest.clone()),
                _ => Object::default(),
            },
            generation: count(state, GENERATION),
            tokens: Some(text(state, TOKENS))
                .filter(|tokens| !tokens.is_empty())
                .map(str::to_owned),
        }
    }
}

/// The state file of `auth`, with what is to be noted of its credential.
pub(super) fn state(auth: &Auth, home: &Home, note: Note) -> Object {
    let mut object = codec::state(auth);
    if home.form == Form::Token && home.path != auth.id {
        object.insert(FILE.into(), home.path.clone().into());
    }
    if !note.rest.is_empty() {
        object.insert(REST.into(), note.rest.into_inner().into());
    }
    if note.generation > 0 {
        object.insert(GENERATION.into(), note.generation.into());
    }
    if let Some(tokens) = note.tokens {
        object.insert(TOKENS.into(), tokens.into());
    }
    object
}

/// The home of the token file that a state file belongs to, by what it says itself.
pub(super) fn home_of(state: &Map<String, Value>) -> Option<Home> {
    let path = [text(state, FILE), text(state, "id")]
        .into_iter()
        .find(|path| names::is_token_path(path))?;
    Some(Home {
        path: path.to_owned(),
        form: Form::Token,
    })
}

fn add_state(auth: &mut Auth, mut state: Object, form: Form) -> Result<(), Unreadable> {
    if text(&state, "id") == auth.id
        && let Some(rest) = state.remove(REST).map(Wiped::new)
        && form == Form::Token
    {
        let Value::Object(rest) = rest.into_inner() else {
            return Err(Unreadable::NotAnObject);
        };
        let rest = codec::from_credential(Wiped::new(rest)).map_err(Unreadable::Content)?;
        legacy::add_remainder(auth, rest);
    }
    codec::add_state(auth, state).map_err(Unreadable::Content)
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

fn count(object: &Map<String, Value>, name: &str) -> u64 {
    object.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// In a state file: the token file that belongs to the id, where the id is not that file's path.
const FILE: &str = "file";
/// In a state file: what the token file has no place for.
const REST: &str = "record";
/// In both files: how often the tokens have changed.
const GENERATION: &str = "generation";
/// In a state file: a digest of the tokens that the token file was written with.
const TOKENS: &str = "tokens";
