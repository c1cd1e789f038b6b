//! What is said of each credential: the shape of `--json`, and what the tables are made of.

use std::cmp::Reverse;

use credpool::{
    AccountKind, Auth, Availability, CooldownSource, CredentialReport, Error, Expiry, Timestamp,
};
use serde::Serialize;
use serde_json::Value;

use crate::advice::{Action, Advice, kind_of, name_of, state_of};
use crate::moment::{exact, until};

/// A credential and its state over all models that it is known for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// Whose login it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    pub(crate) kind: &'static str,
    /// Of what is worst among its models.
    #[serde(flatten)]
    pub(crate) state: State,
    /// How many models it can serve now: `all`, `some` or `none`.
    pub(crate) serves: Serves,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_ends_at: Option<String>,
    pub(crate) models: Vec<ModelState>,
}

/// A credential's state for a model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelState {
    /// `*`: every other one. Empty: calls without one.
    pub(crate) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent_as: Option<String>,
    #[serde(flatten)]
    pub(crate) state: State,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    #[serde(rename = "state")]
    pub(crate) name: &'static str,
    pub(crate) ready: bool,
    pub(crate) action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) what_to_do: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<&'static str>,
    /// Where the end is from: `header`, `body`, `guess`, `operator` or `restored`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<&'static str>,
    pub(crate) failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Problem>,
    /// Why, for people.
    #[serde(skip)]
    pub(crate) why: String,
    #[serde(skip)]
    pub(crate) ends: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) advice: Advice,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    pub(crate) code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_status: Option<u16>,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Serves {
    All,
    Some,
    None,
}

impl Credential {
    /// From its record and the reports about it, of which there is one at least.
    pub(crate) fn of(
        auth: &Auth,
        reports: &[CredentialReport],
        login_has_ended: bool,
        now: Timestamp,
    ) -> Option<Self> {
        let served = |report: &&CredentialReport| report.availability != Availability::NotServed;
        let models: Vec<_> = reports
            .iter()
            .filter(served)
            .map(|report| ModelState::of(report, auth, login_has_ended, now))
            .collect();
        let worst = models.iter().max_by_key(|model| model.state.weight())?;
        let ready = models.iter().filter(|model| model.state.ready).count();
        let account = auth.account_info();
        let account = account.filter(|account| account.kind == AccountKind::OAuth);
        Some(Self {
            id: auth.id.clone(),
            provider: auth.provider.clone(),
            label: Some(auth.label.clone()).filter(|label| !label.is_empty()),
            account: account.map(|account| account.text.expose().to_owned()),
            kind: kind_of(auth),
            state: worst.state.clone(),
            serves: match ready {
                0 => Serves::None,
                _ if ready == models.len() => Serves::All,
                _ => Serves::Some,
            },
            token_ends_at: match auth.expiration_time() {
                Expiry::At(end) => Some(exact(end)),
                _ => None,
            },
            models,
        })
    }

    /// The models that it cannot serve now.
    pub(crate) fn unserved(&self) -> impl Iterator<Item = &str> {
        let unserved = self.models.iter().filter(|model| !model.state.ready);
        unserved.map(|model| shown_model(&model.model))
    }

    /// What it is listed by: what needs a person, then what returns by itself, the soonest first, then the others.
    pub(crate) fn urgency(&self) -> impl Ord + use<> {
        let State {
            action,
            ready,
            ends,
            ..
        } = self.state;
        (Reverse((action, !ready)), ends, self.id.clone())
    }

    pub(crate) fn is_well(&self) -> bool {
        self.state.action == Action::None && self.serves == Serves::All
    }
}

impl ModelState {
    pub(crate) fn of(
        report: &CredentialReport,
        auth: &Auth,
        login_has_ended: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            model: report.model.to_string(),
            sent_as: report.sent_as.as_deref().map(str::to_owned),
            state: State::of(report, auth, login_has_ended, now),
        }
    }
}

