//! [`SubjectToken`]: where the token comes from with which a workload shows what it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Auth, AuthRuntime, Secret};
use crate::error::Error;
use crate::panic::guard;

/// Where the token comes from with which a workload shows what it is. It is got anew for each exchange: what issues it replaces it
/// before it ends.
///
/// ```
/// use credpool::SubjectToken;
///
/// let file = SubjectToken::file("/var/run/secrets/tokens/llm");
/// let of_ci = SubjectToken::url("https://ci.example.org/token?audience=llm").with_member("value");
/// assert_ne!(file, of_ci);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SubjectToken {
    pub(crate) source: Source,
    /// The member of a JSON object that is the token; the whole text where there is none.
    pub(crate) member: Option<String>,
    /// Of the request for a URL.
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    File(PathBuf),
    Variable(String),
    Url(String),
    Callback,
}

impl SubjectToken {
    /// The text of a file, without space around it.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::new(Source::File(path.as_ref().to_owned()))
    }

    /// An environment variable.
    pub fn variable(name: impl Into<String>) -> Self {
        Self::new(Source::Variable(name.into()))
    }

    /// What a server answers to a `GET`. Plain `http` is for this machine, link-local addresses and `metadata.google.internal`, which are
    /// reached past every proxy.
    pub fn url(url: impl Into<String>) -> Self {
        Self::new(Source::Url(url.into()))
    }

    /// What the credential's runtime data says: see [`Auth::with_subject_token`].
    pub fn callback() -> Self {
        Self::new(Source::Callback)
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            member: None,
            headers: BTreeMap::new(),
        }
    }

    /// The token is this member of a JSON object.
    pub fn with_member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Sends a header with the request for a URL. It is stored with the record.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// In the form of Google's `credential_source`, with two more kinds.
    pub(super) fn to_json(&self) -> Value {
        let mut json = match &self.source {
            Source::File(path) => json!({ FILE: path.to_string_lossy() }),
            Source::Variable(name) => json!({ VARIABLE: name }),
            Source::Url(url) => json!({ URL: url, "headers": self.headers }),
            Source::Callback => json!({ CALLBACK: true }),
        };
        if let Some(member) = &self.member {
            json["format"] = json!({"type": "json", "subject_token_field_name": member});
        }
        json
    }

    pub(super) fn read(source: &Value) -> Result<Self, String> {
        let object = source.as_object().ok_or("credential_source is no object")?;
        for (name, what) in UNSUPPORTED {
            if object.contains_key(name) {
                return Err(format!(
                    "its subject token comes from {what}, which is not supported"
                ));
            }
        }
        let text = |name: &str| {
            let text = object.get(name)?.as_str()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let kinds = [
            text(FILE).map(|path| Source::File(path.into())),
            text(URL).map(Source::Url),
            text(VARIABLE).map(Source::Variable),
            (object.get(CALLBACK) == Some(&Value::Bool(true))).then_some(Source::Callback),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err(
                "credential_source names neither a file nor a URL, or more than one".to_owned(),
            );
        };
        let mut token = Self::new(kind);
        token.member = member(object)?;
        token.headers = texts(object, "headers")?;
        Ok(token)
    }
}

fn member(object: &Map<String, Value>) -> Result<Option<String>, String> {
    let Some(format) = object.get("format") else {
        return Ok(None);
    };
    let text = |name: &str| format.get(name).and_then(Value::as_str);
    match (text("type"), text("subject_token_field_name")) {
        (None | Some("text"), _) => Ok(None),
        (Some("json"), Some(name)) if !name.is_empty() => Ok(Some(name.to_owned())),
        _ => Err("its format is neither text nor json with subject_token_field_name".to_owned()),
    }
}

impl Auth {
    /// Gets the subject token of an [`Exchange`](crate::Exchange) from the program itself, each time that one is needed. It takes the place of the
    /// credential's [`runtime`](Self::runtime) data; runtime data of a program's own says it with [`AuthRuntime::subject_token`].
    ///
    /// It is in memory alone: a record that was loaded from a store needs it set again.
    ///
    /// ```
    /// use credpool::{Auth, Exchange, Secret, SubjectToken};
    ///
    /// let exchange = Exchange::openrouter("policy-1", SubjectToken::callback());
    /// let auth = Auth::workload("openrouter", exchange).with_subject_token(|| Ok(Secret::new("a JWT")));
    /// assert!(auth.runtime.is_some());
    /// ```
    pub fn with_subject_token(
        mut self,
        get: impl Fn() -> Result<Secret, Error> + Send + Sync + 'static,
    ) -> Self {
        self.runtime = Some(Arc::new(Callback(Box::new(get))));
        self
    }

    /// What the runtime data gives; a panic in it is an error.
    pub(crate) fn subject_token(&self) -> Option<Result<Secret, Error>> {
        let runtime = self.runtime.as_ref()?;
        let got = guard(
            || "the callback for a subject token".to_owned(),
            || runtime.subject_token(),
        );
        got.transpose().map(Result::flatten)
    }
}

struct Callback(Box<dyn Fn() -> Result<Secret, Error> + Send + Sync>);

impl AuthRuntime for Callback {
    fn subject_token(&self) -> Option<Result<Secret, Error>> {
        Some((self.0)())
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// The texts of an object, which may be missing.
pub(super) fn texts(
    object: &Map<String, Value>,
    name: &str,
) -> Result<BTreeMap<String, String>, String> {
    let members = match object.get(name) {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(format!("{name} is no object")),
    };
    let texts = members.iter().map(|(key, value)| {
        let text = value.as_str().map(|text| (key.clone(), text.to_owned()));
        text.ok_or_else(|| format!("{name} holds something other than text"))
    });
    texts.collect()
}

const FILE: &str = "file";
const URL: &str = "url";
const VARIABLE: &str = "environment_variable";
const CALLBACK: &str = "callback";

/// Sources of Google's files that are not supported.
const UNSUPPORTED: [(&str, &str); 3] = [
    ("environment_id", "AWS"),
    ("executable", "an executable"),
    ("certificate", "a certificate"),
];
