use std::borrow::Cow;
use std::fmt;

use super::Cooldown;

/// What one error means: whose fault it is, who is out for how long, and how the call goes on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// What kind of fault it is.
    pub fault: Fault,
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

/// Kinds of fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// None of those below.
    #[default]
    Unknown,
    /// The request itself is wrong: no other credential would do better.
    BadRequest,
    /// The key or token is not accepted.
    Unauthorized,
    /// The account is out of money or has no plan.
    Billing,
    /// The account may not do this.
    Forbidden,
    /// There is no such model, or not for this account.
    NotFound,
    /// Too many requests or tokens in a short time.
    RateLimited,
    /// The quota of a longer time is used up.
    Quota,
    /// The provider or the way to it is out of order for a while.
    Transient,
    /// The provider has too much to do.
    Overloaded,
    /// The caller gave up: nobody's fault.
    Cancelled,
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
            fault: Fault::Unknown,
            scope: Scope::Model,
            cooldown: Cooldown::Off,
            quota: false,
            failover: true,
            refresh: false,
            message: None,
        }
    }
}

impl Fault {
    /// `rate_limited`, for example.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Billing => "billing",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Quota => "quota",
            Self::Transient => "transient",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it passes by itself, and soon: trying the same credential again may help.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Transient | Self::Overloaded)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