impl State {
    fn of(report: &CredentialReport, auth: &Auth, login_has_ended: bool, now: Timestamp) -> Self {
        let ready = matches!(
            report.availability,
            Availability::Ready | Availability::Probe
        );
        let advice = Advice::of(report, auth, login_has_ended);
        let error = report.error.as_ref().filter(|_| !ready);
        let text = Some(advice.text).filter(|text| !text.is_empty());
        let ends = report.until.filter(|end| *end > now && !ready);
        Self {
            name: state_of(report, auth, login_has_ended),
            ready,
            action: advice.action,
            what_to_do: text.map(|text| named(text, &auth.provider, &auth.id)),
            fault: report.fault.map(credpool::FailureKind::as_str),
            source: report.origin.map(CooldownSource::as_str),
            failures: report.failures,
            until: ends.map(exact),
            remaining_seconds: ends.map(|end| until(now, end).as_secs()),
            probe_at: report.probe_at.map(exact),
            error: error.map(|error| Problem {
                code: error.code().as_str().to_owned(),
                http_status: error.http_status(),
                message: error.message().to_owned(),
            }),
            why: why(report, ready, login_has_ended),
            ends,
            advice,
        }
    }

    /// How much it counts beside other states.
    fn weight(&self) -> (Action, bool, Option<Timestamp>) {
        (self.action, !self.ready, self.ends)
    }
}

/// Stands for every model that a credential was not asked for yet.
pub(crate) const ANY_OTHER: &str = "*";
/// Stands for calls without a model.
pub(crate) const NO_MODEL: &str = "";

/// The name of a model for people.
pub(crate) fn shown_model(model: &str) -> &str {
    match model {
        ANY_OTHER => "other models",
        NO_MODEL => "without a model",
        name => name,
    }
}

/// A sentence of advice with the credential's own names in it.
pub(crate) fn named(text: &str, provider: &str, id: &str) -> String {
    text.replace("PROVIDER", provider).replace("ID", id)
}

fn why(report: &CredentialReport, ready: bool, login_has_ended: bool) -> String {
    let known = match report.availability {
        _ if ready && login_has_ended => "the login has ended; its last token still serves",
        Availability::Probe => "returns; the next call tries it",
        Availability::Pending => "no login yet",
        Availability::Disabled => "by an operator",
        _ => "",
    };
    if ready || !known.is_empty() {
        return known.to_owned();
    }
    if report.origin == Some(CooldownSource::Operator) {
        return "set by an operator".to_owned();
    }
    let fault = report.fault.map(name_of);
    let message = report.error.as_ref().map(said);
    match (fault, message) {
        (Some(fault), Some(message)) => format!("{fault}: {message}"),
        (Some(fault), None) => fault.to_owned(),
        (None, Some(message)) => message,
        (None, None) => String::new(),
    }
}

/// What an error says, for people: of a vendor's JSON the message alone.
pub(crate) fn said(error: &Error) -> String {
    let message = error.message();
    let body = message.find('{').map(|at| &message[at..]);
    let json = body.and_then(|body| serde_json::from_str::<Value>(body).ok());
    let places = ["/error/message", "/message", "/error", "/detail"];
    let mut texts = json
        .iter()
        .flat_map(|json| places.iter().filter_map(|place| json.pointer(place)));
    match texts.find_map(Value::as_str) {
        Some(text) => match error.http_status() {
            Some(status) => format!("{text} (HTTP {status})"),
            None => text.to_owned(),
        },
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_vendors_answer_the_message_is_said() {
        let said = |status, body: &str| said(&Error::upstream(status, body));
        for body in [
            r#"{"error":{"message":"No credit","type":"billing"}}"#,
            r#"{"message":"No credit"}"#,
            r#"{"error":"No credit"}"#,
        ] {
            assert_eq!(said(402, body), "No credit (HTTP 402)");
        }
        assert_eq!(said(502, "bad: gateway"), "HTTP 502: bad: gateway");
        assert_eq!(said(500, r#"{"error":{"#), r#"HTTP 500: {"error":{"#);
        assert_eq!(said(500, ""), "HTTP 500");
    }
}
