//! [`Attributes`] and [`Metadata`]: a credential's settings and tokens, copied on write and wiped when dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Wiped;

/// A credential's configuration: text by name (`api_key`, `base_url`, `priority`…).
///
/// Shared on clone and copied on the first change, so that a clone costs nothing and a change never shows elsewhere.
/// `Debug` prints the names alone, because values may be secret; for the same reason values are overwritten in memory when the
/// last copy is dropped, and when they are replaced or removed.
///
/// ```
/// let mut attributes = credpool::Attributes::default();
/// attributes.insert("api_key", "sk-123");
/// assert_eq!(attributes.get("api_key"), Some("sk-123"));
/// assert_eq!(format!("{attributes:?}"), r#"{"api_key": ***}"#);
/// ```
#[doc(alias = "settings")]
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Arc<Wiped<BTreeMap<String, String>>>);

/// A credential's changing state as JSON: tokens, cookies, expiry, e-mail.
///
/// Shared on clone and copied on the first change. `Debug` prints the names alone, because values may be secret; for the same
/// reason texts are overwritten in memory when the last copy is dropped, and when they are replaced or removed.
///
/// ```
/// let mut metadata = credpool::Metadata::default();
/// metadata.insert("access_token", "ya29…");
/// assert_eq!(metadata.text("access_token"), Some("ya29…"));
/// assert_eq!(format!("{metadata:?}"), r#"{"access_token": ***}"#);
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Metadata(Arc<Wiped<Map<String, Value>>>);

impl Attributes {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value without space around it, where there is any.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        let value = self.get(name).map(str::trim);
        value.filter(|value| !value.is_empty())
    }

    /// Sets a value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let former = Arc::make_mut(&mut self.0).insert(name.into(), value.into());
        drop(former.map(Wiped::new));
    }

    /// Removes a value.
    ///
    /// ```
    /// let mut attributes = credpool::Attributes::default();
    /// attributes.insert("base_url", "https://llm.example.org/v1");
    /// attributes.remove("base_url");
    /// assert!(attributes.is_empty());
    /// ```
    pub fn remove(&mut self, name: &str) {
        if self.0.contains_key(name) {
            let former = Arc::make_mut(&mut self.0).remove(name);
            drop(former.map(Wiped::new));
        }
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Metadata {
    /// The value under `name`.
    ///
    /// ```
    /// let mut metadata = credpool::Metadata::default();
    /// metadata.insert("scopes", vec!["chat"]);
    /// assert_eq!(metadata.get("scopes").unwrap()[0], "chat");
    /// metadata.remove("scopes");
    /// assert!(metadata.is_empty());
    /// ```
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value under `name` where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Sets a value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let former = Arc::make_mut(&mut self.0).insert(name.into(), value.into());
        drop(former.map(Wiped::new));
    }

    /// Removes a value.
    pub fn remove(&mut self, name: &str) {
        if self.0.contains_key(name) {
            let former = Arc::make_mut(&mut self.0).remove(name);
            drop(former.map(Wiped::new));
        }
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A copy of the members, of which there may be none.
    pub(crate) fn copied(metadata: Option<&Self>) -> Map<String, Value> {
        metadata.map_or_else(Map::new, |metadata| metadata.as_map().clone())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let values = pairs.map(|(name, value)| (name.into(), value.into()));
        Self(Arc::new(Wiped::new(values.collect())))
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let values = pairs.map(|(name, value)| (name.into(), value.into()));
        Self(Arc::new(Wiped::new(values.collect())))
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(map: Map<String, Value>) -> Self {
        Self(Arc::new(Wiped::new(map)))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(self.0.keys(), f)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(self.0.keys(), f)
    }
}

fn redacted<'a>(
    names: impl Iterator<Item = &'a String>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.debug_map()
        .entries(names.map(|name| (name, format_args!("***"))))
        .finish()
}

/// Objects of the metadata that hold the tokens, in files of other programs.
pub(crate) const TOKEN_OBJECTS: [&str; 2] = ["token", "Token"];
