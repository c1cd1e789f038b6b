//! What is wrong with a credential, in a word, and what to do about it.

use credpool::{Auth, Availability, CooldownSource, CredentialReport, FailureKind};
use serde::Serialize;

use crate::output::Tone;

/// Whether a person has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    None,
    Wait,
    Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) action: Action,
    /// A sentence in which `ID` stands for the credential; empty where there is nothing to do.
    pub(crate) text: &'static str,
}

const fn wait(text: &'static str) -> Advice {
    let action = Action::Wait;
    Advice { action, text }
}

const fn act(text: &'static str) -> Advice {
    let action = Action::Act;
    Advice { action, text }
}

impl Action {
    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Act => Tone::Bad,
            Self::Wait => Tone::Waiting,
            Self::None => Tone::Plain,
        }
    }
}

impl Advice {
    pub(crate) const NONE: Self = Self {
        action: Action::None,
        text: "",
    };

    /// For a credential's report about a model. Where its login has ended a person has to log in, although the last token may still serve.
    pub(crate) fn of(report: &CredentialReport, auth: &Auth, login_has_ended: bool) -> Self {
        match report.availability {
            Availability::Ready | Availability::Probe | Availability::Refreshing
                if login_has_ended =>
            {
                act(LOG_IN)
            }
            Availability::Refreshing | Availability::Misconfigured if auth.is_sealed() => {
                act("name the keys of the store to see more: `--seal-key-file FILE`")
            }
            Availability::Cooling if report.origin == Some(CooldownSource::Operator) => {
                wait("wait, an operator wants it so; `credpool reset ID` ends it")
            }
            Availability::Cooling => Self::of_fault(report.fault.unwrap_or_default(), auth),
            Availability::Refreshing if auth.attributes.get("held_by").is_some() => {
                act("run the program that owns the login once: it alone renews the token")
            }
            Availability::Refreshing => wait(
                "wait for the next call, which renews the token; `credpool refresh ID` does it now",
            ),
            Availability::Pending => act("log in for the first time: `credpool login ID`"),
            Availability::Misconfigured => act("correct the setting: `credpool show ID` names it"),
            Availability::Disabled => Self {
                action: Action::None,
                text: "an operator wants it so; `credpool enable ID` ends it",
            },
            Availability::Probing => wait("wait, a program is trying it just now"),
            Availability::Busy => wait("wait, it is at its limits"),
            _ => Self::NONE,
        }
    }

    /// For a kind of failure, be it a cooldown's or a vendor's answer just now.
    pub(crate) fn of_fault(fault: FailureKind, auth: &Auth) -> Self {
        match fault {
            FailureKind::Unauthorized if is_key(auth) => {
                act("make a new key at the vendor: `credpool add PROVIDER --id ID --replace`")
            }
            FailureKind::Unauthorized | FailureKind::TokenEnded => {
                act("refresh it, `credpool refresh ID`, or log in again, `credpool login ID`")
            }
            FailureKind::Billing => act("pay at the vendor, then `credpool reset ID`"),
            FailureKind::Forbidden => act("allow it at the vendor, then `credpool reset ID`"),
            FailureKind::NotFound => {
                act("correct the model's name, or the address: `credpool show ID`")
            }
            FailureKind::Misconfigured => act("correct the setting: `credpool show ID` names it"),
            FailureKind::Quota => {
                wait("wait for the quota's new period, or raise it and `credpool reset ID`")
            }
            FailureKind::RateLimited => wait("wait, the limit ends by itself"),
            FailureKind::Transient | FailureKind::Overloaded => {
                wait("wait, the vendor fails and not the credential")
            }
            _ => wait("wait for the next try; `credpool check ID` asks the vendor now"),
        }
    }
}

const LOG_IN: &str = "log in again: `credpool login ID`";

/// A kind of failure in a few words.
pub(crate) fn name_of(fault: FailureKind) -> &'static str {
    match fault {
        FailureKind::BadRequest => "bad request",
        FailureKind::Unauthorized => "refused",
        FailureKind::Billing => "no credit",
        FailureKind::Forbidden => "not allowed",
        FailureKind::NotFound => "no such model",
        FailureKind::RateLimited => "rate limited",
        FailureKind::Quota => "quota used up",
        FailureKind::Transient => "vendor failed",
        FailureKind::Overloaded => "vendor overloaded",
        FailureKind::Cancelled => "cancelled",
        FailureKind::TokenEnded => "token ended",
        FailureKind::Misconfigured => "wrong setting",
        _ => "failed",
    }
}

/// The state in a word, for people and for programs.
pub(crate) fn state_of(
    report: &CredentialReport,
    auth: &Auth,
    login_has_ended: bool,
) -> &'static str {
    match report.availability {
        Availability::Refreshing | Availability::Misconfigured if auth.is_sealed() => "sealed",
        Availability::Ready | Availability::Probe | Availability::Refreshing if login_has_ended => {
            "needs-login"
        }
        Availability::Ready => "ready",
        Availability::Probe => "probe",
        Availability::Probing => "probing",
        Availability::Busy => "busy",
        Availability::Cooling => "cooling",
        Availability::Refreshing => "refreshing",
        Availability::Pending => "pending",
        Availability::Misconfigured => "misconfigured",
        Availability::NotServed => "not-served",
        Availability::Disabled => "disabled",
        _ => "unknown",
    }
}

/// What kind of credential it is.
pub(crate) fn kind_of(auth: &Auth) -> &'static str {
    let metadata = |name: &str| {
        let metadata = auth.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.get(name).is_some())
    };
    if auth.is_sealed() {
        "sealed"
    } else if auth.attributes.get("held_by").is_some() {
        "held login"
    } else if is_key(auth) {
        "key"
    } else if metadata("refresh_token") || metadata("token") || metadata("Token") {
        "login"
    } else if metadata("private_key") || metadata("service_account") {
        "service account"
    } else if metadata("access_token") {
        "token"
    } else if metadata("grant_type") || metadata("exchange") {
        "workload"
    } else {
        "other"
    }
}

fn is_key(auth: &Auth) -> bool {
    let mut names = auth.attributes.iter().map(|(name, _)| name);
    names.any(|name| name == "api_key" || name.starts_with("header:"))
}
