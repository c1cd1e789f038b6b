//! The record's JSON form: Go's names, unset times as the year 1, unknown members kept.
//!
//! Read by hand rather than derived, so that a refused value is named by its member and never quoted: it may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{
    Attributes, Auth, BreakerState, HalfOpen, Metadata, ModelState, OrderedBy, QuotaState,
    SpentTokens, Status, Version, Wiped, expiry,
};
use crate::clock::{Timestamp, UNSET, time_text};
use crate::error::Error;

/// Why a stored record cannot be parsed. It names the member, never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    member: String,
    expected: &'static str,
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wiped::new(to_json(self)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let Value::Object(json) = value else {
            return Err(D::Error::custom("a record is a JSON object"));
        };
        from_json(json).map_err(D::Error::custom)
    }
}

/// The whole record.
pub(crate) fn to_json(auth: &Auth) -> Map<String, Value> {
    let mut json = Metadata::copied(auth.extra.as_ref());
    json.insert("id".into(), auth.id.clone().into());
    json.insert("provider".into(), auth.provider.clone().into());
    put_text(&mut json, "label", &auth.label);
    put_text(&mut json, "proxy_url", auth.proxy_url.expose());
    json.insert("disabled".into(), auth.disabled.into());
    if !auth.attributes.is_empty() {
        let attributes = auth
            .attributes
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<Map<_, _>>();
        json.insert("attributes".into(), attributes.into());
    }
    let metadata = Metadata::copied(auth.metadata.as_ref());
    if !metadata.is_empty() {
        json.insert("metadata".into(), metadata.into());
    }
    if auth.generation > 0 {
        json.insert("generation".into(), auth.generation.into());
    }
    if let Some(spent) = auth.spent.to_json(auth.grant_token()) {
        json.insert(SPENT.into(), spent);
    }
    put_time(&mut json, "created_at", auth.created_at);
    put_time(&mut json, "last_refreshed_at", auth.last_refreshed_at);
    put_time(&mut json, "next_refresh_after", auth.next_refresh_after);
    json.append(&mut state_to_json(auth));
    json
}

/// The part of a record that results change: status, errors, quota, cooldowns. No secret, no configuration.
pub(crate) fn state_to_json(auth: &Auth) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("status".into(), auth.status.as_str().into());
    put_text(&mut json, "status_message", &auth.status_message);
    json.insert("unavailable".into(), auth.unavailable.into());
    json.insert("quota".into(), quota_to_json(&auth.quota).into());
    if let Some(error) = &auth.last_error {
        json.insert("last_error".into(), error.to_json().into());
    }
    put_time(&mut json, "updated_at", auth.updated_at);
    put_time(&mut json, "next_retry_after", auth.next_retry_after);
    if let Some(outage) = auth.outage {
        json.insert(OUTAGE.into(), outage.to_full_json().into());
    }
    put_cause(&mut json, auth.cause);
    if !auth.model_states.is_empty() {
        let states = auth
            .model_states
            .iter()
            .map(|(model, state)| (model.clone(), model_to_json(state).into()))
            .collect::<Map<_, _>>();
        json.insert("model_states".into(), states.into());
    }
    json
}

/// The whole record.
pub(crate) fn from_json(json: Map<String, Value>) -> Result<Auth, Malformed> {
    let mut members = Members::of(json);
    let mut auth = Auth {
        id: members.text("id")?,
        provider: members.text("provider")?,
        label: members.text("label")?,
        disabled: members.flag("disabled")?,
        proxy_url: members.text("proxy_url")?.into(),
        attributes: members.attributes("attributes")?,
        metadata: members.object("metadata")?.map(Metadata::from),
        created_at: members.time("created_at")?,
        last_refreshed_at: members.time("last_refreshed_at")?,
        next_refresh_after: members.time("next_refresh_after")?,
        generation: members.count("generation")?,
        spent: SpentTokens::from_json(members.take(SPENT).as_ref()),
        ordered_by: OrderedBy::Use,
        ..Auth::default()
    };
    read_state(&mut auth, &mut members)?;
    auth.extra = members.rest();
    auth.tell_login_from_rotation();
    Ok(auth)
}

