//! An object of a file that is being read: what is taken from it, and what is not understood in it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::credential::{Credential, NotUnderstood};
use crate::auth::{Auth, Expiry, read_time};
use crate::clock::Timestamp;

/// What a file holds.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) credentials: Vec<Credential>,
    pub(super) not_understood: Vec<NotUnderstood>,
}

/// One object, and where in the file it is.
pub(super) struct Part<'a> {
    members: &'a Map<String, Value>,
    place: String,
    known: BTreeSet<&'a str>,
    problems: Vec<NotUnderstood>,
}

impl<'a> Part<'a> {
    pub(super) fn top(members: &'a Map<String, Value>) -> Self {
        Self::at(members, "")
    }

    fn at(members: &'a Map<String, Value>, place: &str) -> Self {
        Self {
            members,
            place: place.to_owned(),
            known: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
    }

    /// That a member, or the whole object where there is no name, is not understood.
    pub(super) fn note(&mut self, name: &str, reason: impl Into<String>) {
        let member = if name.is_empty() {
            self.place.clone()
        } else {
            self.place_of(name)
        };
        self.problems.push(NotUnderstood {
            member,
            reason: reason.into(),
        });
    }

    fn get(&mut self, name: &'a str) -> Option<&'a Value> {
        self.known.insert(name);
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &'a str) -> Option<&'a str> {
        match self.get(name)? {
            Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            _ => {
                self.note(name, "is not text");
                None
            }
        }
    }

    /// A time, in any form that programs write.
    pub(super) fn time(&mut self, name: &'a str) -> Option<Timestamp> {
        let found = self.get(name)?;
        let read = read_time(found);
        if read.is_none() {
            self.note(name, "is not a time");
        }
        read.and_then(Expiry::at)
    }

    /// An object inside.
    pub(super) fn object(&mut self, name: &'a str) -> Option<Part<'a>> {
        match self.get(name)? {
            Value::Object(members) => Some(Self::at(members, &self.place_of(name))),
            _ => {
                self.note(name, "is not an object");
                None
            }
        }
    }

    /// The objects inside, by their names.
    pub(super) fn objects(&mut self) -> Vec<(&'a str, Part<'a>)> {
        let members = self.members;
        let names = members.keys().map(String::as_str);
        names
            .filter_map(|name| Some((name, self.object(name)?)))
            .collect()
    }

    /// Members that say nothing of a credential.
    pub(super) fn know(&mut self, names: &[&'a str]) {
        self.known.extend(names);
    }

    /// Copies members as they are, texts, numbers and objects alike.
    pub(super) fn copy(&mut self, names: &[&'a str], auth: &mut Auth) {
        for name in names {
            if let Some(value) = self.get(name) {
                let metadata = auth.metadata.get_or_insert_default();
                metadata.insert(*name, value.clone());
            }
        }
    }

    /// What was not understood, other members among it.
    pub(super) fn end(mut self, findings: &mut Findings) {
        let names = self.members.keys().map(String::as_str);
        let unknown: Vec<_> = names.filter(|name| !self.known.contains(name)).collect();
        for name in unknown {
            self.note(name, "is unknown here, and stays as it is");
        }
        findings.not_understood.append(&mut self.problems);
    }
}
