//! Mentions of resources: in the URL of a request, in JSON that is sent or answered.

use std::fmt;

use memchr::memchr_iter;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::vendor_names::{
    BEGINNINGS, COLLECTIONS, KINDS, MEMBERS, NO_IDS, NOT_SEARCHED, PATH_MEMBERS, UPLOAD_PARAMETER,
};
use crate::json::parse_lenient;

/// Something that a vendor keeps for one account, by its collection and its id: prints as `files/file-123`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(super) collection: &'static str,
    pub(super) id: Box<str>,
}

/// The resources that something mentions, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mentions(SmallVec<[Resource; 2]>);

impl Mentions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resource that a path is the address of: it ends with its id, and names no other.
    pub(crate) fn only_one_in(path: &str) -> Option<Resource> {
        let mut mentions = Self::default();
        mentions.add_path(path);
        let only = if mentions.0.len() == 1 {
            mentions.0.pop()
        } else {
            None
        };
        only.filter(|only| path.ends_with(&*only.id))
    }

    /// Adds those in the path and the query of a URL.
    pub(crate) fn add_url(&mut self, path_and_query: &str) {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        self.add_path(path);
        let (parameter, collection) = UPLOAD_PARAMETER;
        for pair in query.split('&') {
            if let Some((name, id)) = pair.split_once('=')
                && name == parameter
            {
                self.add(collection, id);
            }
        }
    }

    /// Adds those that a JSON object names. What is no JSON, or larger than 16 MiB, names none.
    pub(crate) fn add_json(&mut self, json: &[u8]) {
        if may_mention(json)
            && let Some(json) = parsed(json)
        {
            self.add_value(&json);
        }
    }

    /// Adds those that an answer names, and the one that its request was to make: that one is in the collection with which the path ends,
    /// and the answer may say nothing but its id.
    pub(super) fn add_answer(&mut self, path: &str, json: &[u8]) {
        let Some(collection) = collection_at_end(path) else {
            return self.add_json(json);
        };
        if let Some(json) = parsed(json) {
            if let Value::Object(members) = &json {
                self.add_one_of(collection, members);
            }
            self.add_value(&json);
        }
    }

    /// Adds the pairs of a collection's name and an id. The id ends where a method is named: `files/abc:download`.
    fn add_path(&mut self, path: &str) {
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let Some(collection) = collection_of(segment) else {
                continue;
            };
            let id = segments.next_if(|next| collection_of(next).is_none());
            let id = id.and_then(|id| id.split(':').next());
            self.add(collection, id.unwrap_or_default());
        }
    }

    fn add_value(&mut self, json: &Value) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(members) => self.add_object(members),
            _ => {}
        }
    }

    fn add_object(&mut self, members: &Map<String, Value>) {
        let is_of = |(member, kind, _): &&(&str, &str, _)| text(members, member) == Some(*kind);
        if let Some((_, _, collection)) = KINDS.iter().find(is_of) {
            self.add_one_of(collection, members);
        }
        // What a tool is called with is what a model has written.
        let is_tool = text(members, "type").is_some_and(|kind| kind.ends_with("tool_use"));
        for (name, value) in members {
            let name = name.as_str();
            if NOT_SEARCHED.contains(&name) || (is_tool && name == "input") {
                continue;
            }
            if let Some((_, collection)) = MEMBERS.iter().find(|(member, _)| *member == name) {
                let id = value.get("id").and_then(Value::as_str);
                for id in texts(value).chain(id) {
                    self.add(collection, id);
                }
            } else if PATH_MEMBERS.contains(&name) {
                texts(value).for_each(|path| self.add_path(path));
            }
            self.add_value(value);
        }
    }

    /// Adds an object by its own id. One that says that it is not stored can be asked for nowhere.
    fn add_one_of(&mut self, collection: &'static str, members: &Map<String, Value>) {
        if members.get("store") != Some(&Value::Bool(false)) {
            self.add(collection, text(members, "id").unwrap_or_default());
        }
    }

    fn add(&mut self, collection: &'static str, id: &str) {
        let begins =
            |(of, beginning): &(&str, &str)| *of != collection || id.starts_with(beginning);
        let is_id = (1..=LONGEST_ID).contains(&id.len())
            && !NO_IDS.contains(&id)
            && BEGINNINGS.iter().all(begins);
        let is_known = |known: &Resource| known.collection == collection && *known.id == *id;
        if is_id && self.0.len() < MOST && !self.0.iter().any(is_known) {
            let id = id.into();
            self.0.push(Resource { collection, id });
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)
    }
}

