//! [`Verdict`]: failure kind, scope, cooldown, failover and refresh, as the policy decides for one error.

use std::borrow::Cow;

use super::Cooldown;
use crate::failure_kind::FailureKind;

/// What one error means: its failure kind, what is cooled down and for how long, and how the call goes on.
///
/// ```
/// use credpool::{Error, FailureKind, FailurePolicy, Scope};
///
/// let verdict = FailurePolicy::default().classify(&Error::upstream(401, "no such key"));
/// assert_eq!((verdict.fault, verdict.scope), (FailureKind::Unauthorized, Scope::Credential));
/// assert!(verdict.failover);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// What kind of fault it is.
    pub fault: FailureKind,
    /// What the error is blamed on, and so what is cooled down.
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

/// What an error is blamed on.
///
/// ```
/// use credpool::{Error, FailureKind, FailurePolicy, Rule, Scope};
///
/// let full = Rule::named("disk_full").fault(FailureKind::Overloaded).scope(Scope::Provider);
/// let policy = FailurePolicy::default().with_first(full);
/// let error = Error::upstream(500, r#"{"error": {"code": "disk_full"}}"#);
/// assert_eq!(policy.classify(&error).scope, Scope::Provider);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Neither the request nor a credential nor the provider: nothing is cooled down.
    Nobody,
    /// The request: the error is returned, and no credential is cooled down.
    Request,
    /// The credential, for this model.
    #[default]
    Model,
    /// The credential, for every model.
    Credential,
    /// The provider: the credential is cooled down for this model, and the call does not try all the others.
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