/// Puts a stored state part into `auth`; everything else stays as it is.
pub(crate) fn state_from_json(auth: &mut Auth, json: Map<String, Value>) -> Result<(), Malformed> {
    read_state(auth, &mut Members::of(json))
}

fn read_state(auth: &mut Auth, members: &mut Members) -> Result<(), Malformed> {
    let status = members.status("status")?;
    let status_message = members.text("status_message")?;
    let unavailable = members.flag("unavailable")?;
    let quota = members.quota("quota")?;
    let last_error = members.error("last_error")?;
    let updated_at = members.time("updated_at")?;
    let next_retry_after = members.time("next_retry_after")?;
    let model_states = members.models("model_states")?;
    let outage = BreakerState::from_json(members.nested(OUTAGE)?)?;
    let cause = BreakerState::from_json(members.nested(CAUSE)?)?;
    auth.status = status;
    auth.status_message = status_message;
    auth.unavailable = unavailable;
    auth.quota = quota;
    auth.last_error = last_error;
    auth.updated_at = updated_at;
    auth.next_retry_after = next_retry_after;
    auth.model_states = model_states;
    auth.outage = outage;
    auth.cause = cause;
    Ok(())
}

fn model_to_json(state: &ModelState) -> Map<String, Value> {
    let mut json = Metadata::copied(state.extra.as_ref());
    json.insert("status".into(), state.status.as_str().into());
    put_text(&mut json, "status_message", &state.status_message);
    json.insert("unavailable".into(), state.unavailable.into());
    put_time(&mut json, "next_retry_after", state.next_retry_after);
    if let Some(error) = &state.last_error {
        json.insert("last_error".into(), error.to_json().into());
    }
    json.insert("quota".into(), quota_to_json(&state.quota).into());
    put_time(&mut json, "updated_at", state.updated_at);
    put_cause(&mut json, state.cause);
    json
}

fn put_cause(json: &mut Map<String, Value>, cause: Option<BreakerState>) {
    if let Some(cause) = cause.and_then(BreakerState::to_json) {
        json.insert(CAUSE.into(), cause.into());
    }
}

fn quota_to_json(quota: &QuotaState) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("exceeded".into(), quota.exceeded.into());
    put_text(&mut json, "reason", &quota.reason);
    put_time(&mut json, "next_recover_at", quota.next_recover_at);
    json
}

fn put_text(json: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        json.insert(name.into(), text.into());
    }
}

pub(super) fn put_time(json: &mut Map<String, Value>, name: &str, at: Option<Timestamp>) {
    let text = at.map_or_else(|| UNSET.to_owned(), time_text);
    json.insert(name.into(), text.into());
}

/// The members of an object, taken out one by one.
pub(super) struct Members {
    json: Wiped<Map<String, Value>>,
    path: String,
}

impl Members {
    fn of(json: Map<String, Value>) -> Self {
        Self {
            json: Wiped::new(json),
            path: String::new(),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.json.remove(name).filter(|value| !value.is_null())
    }

    fn malformed(&self, name: &str, expected: &'static str) -> Malformed {
        Malformed {
            member: format!("{}{name}", self.path),
            expected,
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, Malformed> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.malformed(name, "text")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Malformed> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.malformed(name, "true or false")),
        }
    }

