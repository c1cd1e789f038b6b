//! A record in its files: the credential, and the runtime state beside it.

use std::path::Path;

use serde_json::{Map, Value};

use super::fingerprint::Marks;
use super::read::{self, Unreadable};
use super::{legacy, names};
use crate::auth::{Auth, Metadata, Wiped};
use crate::import::{Import, pool};
use crate::store::codec::Object;
use crate::store::{Skipped, codec};

/// Where a record lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// The credential's file, relative to the directory.
    pub(super) path: String,
    pub(super) form: Form,
    /// Which of another program's credentials it is; empty where the file is one.
    pub(super) member: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The crate's own.
    Record,
    /// A token file.
    Token,
    /// Another program's, which is never written to.
    Held,
}

/// The records in one file, and what else is to be said of it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) records: Vec<Stored>,
    pub(super) notes: Vec<Skipped>,
}

/// What the files of one record hold.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) home: Home,
    object: Object,
    /// The record that another program's file stands for.
    held: Option<Box<Auth>>,
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
    fn new(path: impl Into<String>, form: Form) -> Self {
        Self {
            path: path.into(),
            form,
            member: String::new(),
        }
    }

    /// A token file at `path`.
    pub(super) fn token(path: impl Into<String>) -> Self {
        Self::new(path, Form::Token)
    }

    /// A record in the crate's own form at `path`.
    pub(super) fn native_at(path: impl Into<String>) -> Self {
        Self::new(path, Form::Record)
    }

    /// Where a new record goes.
    pub(super) fn native(id: &str) -> Self {
        Self::new(names::credential_file(id), Form::Record)
    }

    /// Another program's credential at `path`, and its id.
    fn held(path: &str, member: &str) -> (Self, String) {
        let mut home = Self::new(path, Form::Held);
        member.clone_into(&mut home.member);
        let id = if member.is_empty() {
            path.to_owned()
        } else {
            format!("{path}#{member}")
        };
        (home, id)
    }

    /// Where the record may be in the crate's own form: an earlier version may have put it elsewhere.
    pub(super) fn natives(id: &str) -> impl Iterator<Item = Self> + use<> {
        let former = names::former_credential_file(id);
        let former = former.map(|path| Self::new(path, Form::Record));
        std::iter::once(Self::native(id)).chain(former)
    }

    pub(super) fn state_path(&self) -> String {
        if self.member.is_empty() {
            names::state_file(&self.path)
        } else {
            let (_, id) = Self::held(&self.path, &self.member);
            names::state_file(&names::credential_file(&id))
        }
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

/// Reads the files of the record that lives there; none if there is no such file, or no longer that record in it.
pub(super) fn load(root: &Path, home: &Home) -> Result<Option<Stored>, Unreadable> {
    let (contents, _) = look(root, &home.path);
    let mut records = contents?.records.into_iter();
    Ok(records.find(|stored| stored.home.member == home.member))
}

/// As [`load`], for the record `id` in the file at `path`.
pub(super) fn load_id(root: &Path, path: &str, id: &str) -> Result<Option<Stored>, Unreadable> {
    let (contents, _) = look(root, path);
    let mut records = contents?.records.into_iter();
    Ok(records.find(|stored| stored.id == id))
}

/// Reads the files of all records in the file at `path`, none where there is no such file, and how to tell when they have changed.
pub(super) fn look(root: &Path, path: &str) -> (Result<Contents, Unreadable>, Marks) {
    // The state first: a writer replaces it last, so that what it says of the tokens is never ahead of them.
    let state = read::look(root, &names::state_file(path));
    let credential = read::look(root, path);
    let mut marks = Marks {
        credential: credential.mark,
        state: state.mark,
        ..Marks::default()
    };
    let contents = match credential.object {
        Ok(Some(object)) if is_owners(path, &object) => {
            held(root, path, &object, state.object, &mut marks)
        }
        Ok(Some(object)) => stored(path, object, state.object).map(|stored| Contents {
            records: vec![stored],
            notes: Vec::new(),
        }),
        Ok(None) => Ok(Contents::default()),
        Err(problem) => Err(problem),
    };
    (contents, marks)
}

fn is_owners(path: &str, object: &Map<String, Value>) -> bool {
    form(path, object) == Form::Token && Import::is_owners(object)
}

/// The credentials in another program's file.
fn held(
    root: &Path,
    path: &str,
    object: &Map<String, Value>,
    state: Result<Option<Object>, Unreadable>,
    marks: &mut Marks,
) -> Result<Contents, Unreadable> {
    let Some(import) = Import::of(object) else {
        return Err(Unreadable::Foreign(pool::NOTHING.into()));
    };
    let import = import.in_file(&root.join(path));
    let mut contents = Contents::default();
    let mut whole = Some(state);
    for credential in import.credentials() {
        let (home, id) = Home::held(path, credential.member());
        let own = if home.member.is_empty() {
            whole.take().unwrap_or(Ok(None))
        } else {
            let own = read::look(root, &home.state_path());
            marks.set(&home.state_path(), own.mark);
            own.object
        };
        let auth = credential.held();
        let reason = format!(
            "belongs to {}, which alone renews and writes it, and is used as it is: {}",
            import.program(),
            credential.summary()
        );
        contents.notes.push(Skipped::new(&id, reason));
        contents.records.push(Stored {
            id,
            home,
            object: Wiped::new(Metadata::copied(auth.metadata.as_ref())),
            held: Some(Box::new(auth)),
            state: own,
        });
    }
    let problems = import.not_understood().iter();
    let problems = problems.map(|problem| format!("belongs to {}: {problem}", import.program()));
    if contents.records.is_empty() {
        let nothing = || format!("belongs to {}, and {}", import.program(), pool::NOTHING);
        let reasons: Vec<_> = problems.collect();
        let reason = if reasons.is_empty() {
            nothing()
        } else {
            reasons.join("; ")
        };
        return Err(Unreadable::Foreign(reason));
    }
    let notes = problems.map(|reason| Skipped::new(path, reason));
    contents.notes.extend(notes);
    Ok(contents)
}

fn stored(
    path: &str,
    object: Object,
    state: Result<Option<Object>, Unreadable>,
) -> Result<Stored, Unreadable> {
    let form = form(path, &object);
    let id = match (form, &state) {
        (Form::Record, _) => text(&object, "id"),
        (_, Ok(Some(state))) if text(state, FILE) == path => text(state, "id"),
        _ => path,
    };
    if id.is_empty() {
        return Err(Unreadable::Content("has no id".into()));
    }
    let is_ours = || matches!(&state, Ok(Some(state)) if Note::of(state, id).tokens.is_some());
    if form == Form::Token && !pool::is_token_file(&object) && !is_ours() {
        return Err(Unreadable::Foreign(no_use(&object)));
    }
    if names::is_credential(path) && Home::natives(id).all(|home| home.path != path) {
        return Err(Unreadable::Content(
            "holds a record whose id belongs to another file name".into(),
        ));
    }
    Ok(Stored {
        id: id.to_owned(),
        home: Home::new(path, form),
        object,
        held: None,
        state,
    })
}

/// Why a file is no credential.
fn no_use(object: &Map<String, Value>) -> String {
    let import = Import::of(object);
    let mut credentials = import.iter().flat_map(Import::credentials);
    credentials.next().map_or_else(
        || pool::NOTHING.to_owned(),
        |known| {
            let what = known.summary();
            format!("holds no token, and is not loaded from a directory: {what}")
        },
    )
}

/// The form of what is, or would be, at `path`.
pub(super) fn form(path: &str, object: &Map<String, Value>) -> Form {
    if names::is_json(path) && !pool::is_record(object) {
        Form::Token
    } else {
        Form::Record
    }
}

impl Stored {
    /// The record. A damaged state file costs the state alone.
    pub(super) fn into_auth(self) -> Result<(Auth, Option<Skipped>), Unreadable> {
        let generation = self.generation();
        let Home { path, form, .. } = &self.home;
        let mut auth = match (form, self.held) {
            (Form::Held, Some(held)) => *held,
            (Form::Record, _) => {
                codec::from_credential(self.object).map_err(Unreadable::Content)?
            }
            (Form::Token | Form::Held, _) => legacy::read(path, self.object),
        };
        let said = auth.attributes.clone();
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
        // What another program says goes before what was noted when it said something else.
        for (name, value) in said.iter() {
            auth.attributes.insert(name, value);
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
            Form::Token | Form::Held => {
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
                Form::Token | Form::Held => note.tokens == Some(legacy::token_digest(&self.object)),
            }
    }

    /// Whether `auth` says nothing else of what only another program's file can say.
    pub(super) fn is_said_by(&self, auth: &Auth) -> bool {
        self.held.as_ref().is_some_and(|held| {
            let mut said = held.attributes.iter();
            held.metadata == auth.metadata
                && said.all(|(name, value)| auth.attributes.get(name) == Some(value))
        })
    }

    /// What a state file notes of `auth` beside another program's file.
    pub(super) fn note_for(&self, auth: &Auth) -> Note {
        Note {
            rest: self
                .held
                .as_ref()
                .map_or_else(Object::default, |held| legacy::remainder(auth, held)),
            generation: auth.generation,
            tokens: Some(legacy::token_digest(&self.object)),
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
            Form::Token | Form::Held => Self {
                rest: legacy::remainder(auth, &legacy::read("", Wiped::new(object.clone()))),
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
    Some(Home::token(path))
}

fn add_state(auth: &mut Auth, mut state: Object, form: Form) -> Result<(), Unreadable> {
    if text(&state, "id") == auth.id
        && let Some(rest) = state.remove(REST).map(Wiped::new)
        && form != Form::Record
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
