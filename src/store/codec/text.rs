//! Both parts of a record as JSON texts, for stores with two columns.

use zeroize::{Zeroize, Zeroizing};

use super::record::{
    MOST_BYTES, Object, Unfit, add_state, check, credential, from_credential, refused, shown,
    state, without_state,
};
use crate::auth::{Auth, Wiped, wiped_json};
use crate::error::{Error, ErrorCode};
use crate::store::contract::Conflict;
use crate::store::{Intent, Revision, Skipped};

/// A credential and its state, as a store has them.
pub(crate) type Parts = (Zeroizing<String>, Option<String>);

pub(crate) struct Texts {
    pub(crate) credential: String,
    pub(crate) state: String,
    pub(crate) generation: i64,
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.credential.zeroize();
    }
}

/// A record as it is stored.
pub(crate) fn texts(auth: &Auth) -> Result<Texts, Error> {
    check(auth)?;
    Ok(Texts {
        credential: text(auth, &credential(auth))?,
        state: text(auth, &state(auth))?,
        // The record's JSON form knows no larger one.
        generation: i64::try_from(auth.generation()).unwrap_or(i64::MAX),
    })
}

pub(crate) fn state_text(auth: &Auth) -> Result<String, Error> {
    check(auth)?;
    text(auth, &state(auth))
}

fn text(auth: &Auth, part: &Object) -> Result<String, Error> {
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
pub(crate) fn decode(
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
    let problem = match decode(id, credential, state) {
        Ok((auth, problem)) => {
            records.push(auth);
            problem
        }
        Err(problem) => Some(problem),
    };
    skipped.extend(problem.map(|why| Skipped::new(shown(id), why)));
}

fn object(text: &str) -> Result<Object, Unfit> {
    // The error's own text may quote what was read.
    serde_json::from_str(text)
        .map(Wiped::new)
        .map_err(|_| "is not a JSON object".to_owned())
}

/// As [`decode`], for a record that was asked for.
pub(crate) fn read(id: &str, credential: &str, state: Option<&str>) -> Result<Auth, Error> {
    let (auth, problem) = decode(id, credential, state).map_err(|why| {
        let message = format!("credential {} {why}", shown(id));
        Error::new(ErrorCode::Store, message).with_auth_id(id)
    })?;
    if let Some(problem) = problem {
        log::warn!("credential {}: {problem}", shown(id));
    }
    Ok(auth)
}

/// The stored record, where it keeps `auth` from being written.
pub(crate) fn conflict(
    stored: Option<&Parts>,
    expected: Option<&Revision>,
    auth: &Auth,
) -> Result<Option<Conflict>, Error> {
    let stored = stored
        .map(|(credential, state)| read(&auth.id, credential, state.as_deref()))
        .transpose()?;
    let is_free = Revision::allows(expected, stored.as_ref(), auth);
    Ok((!is_free).then(|| stored.map(Box::new)))
}

/// How often another one may write a record between a look and a swap. Each time, one of those who try succeeds.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) const MOST_RACES: usize = 100;

/// That others were always faster.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn overtaken(id: &str) -> Error {
    let message = format!(
        "credential {} was not saved: others write it all the time; see what they are doing",
        shown(id)
    );
    Error::new(ErrorCode::Conflict, message).with_auth_id(id)
}

/// An intent as it is stored.
pub(crate) fn intent_text(intent: &Intent) -> Result<String, Error> {
    serde_json::to_string(intent).map_err(|error| Error::other(error).with_code(ErrorCode::Store))
}

pub(crate) fn read_intent(id: &str, text: &str) -> Result<Intent, Error> {
    serde_json::from_str(text).map_err(|_| {
        let message = format!(
            "what was noted of the last refresh of credential {} does not read: remove it",
            shown(id)
        );
        Error::new(ErrorCode::Store, message).with_auth_id(id)
    })
}