fn collection_of(segment: &str) -> Option<&'static str> {
    COLLECTIONS.iter().find(|name| **name == segment).copied()
}

/// The collection that a path ends with.
fn collection_at_end(path: &str) -> Option<&'static str> {
    collection_of(path.rsplit('/').next()?)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str()
}

/// The texts that a value is, or holds as an array.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let texts = items.iter().filter_map(Value::as_str);
    value.as_str().into_iter().chain(texts)
}

fn parsed(json: &[u8]) -> Option<Value> {
    let is_json = matches!(json.trim_ascii_start().first(), Some(b'{' | b'['));
    let json = is_json.then_some(json)?;
    let json = (json.len() <= LARGEST).then_some(json)?;
    parse_lenient(json).ok()
}

/// Whether a text holds, between two quotation marks, what every mention has: the name of a member, a kind, or the beginning of a path.
/// Costs a look at what is between two marks, so that JSON without mentions, which is nearly all of it, is not parsed for them.
fn may_mention(json: &[u8]) -> bool {
    let mut marks = memchr_iter(b'"', json);
    let Some(mut before) = marks.next() else {
        return false;
    };
    marks.any(|mark| {
        let text = &json[before + 1..mark];
        before = mark;
        is_word(text) || begins_with_path(text)
    })
}

fn is_word(text: &[u8]) -> bool {
    let lengths = text.first().map_or(0, |first| WORDS[usize::from(*first)]);
    // Nearly all that is no word has the length of none.
    text.len() < 32
        && lengths & (1 << text.len()) != 0
        && (MEMBERS.iter().any(|(member, _)| member.as_bytes() == text)
            || KINDS.iter().any(|(_, kind, _)| kind.as_bytes() == text)
            || URI_MEMBERS.iter().any(|member| member.as_bytes() == text))
}

/// Whether a text begins with the name of a collection and a slash, or with what stands before that in the path of a resource.
fn begins_with_path(text: &[u8]) -> bool {
    let mut lengths = text.first().map_or(0, |first| PATHS[usize::from(*first)]);
    while lengths != 0 {
        let length = lengths.trailing_zeros() as usize;
        lengths &= lengths - 1;
        // A slash may be escaped.
        if matches!(text.get(length), Some(b'/' | b'\\')) {
            let name = &text[..length];
            return COLLECTIONS
                .iter()
                .chain(PATH_PARENTS)
                .any(|known| known.as_bytes() == name);
        }
    }
    false
}

/// With what the path of a resource may begin before its collection: `models/veo/operations/1`, `projects/p/locations/l/cachedContents/1`.
const PATH_PARENTS: &[&str] = &["models", "projects"];

/// Members whose value may be a URL, which begins with no collection.
const URI_MEMBERS: &[&str] = &["fileUri", "file_uri", "uri"];

/// The lengths of the words that are looked for, as bits, by their first byte.
static WORDS: [u32; 256] = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < MEMBERS.len() {
        lengths = with_length(lengths, MEMBERS[at].0);
        at += 1;
    }
    at = 0;
    while at < KINDS.len() {
        lengths = with_length(lengths, KINDS[at].1);
        at += 1;
    }
    with_lengths(lengths, URI_MEMBERS)
};

/// The same of the names that paths begin with.
static PATHS: [u32; 256] = with_lengths(with_lengths([0; 256], COLLECTIONS), PATH_PARENTS);

const fn with_lengths(mut lengths: [u32; 256], words: &[&str]) -> [u32; 256] {
    let mut at = 0;
    while at < words.len() {
        lengths = with_length(lengths, words[at]);
        at += 1;
    }
    lengths
}

const fn with_length(mut lengths: [u32; 256], word: &str) -> [u32; 256] {
    assert!(word.len() < 32, "a bit for each length");
    lengths[word.as_bytes()[0] as usize] |= 1 << word.len();
    lengths
}

/// A longer text is no vendor's id.
const LONGEST_ID: usize = 512;

/// So many resources of one document are looked at.
const MOST: usize = 256;

/// JSON beyond this size is not searched.
const LARGEST: usize = 16 << 20;

#[cfg(test)]
mod tests;
