//! `show`: all that is known of credentials, but for their secrets.

use credpool::Auth;
use serde::Serialize;

use super::list::{returns, tone};
use crate::args::Ids;
use crate::failure::{Exit, Failure};
use crate::moment::exact;
use crate::output::{Output, Tone};
use crate::pool::Pool;
use crate::report::{Credential, State, shown_model};
use crate::settings;
use crate::store::{IfMissing, Place};
use crate::text::{clean, wrapped};

/// A credential with its settings and its history.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    credential: Credential,
    /// Values that may be secret are `***`.
    settings: std::collections::BTreeMap<String, String>,
    /// Names of what else the record holds, tokens among it.
    metadata: Vec<String>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refreshed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_refresh_after: Option<String>,
}

impl Shown {
    fn of(credential: Credential, auth: &Auth) -> Self {
        let metadata = auth.metadata.iter().flat_map(credpool::Metadata::iter);
        Self {
            credential,
            settings: settings::shown(auth).into_iter().collect(),
            metadata: metadata.map(|(name, _)| name.to_owned()).collect(),
            generation: auth.generation(),
            file: auth.file_name.clone(),
            created_at: auth.created_at.map(exact),
            updated_at: auth.updated_at.map(exact),
            last_refreshed_at: auth.last_refreshed_at.map(exact),
            next_refresh_after: auth.next_refresh_after.map(exact),
        }
    }

    fn say(&self, output: &Output) -> Result<(), Failure> {
        let credential = &self.credential;
        output.line(&output.paint(Tone::Heading, &clean(&credential.id)))?;
        let field = |name: &str, value: &str| {
            if value.is_empty() {
                return Ok(());
            }
            output.line(&format!("  {name:<16}{}", clean(value)))
        };
        let optional = |value: &Option<String>| value.clone().unwrap_or_default();
        field("provider", &credential.provider)?;
        field("label", &optional(&credential.label))?;
        field("account", &optional(&credential.account))?;
        field("kind", credential.kind)?;
        field("token ends", &optional(&credential.token_ends_at))?;
        field("refreshed", &optional(&self.last_refreshed_at))?;
        field("next refresh", &optional(&self.next_refresh_after))?;
        field("created", &optional(&self.created_at))?;
        field("changed", &optional(&self.updated_at))?;
        field("file", &optional(&self.file))?;
        field("holds", &self.metadata.join(", "))?;
        for (name, value) in &self.settings {
            field(name, value)?;
        }
        for model in &credential.models {
            let name = match credential.models.as_slice() {
                [_] => "state",
                _ => shown_model(&model.model),
            };
            say_state(name, &model.state, output)?;
        }
        Ok(())
    }
}

/// A state in full: until when, why, what to do.
pub(super) fn say_state(name: &str, state: &State, output: &Output) -> Result<(), Failure> {
    let returns = returns(state);
    let when = if returns.is_empty() {
        String::new()
    } else {
        format!(", returns {returns}")
    };
    let line = format!("  {name:<16}{}{when}", state.name);
    output.line(&output.paint(tone(state), &clean(&line)))?;
    let width = output.width().min(100);
    let source = match state.source {
        Some("header") => " (the vendor says until when)",
        Some("body") => " (the vendor's answer says until when)",
        Some("guess") => " (the end is an estimate)",
        _ => "",
    };
    if !state.why.is_empty() {
        for line in wrapped(&format!("why: {}{source}", state.why), width) {
            output.line(&format!("  {line}"))?;
        }
    }
    if let Some(what) = &state.what_to_do {
        for line in wrapped(&format!("what to do: {what}"), width) {
            output.line(&format!("  {line}"))?;
        }
    }
    Ok(())
}

pub(super) fn run(place: &Place, ids: &Ids, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let pool = Pool::look(&*opened.store())?;
    let mut records = Vec::new();
    for id in &ids.ids {
        records.push(pool.record(id)?);
    }
    let reported = pool.reported(&records);
    let shown: Vec<Shown> = reported
        .into_iter()
        .zip(&records)
        .map(|(credential, auth)| Shown::of(credential, auth))
        .collect();
    if output.json {
        output.document(&serde_json::json!({ "store": opened.name, "credentials": shown }))?;
        return Ok(Exit::Well);
    }
    for (place, shown) in shown.iter().enumerate() {
        if place > 0 {
            output.line("")?;
        }
        shown.say(output)?;
    }
    Ok(Exit::Well)
}
