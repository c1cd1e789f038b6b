//! [`FailureKind`], the class of a failure, and [`CooldownSource`], the source of a cooldown's length.

use std::fmt;

use serde::{Serialize, Serializer};

/// Kinds of fault.
///
/// ```
/// use credpool::{Error, FailureKind, FailurePolicy};
///
/// let policy = FailurePolicy::default();
/// let kind = policy.classify(&Error::upstream(429, "slow down")).fault;
/// assert_eq!(kind, FailureKind::RateLimited);
/// assert!(FailureKind::Quota.is_quota() && !kind.is_transient());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// None of those below.
    #[default]
    Unknown,
    /// The request itself is wrong: no other credential would do better.
    BadRequest,
    /// The key or token is not accepted.
    Unauthorized,
    /// The account has no money left or no plan.
    Billing,
    /// The account may not do this.
    Forbidden,
    /// There is no such model, or not for this account.
    NotFound,
    /// Too many requests or tokens in a short time.
    RateLimited,
    /// The quota of a longer time is used up.
    Quota,
    /// The provider or the way to it fails for a while.
    Transient,
    /// The provider has too much to do.
    Overloaded,
    /// The caller cancelled the call: no fault of a credential or a provider.
    Cancelled,
    /// The access token has ended, or there is none yet, and a refresh has to bring another one.
    TokenEnded,
    /// A setting of the credential is wrong, such as its URL. Without a cooldown of its own it lasts until the record changes.
    Misconfigured,
}

/// Where the length of a cooldown comes from.
///
/// ```
/// use credpool::CooldownSource;
///
/// assert_eq!(CooldownSource::Header.as_str(), "header");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CooldownSource {
    /// The server, in a header of its answer.
    Header,
    /// The server, in the body of its answer.
    Body,
    /// An estimate: the policy's own curve.
    #[default]
    Guess,
    /// The operator, by [`Manager::cool_down`](crate::Manager::cool_down).
    Operator,
    /// It was read from the store after a restart.
    Restored,
}

impl FailureKind {
    /// `rate_limited`, for example.
    pub const fn as_str(self) -> &'static str {
        Self::NAMED[self as usize].1
    }

    /// Whether it passes by itself, and soon: trying the same credential again may help.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Transient | Self::Overloaded)
    }

    /// Whether credentials of one account or project may share it: a limit of a rate or of a quota.
    pub(crate) const fn is_shared_limit(self) -> bool {
        matches!(self, Self::RateLimited | Self::Quota)
    }

    /// Whether its end is a prediction, and may come earlier: the account is paid, or a period begins anew.
    pub const fn is_quota(self) -> bool {
        matches!(self, Self::Quota | Self::Billing)
    }

    /// All of them, each at the place of its number.
    pub(crate) const NAMED: [(Self, &str); 13] = [
        (Self::Unknown, "unknown"),
        (Self::BadRequest, "bad_request"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Billing, "billing"),
        (Self::Forbidden, "forbidden"),
        (Self::NotFound, "not_found"),
        (Self::RateLimited, "rate_limited"),
        (Self::Quota, "quota"),
        (Self::Transient, "transient"),
        (Self::Overloaded, "overloaded"),
        (Self::Cancelled, "cancelled"),
        (Self::TokenEnded, "token_ended"),
        (Self::Misconfigured, "misconfigured"),
    ];

    /// Whether it is about the key, the account behind it, or the address that it was sent to: another one says nothing of it.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::Billing
                | Self::Forbidden
                | Self::NotFound
                | Self::Quota
                | Self::RateLimited
        )
    }
}

impl From<&str> for FailureKind {
    /// An unknown text is an unknown fault.
    fn from(text: &str) -> Self {
        let mut named = Self::NAMED.into_iter();
        let found = named.find(|(_, name)| *name == text);
        found.map(|(fault, _)| fault).unwrap_or_default()
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CooldownSource {
    /// `header`, for example.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Guess => "guess",
            Self::Operator => "operator",
            Self::Restored => "restored",
        }
    }
}

/// By name.
impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// By name.
impl Serialize for CooldownSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for CooldownSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_it_was_written() {
        for (fault, name) in FailureKind::NAMED {
            assert_eq!(fault.as_str(), name);
            assert_eq!(FailureKind::from(name), fault);
        }
        assert_eq!(FailureKind::from("novel"), FailureKind::Unknown);
    }
}