    fn integer(&mut self, name: &str) -> Result<i64, Malformed> {
        match self.take(name) {
            None => Ok(0),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| self.malformed(name, "an integer")),
        }
    }

    pub(super) fn count(&mut self, name: &str) -> Result<u64, Malformed> {
        let count = u64::try_from(self.integer(name)?);
        count.map_err(|_| self.malformed(name, "a count"))
    }

    fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(json)) => Ok(Some(json)),
            Some(_) => Err(self.malformed(name, "an object")),
        }
    }

    fn nested(&mut self, name: &str) -> Result<Option<Self>, Malformed> {
        Ok(self.object(name)?.map(|json| Self {
            json: Wiped::new(json),
            path: format!("{}{name}.", self.path),
        }))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Malformed> {
        let text = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(self.malformed(name, "a time in RFC 3339")),
        };
        let at = Some(text.as_str())
            .filter(|text| text.as_bytes().get(10) == Some(&b'T'))
            .and_then(expiry::from_calendar)
            .ok_or_else(|| self.malformed(name, "a time in RFC 3339"))?;
        Ok(Some(at).filter(|at| !expiry::is_zero(*at)))
    }

    fn status(&mut self, name: &str) -> Result<Status, Malformed> {
        Ok(Status::from(self.text(name)?.as_str()))
    }

    fn attributes(&mut self, name: &str) -> Result<Attributes, Malformed> {
        let Some(json) = self.object(name)? else {
            return Ok(Attributes::default());
        };
        json.into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                Value::Null => Ok((key, String::new())),
                _ => Err(self.malformed(name, "an object of texts")),
            })
            .collect()
    }

    fn quota(&mut self, name: &str) -> Result<QuotaState, Malformed> {
        let Some(mut quota) = self.nested(name)? else {
            return Ok(QuotaState::default());
        };
        Ok(QuotaState {
            exceeded: quota.flag("exceeded")?,
            reason: quota.text("reason")?,
            next_recover_at: quota.time("next_recover_at")?,
        })
    }

    fn error(&mut self, name: &str) -> Result<Option<Error>, Malformed> {
        let Some(mut error) = self.nested(name)? else {
            return Ok(None);
        };
        let code = error.text("code")?;
        Ok(Some(Error::from_json(
            &code,
            error.text("message")?,
            error.flag("retryable")?,
            error.integer("http_status")?,
        )))
    }

    fn models(&mut self, name: &str) -> Result<BTreeMap<String, ModelState>, Malformed> {
        let Some(mut models) = self.nested(name)? else {
            return Ok(BTreeMap::new());
        };
        let names: Vec<String> = models.json.keys().cloned().collect();
        let mut states = BTreeMap::new();
        for model in names {
            if let Some(mut state) = models.nested(&model)? {
                states.insert(
                    model,
                    ModelState {
                        status: state.status("status")?,
                        status_message: state.text("status_message")?,
                        unavailable: state.flag("unavailable")?,
                        next_retry_after: state.time("next_retry_after")?,
                        last_error: state.error("last_error")?,
                        quota: state.quota("quota")?,
                        updated_at: state.time("updated_at")?,
                        cause: BreakerState::from_json(state.nested(CAUSE)?)?,
                        half_open: HalfOpen::default(),
                        recovered_at: None,
                        version: Version::default(),
                        extra: state.rest(),
                    },
                );
            }
        }
        Ok(states)
    }

    fn rest(self) -> Option<Metadata> {
        (!self.json.is_empty()).then(|| Metadata::from(self.json.into_inner()))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member `{}` is not {}", self.member, self.expected)
    }
}

/// Why a record, or a model of it, is cooling down; beyond the reference's members.
const CAUSE: &str = "cooldown_cause";
/// Why a record is cooling down for every model.
const OUTAGE: &str = "outage_cause";
/// Digests of tokens that the grant has spent: an older copy of the record that holds one of them is older.
const SPENT: &str = "spent_tokens";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Auth, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn unknown_members_survive() {
        let text = r#"{"id":"a","novel":{"x":1},"model_states":{"m":{"odd":true}}}"#;
        let json = serde_json::to_value(read(text).unwrap()).unwrap();
        assert_eq!(json["novel"]["x"], 1);
        assert_eq!(json["model_states"]["m"]["odd"], true);
    }

    #[test]
    fn a_refused_value_is_named_and_not_quoted() {
        let error = read(r#"{"metadata":"sk-canary"}"#).unwrap_err().to_string();
        assert!(error.contains("metadata"), "{error}");
        assert!(!error.contains("canary"), "{error}");
        let error = read(r#"{"quota":{"exceeded":"sk-canary"}}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("quota.exceeded"), "{error}");
    }
}
