//! [`Verdict`]: failure kind, scope, cooldown, failover and refresh, as the policy decides for one error.

use std::borrow::Cow;

use super::Cooldown;
use crate::failure_kind::FailureKind;

/// What one error means: whose fault it is, who is out for how long, and how the call goes on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// What kind of fault it is.
    pub fault: FailureKind,
    /// Who is to blame, and so who is out.
    pub scope: Scope,
    /// For how long.
    pub cooldown: Cooldown,
    /// The quota is used up until then.
    pub quota: bool,
    /// The call goes on with the next credential.
    pub failover: bool,
    /// The token may be stale: refresh it once and try the same credential again, before anything else.
    pub refresh: bool,
    /// The record's status message, where the error is about the credential itself.
    pub message: Option<Cow<'static, str>>,
}

/// Who is to blame for an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Nobody.
    Nobody,
    /// The request: it is returned, and nobody is out.
    Request,
    /// The credential, for this model.
    #[default]
    Model,
    /// The credential, for every model.
    Credential,
    /// The provider: the credential is out for this model, and the call does not walk through the others.
    Provider,
}

impl Verdict {
    /// What an error means that no rule knows: the credential is marked, not blocked, and the call goes on with the next.
    pub(crate) fn unknown() -> Self {
        Self {
            fault: FailureKind::Unknown,
            scope: Scope::Model,
            cooldown: Cooldown::Off,
            quota: false,
            failover: true,
            refresh: false,
            message: None,
        }
    }
}
