//! Both parts of a record as JSON texts, for stores with two columns.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::record::{
    MOST_BYTES, Object, Unfit, add_state, check, credential, from_credential, refused, shown,
    state, without_state,
};
use crate::auth::{Auth, Wiped, wiped_json};
use crate::error::{Error, ErrorCode};
use crate::store::Skipped;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
use crate::store::{Intent, Revision, contract::Conflict};

/// A credential and its state, as a store has them.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) type Parts = (Zeroizing<String>, Option<String>);

/// A record as a store keeps it, from [`encode`]. The credential is overwritten in memory when this is dropped, and no `Debug` output has
/// it.
///
/// ```
/// use credpool::{Auth, codec};
///
/// let texts = codec::encode(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let same = codec::decode("a", texts.credential(), Some(texts.state()))?;
/// assert_eq!(same.provider, "openai");
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct Texts {
    pub(crate) credential: String,
    pub(crate) state: String,
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) generation: i64,
}

impl Texts {
    /// The credential with its tokens and settings: durable before a save returns. It holds secrets.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// The runtime state: written often, and may be lost when the machine fails.
    pub fn state(&self) -> &str {
        &self.state
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.credential.zeroize();
    }
}

/// A record as it is stored: both of its texts, 1 MiB each at most.
///
/// # Errors
/// Code `config` for a record that no store keeps (without an id, or runtime-only); code `store` for one that is too large or nested too
/// deeply to be read again.
///
/// ```
/// use credpool::{Auth, codec};
///
/// let auth = Auth::api_key("openai", "sk-1").with_id("a");
/// let texts = codec::encode(&auth)?;
/// assert!(texts.credential().contains("sk-1") && !texts.state().contains("sk-1"));
/// let again = codec::decode("a", texts.credential(), Some(texts.state()))?;
/// assert_eq!(again.attributes.get("api_key"), Some("sk-1"));
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn encode(auth: &Auth) -> Result<Texts, Error> {
    check(auth)?;
    Ok(Texts {
        credential: object_text(auth, &credential(auth))?,
        state: object_text(auth, &state(auth))?,
        // The record's JSON form knows no larger one.
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
        generation: i64::try_from(auth.generation()).unwrap_or(i64::MAX),
    })
}

/// The state alone, for [`Store::save_state`](crate::Store::save_state).
///
/// # Errors
/// As [`encode`].
///
/// ```
/// use credpool::{Auth, codec};
///
/// let mut auth = Auth::api_key("openai", "sk-1").with_id("a");
/// let texts = codec::encode(&auth)?;
/// auth.status_message = "slow".into();
/// let state = codec::encode_state(&auth)?;
/// let again = codec::decode("a", texts.credential(), Some(&state))?;
/// assert_eq!(again.status_message, "slow");
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn encode_state(auth: &Auth) -> Result<String, Error> {
    check(auth)?;
    object_text(auth, &state(auth))
}

/// A part of `auth` as a text that can be read again.
pub(crate) fn object_text(auth: &Auth, part: &Object) -> Result<String, Error> {
    let mut json = wiped_json(&**part).map_err(|error| refused(auth, &error))?;
    let text = String::from_utf8(std::mem::take(&mut *json));
    let mut text = Zeroizing::new(text.map_err(|error| refused(auth, &error.utf8_error()))?);
    if text.len() > MOST_BYTES {
        let why = format!("it is larger than {MOST_BYTES} bytes");
        return Err(refused(auth, &why));
    }
    if object(&text).is_err() {
        return Err(refused(auth, &"it is nested too deeply to be read again"));
    }
    Ok(std::mem::take(&mut *text))
}

/// The record `id`, and what is wrong with its state.
fn decode_parts(
    id: &str,
    credential: &str,
    state: Option<&str>,
) -> Result<(Auth, Option<Unfit>), Unfit> {
    let mut auth = from_credential(object(credential)?)?;
    if auth.id != id {
        return Err("holds a record of another id".into());
    }
    let added = match state {
        Some(state) => object(state).and_then(|state| add_state(&mut auth, state).map(|()| true)),
        None => Ok(false),
    };
    if added != Ok(true) {
        without_state(&mut auth);
    }
    let problem = added.err().map(|why| format!("its state {why}"));
    Ok((auth, problem))
}

/// Adds a stored record to those that were read.
pub(crate) fn add_row(
    records: &mut Vec<Auth>,
    skipped: &mut Vec<Skipped>,
    id: &str,
    credential: &str,
    state: Option<&str>,
) {
    let problem = match decode_parts(id, credential, state) {
        Ok((auth, problem)) => {
            records.push(auth);
            problem
        }
        Err(problem) => Some(problem),
    };
    skipped.extend(problem.map(|why| Skipped::new(shown(id), why)));
}

/// The part that a text holds.
pub(crate) fn object(text: &str) -> Result<Object, Unfit> {
    // The error's own text may quote what was read.
    serde_json::from_str(text)
        .map(Wiped::new)
        .map_err(|_| "is not a JSON object".to_owned())
}

/// The record `id` that a store has as these texts. A state that cannot be parsed is ignored, with a warning in the log.
///
/// # Errors
/// Code `store` where the credential is no record, or another one. What was read is never quoted.
///
/// ```
/// use credpool::codec;
///
/// let error = codec::decode("a", "sk-1", None).unwrap_err();
/// assert_eq!(error.auth_id(), Some("a"));
/// assert!(!error.message().contains("sk-1"));
/// ```
pub fn decode(id: &str, credential: &str, state: Option<&str>) -> Result<Auth, Error> {
    let (auth, problem) = decode_parts(id, credential, state).map_err(|why| {
        let message = format!("credential {} {why}", shown(id));
        Error::new(ErrorCode::Store, message).with_auth_id(id)
    })?;
    if let Some(problem) = problem {
        log::warn!("credential {}: {problem}", shown(id));
    }
    Ok(auth)
}

/// The stored record, where it keeps `auth` from being written.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) fn conflict(
    stored: Option<&Parts>,
    expected: Option<&Revision>,
    auth: &Auth,
) -> Result<Option<Conflict>, Error> {
    let stored = stored
        .map(|(credential, state)| decode(&auth.id, credential, state.as_deref()))
        .transpose()?;
    let is_free = Revision::allows(expected, stored.as_ref(), auth);
    Ok((!is_free).then(|| stored.map(Box::new)))
}

/// How often another writer may change a record between a look and a swap. Each time, one of the writers succeeds.
pub(crate) const MOST_RACES: usize = 100;

/// That others were always faster.
pub(crate) fn overtaken(id: &str) -> Error {
    let message = format!(
        "credential {} was not saved: too many concurrent writes by other processes",
        shown(id)
    );
    Error::new(ErrorCode::Conflict, message).with_auth_id(id)
}

/// An intent as it is stored.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) fn intent_text(intent: &Intent) -> Result<String, Error> {
    serde_json::to_string(intent).map_err(|error| Error::other(error).with_code(ErrorCode::Store))
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) fn read_intent(id: &str, text: &str) -> Result<Intent, Error> {
    serde_json::from_str(text).map_err(|_| {
        let message = format!(
            "the refresh intent of credential {} is corrupt; delete it",
            shown(id)
        );
        Error::new(ErrorCode::Store, message).with_auth_id(id)
    })
}
