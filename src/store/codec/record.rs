//! A record in two parts that are stored apart: the credential with its tokens, and the runtime state beside it.
//!
//! The state is written often and may be lost; the credential may not. So a cooldown never rewrites a token.

use std::fmt;

use serde_json::{Map, Value};

use crate::auth::{
    Auth, GrantToken, Status, Wiped, add_recoveries, add_versions, from_json, recoveries_to_json,
    state_from_json, state_to_json, to_json, versions_to_json,
};
use crate::error::{Error, ErrorCode};

/// Why a part cannot be parsed or written: names members, never their values.
pub(crate) type Unfit = String;

/// A part: its texts are wiped from memory when it is dropped.
pub(crate) type Object = Wiped<Map<String, Value>>;

/// The part that is written when a credential changes.
pub(crate) fn credential(auth: &Auth) -> Object {
    let mut object = Wiped::new(to_json(auth));
    for name in state_to_json(auth).keys() {
        object.remove(name);
    }
    object
}

/// The part that results change.
pub(crate) fn state(auth: &Auth) -> Object {
    let mut object = Wiped::new(state_to_json(auth));
    object.insert("id".into(), auth.id.clone().into());
    object.insert(DISABLED.into(), auth.disabled.into());
    object.insert(RECOVERED.into(), recoveries_to_json(auth).into());
    if let Some(revoked) = auth.revoked {
        object.insert(REVOKED.into(), revoked.to_hex().into());
    }
    object.insert(VERSIONS.into(), versions_to_json(auth).into());
    object
}

/// The record that a credential part stands for, as yet without its state.
pub(crate) fn from_credential(object: Object) -> Result<Auth, Unfit> {
    // The record's own reader names a member and never quotes a value.
    let mut auth =
        from_json(object.into_inner()).map_err(|problem| format!("is not a record: {problem}"))?;
    // It was stored, hence it is not runtime-only.
    auth.metadata.get_or_insert_default();
    Ok(auth)
}

/// Adds the state part. An error leaves the record without it.
pub(crate) fn add_state(auth: &mut Auth, mut state: Object) -> Result<(), Unfit> {
    if state.get("id").and_then(Value::as_str) != Some(&auth.id) {
        return Err("holds the state of another credential".into());
    }
    let disabled_then = state.remove(DISABLED);
    let recovered = state.remove(RECOVERED);
    let revoked = state.remove(REVOKED);
    let versions = state.remove(VERSIONS);
    state_from_json(auth, state.into_inner()).map_err(|problem| problem.to_string())?;
    add_recoveries(auth, recovered.as_ref());
    add_versions(auth, versions.as_ref());
    let revoked = revoked.as_ref().and_then(Value::as_str);
    auth.revoked = revoked.and_then(GrantToken::from_hex);
    // It may have been switched in the credential since.
    if disabled_then.is_some_and(|then| then != auth.disabled)
        && (auth.disabled || auth.status == Status::Disabled)
    {
        auth.status = switched(auth.disabled);
    }
    Ok(())
}

/// What a record without a state of its own is.
pub(crate) fn without_state(auth: &mut Auth) {
    if auth.status == Status::Unset {
        auth.status = switched(auth.disabled);
    }
}

/// Refuses what no store keeps.
pub(crate) fn check(auth: &Auth) -> Result<(), Error> {
    let problem = if auth.id.is_empty() {
        "a credential without an id cannot be stored: give it one"
    } else if auth.is_runtime_only() {
        "a runtime-only credential is not stored: remove `runtime_only`, or give it metadata (which may be empty)"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::Config, problem).with_auth_id(&auth.id))
}

/// That a record was not saved, and what is wrong with it.
pub(crate) fn refused(auth: &Auth, why: &dyn fmt::Display) -> Error {
    let message = format!("credential {} was not saved: {why}", shown(&auth.id));
    Error::new(ErrorCode::Store, message).with_auth_id(&auth.id)
}

/// An id as people can read it, whatever is in it.
pub(crate) fn shown(id: &str) -> String {
    let start: String = id.chars().take(SHOWN).collect();
    let more = if start.len() < id.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// The largest part that is read or written.
pub(crate) const MOST_BYTES: usize = 1024 * 1024;

const SHOWN: usize = 100;

fn switched(disabled: bool) -> Status {
    if disabled {
        Status::Disabled
    } else {
        Status::Active
    }
}

/// In a state: whether the credential was disabled when it was written.
const DISABLED: &str = "disabled";
/// In a state: when what was over, see [`recoveries_to_json`].
const RECOVERED: &str = "recovered";
/// In a state: a digest of the token that the token endpoint refused for good.
const REVOKED: &str = "revoked";
/// In a state: the order of what has happened to it, see [`versions_to_json`].
const VERSIONS: &str = "versions";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{OrderedBy, Version};

    const START: crate::clock::Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    #[test]
    fn versions_are_beside_the_record_and_a_state_without_them_is_one_of_a_former_writer() {
        let mut auth = Auth::api_key("p", "k").with_id("a");
        auth.model_states.entry("m".into()).or_default().status = Status::Error;
        auth.raise_model("m", START);
        auth.raise_outage(START);
        let read = |state: Object| {
            let mut read = from_credential(credential(&auth)).unwrap();
            add_state(&mut read, state).unwrap();
            read
        };
        let whole = read(state(&auth));
        assert_eq!(whole.versions, auth.versions);
        assert_eq!(whole.model_states, auth.model_states);
        assert!(!to_json(&auth).contains_key(VERSIONS));
        let mut former = state(&auth);
        former.remove(VERSIONS);
        let former = read(former);
        assert_eq!(former.ordered_by, OrderedBy::Change);
        assert_eq!(former.model_states["m"].version, Version::default());
        let mut oldest = state(&auth);
        oldest.remove(VERSIONS);
        oldest.remove(RECOVERED);
        assert_eq!(read(oldest).ordered_by, OrderedBy::Use);
    }
}
