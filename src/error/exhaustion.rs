//! [`Exhaustion`], the report when no credential is available, and [`CredentialReport`], its line for one credential.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::failure_kind::{CooldownSource, FailureKind};

/// A credential's availability for a model: from [`Manager::explain`](crate::Manager::explain), and in an [`Exhaustion`].
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Auth, CooldownSource, Manager};
///
/// let manager = Manager::builder().build()?;
/// let auth = manager.register(Auth::api_key("openai", "sk-1").with_id("a"))?;
/// manager.cool_down(&auth.id, None, Duration::from_secs(60))?;
/// let report = &manager.explain("openai", "gpt-5")[0];
/// assert_eq!((&*report.auth_id, report.origin), ("a", Some(CooldownSource::Operator)));
/// assert!(report.until.is_some());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CredentialReport {
    /// The credential.
    pub auth_id: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// The model that it is reported for, as it is asked for; empty: calls without one.
    pub model: Arc<str>,
    /// The vendor's name of that model, where the credential has it as an alias: cooldowns and limits are of this one.
    pub sent_as: Option<Arc<str>>,
    /// Whether it would be selected now.
    pub availability: Availability,
    /// What its last failures were, where it is unavailable or has just been.
    pub fault: Option<FailureKind>,
    /// Where the length of the cooldown comes from.
    pub origin: Option<CooldownSource>,
    /// How many failures there were in a row.
    pub failures: u32,
    /// When it returns, if it is unavailable.
    pub until: Option<Timestamp>,
    /// How long that is from the time of the report.
    pub remaining: Option<Duration>,
    /// When one request may try before that.
    pub probe_at: Option<Timestamp>,
    /// The last failure, as its record has it.
    pub error: Option<Error>,
}

/// Whether a credential would be selected.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Auth, Availability, Manager};
///
/// let manager = Manager::builder().build()?;
/// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
/// assert_eq!(manager.explain("openai", "gpt-5")[0].availability, Availability::Ready);
/// manager.cool_down(&auth.id, None, Duration::from_secs(60))?;
/// assert_eq!(manager.explain("openai", "gpt-5")[0].availability, Availability::Cooling);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "circuit breaker")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Availability {
    /// Yes.
    Ready,
    /// Yes, but only by a few probes, which find out whether it serves again: see [`Probes`](crate::Probes).
    Probe,
    /// No: as many probes as may be are under way.
    Probing,
    /// No: as many requests are under way with it, or were in the last minute, as its limits allow.
    Busy,
    /// No, for a while.
    Cooling,
    /// No: its access token has ended, or there is none yet, and a refresh has to bring another one. A call for which no other credential
    /// is ready begins it, and waits for it.
    Refreshing,
    /// No: it waits for something outside, and has neither tokens nor a key.
    Pending,
    /// No: its configuration is invalid, and it is unavailable until its record changes.
    Misconfigured,
    /// No: its list of models ([`Auth::with_models`](crate::Auth::with_models)) does not have this one.
    NotServed,
    /// No, until the operator says so.
    Disabled,
}

/// Why no credential can serve a call: attached to the call's error, see [`Error::exhaustion`].
///
/// ```
/// use credpool::{Remedy, Auth, Error, FailurePolicy, Manager, Options, Outcome, Request};
///
/// let manager = Manager::builder().policy(FailurePolicy::default().without_waiting()).build()?;
/// # manager.register_executor(credpool::provider::OpenAi::new());
/// manager.register(Auth::api_key("openai", "sk-1").with_id("team-a"))?;
/// let limited = Error::upstream(429, "").with_retry_after(std::time::Duration::from_secs(120));
/// manager.mark_result(&Outcome::failure("team-a", "openai", "gpt-5", limited));
///
/// let error = manager.execute(["openai"], &Request::new("gpt-5", "{}"), &Options::new()).unwrap_err();
/// assert_eq!(error.http_status(), Some(429));
/// let exhaustion = error.exhaustion().unwrap();
/// assert_eq!(exhaustion.advice, Remedy::Wait);
/// assert_eq!(&*exhaustion.standings[0].auth_id, "team-a");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exhaustion {
    /// The credentials that could have served, those that return soonest first: 64 of each provider at most.
    pub standings: Vec<CredentialReport>,
    /// How many more there are.
    pub omitted: usize,
    /// The earliest moment at which one returns.
    pub earliest: Option<Timestamp>,
    /// Whether time heals it.
    pub advice: Remedy,
}

/// What to do when no credential can serve.
///
/// ```
/// use credpool::{Error, Remedy};
///
/// /// What to tell a person.
/// fn hint(error: &Error) -> &'static str {
///     match error.exhaustion().map(|exhaustion| exhaustion.advice) {
///         Some(Remedy::Wait) => "try again later",
///         Some(Remedy::Act) => "a credential needs attention",
///         _ => "the call failed",
///     }
/// }
/// # assert_eq!(hint(&Error::upstream(400, "bad")), "the call failed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Wait: a credential returns by itself.
    Wait,
    /// Do something: log in again, pay, allow, enable or add a credential. Waiting alone does not help.
    Act,
}

impl Exhaustion {
    /// The HTTP status for the failure kinds of all unavailable credentials, each with the number of credentials.
    pub(crate) fn status(faults: &[(FailureKind, usize)]) -> Option<u16> {
        let all = |is: fn(FailureKind) -> bool| {
            !faults.is_empty() && faults.iter().all(|(fault, _)| is(*fault))
        };
        if faults.is_empty() {
            None
        } else if all(|fault| matches!(fault, FailureKind::RateLimited | FailureKind::Quota)) {
            Some(429)
        } else if all(|fault| fault == FailureKind::Unauthorized) {
            Some(401)
        } else if all(|fault| fault == FailureKind::Billing) {
            Some(402)
        } else if all(|fault| fault == FailureKind::Forbidden) {
            Some(403)
        } else if all(|fault| fault == FailureKind::NotFound) {
            Some(404)
        } else {
            Some(503)
        }
    }

    /// Whether any of the faults passes by itself.
    pub(crate) fn advice(faults: &[(FailureKind, usize)]) -> Remedy {
        let heals = |fault: FailureKind| {
            !matches!(
                fault,
                FailureKind::Unauthorized
                    | FailureKind::Billing
                    | FailureKind::Forbidden
                    | FailureKind::Misconfigured
            )
        };
        if faults.iter().any(|(fault, _)| heals(*fault)) {
            Remedy::Wait
        } else {
            Remedy::Act
        }
    }
}

impl Availability {
    /// All of them.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 10] = [
        Self::Ready,
        Self::Probe,
        Self::Probing,
        Self::Busy,
        Self::Cooling,
        Self::Refreshing,
        Self::Pending,
        Self::Misconfigured,
        Self::NotServed,
        Self::Disabled,
    ];

    /// `not_served`, for example.
    ///
    /// ```
    /// assert_eq!(credpool::Availability::Cooling.as_str(), "cooling");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Probe => "probe",
            Self::Probing => "probing",
            Self::Busy => "busy",
            Self::Cooling => "cooling",
            Self::Refreshing => "refreshing",
            Self::Pending => "pending",
            Self::Misconfigured => "misconfigured",
            Self::NotServed => "not_served",
            Self::Disabled => "disabled",
        }
    }
}

/// By name.
impl Serialize for Availability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Probe => "ready for a probe",
            Self::Probing => "being probed",
            Self::Busy => "at its limits",
            Self::Cooling => "cooling",
            Self::Refreshing => "waiting for a new token",
            Self::Pending => "pending",
            Self::Misconfigured => "misconfigured",
            Self::NotServed => "not serving the model",
            Self::Disabled => "disabled",
        })
    }
}

/// `team-a: cooling for 2m (rate_limited, from a header): HTTP 429`
impl fmt::Display for CredentialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.auth_id, self.availability)?;
        if let Some(model) = &self.sent_as {
            write!(f, " as {model}")?;
        }
        if let Some(remaining) = self.remaining {
            write!(f, " for {}", Short(remaining))?;
        }
        if self.origin == Some(CooldownSource::Operator) {
            f.write_str(" (set by operator)")?;
        } else if let Some((fault, origin)) = self.fault.zip(self.origin) {
            let source = match origin {
                CooldownSource::Header => "from a header",
                CooldownSource::Body => "from the body",
                CooldownSource::Guess => "estimated",
                CooldownSource::Operator => "set by operator",
                CooldownSource::Restored => "restored",
            };
            write!(f, " ({fault}, {source})")?;
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// The two largest units of a time, rounded up: `1m29s`.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            return write!(f, "{}ms", self.0.as_nanos().div_ceil(1_000_000));
        }
        let seconds = self.0.as_nanos().div_ceil(1_000_000_000);
        let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
        let first = units.iter().position(|(_, length)| seconds >= *length);
        let first = first.unwrap_or_default();
        let last = units.get(first + 1).unwrap_or(&units[first]);
        let mut rest = seconds.div_ceil(last.1) * last.1;
        for (unit, length) in &units[first..] {
            if rest >= *length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

/// One line for each credential.
impl fmt::Display for Exhaustion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, standing) in self.standings.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{standing}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_says_for_how_long() {
        let says = |remaining, origin| {
            CredentialReport {
                auth_id: "a".into(),
                provider: "p".into(),
                model: "m".into(),
                sent_as: None,
                availability: Availability::Cooling,
                fault: Some(FailureKind::RateLimited),
                origin: Some(origin),
                failures: 1,
                until: None,
                remaining: Some(Duration::from_millis(remaining)),
                probe_at: None,
                error: None,
            }
            .to_string()
        };
        let by_operator = says(88_400, CooldownSource::Operator);
        assert_eq!(by_operator, "a: cooling for 1m29s (set by operator)");
        for (millis, text) in [
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1s"),
            (59_001, "1m"),
            (120_000, "2m"),
            (3_600_000, "1h"),
            (3_601_000, "1h1m"),
            (86_340_001, "24h"),
            (7 * 86_400_000 + 1, "7d1h"),
        ] {
            let expected = format!("a: cooling for {text} (rate_limited, from a header)");
            assert_eq!(says(millis, CooldownSource::Header), expected);
        }
    }

    #[test]
    fn the_status_says_what_all_of_them_say() {
        use FailureKind::*;
        for (faults, status, advice) in [
            (&[RateLimited][..], Some(429), Remedy::Wait),
            (&[RateLimited, Quota], Some(429), Remedy::Wait),
            (&[Quota, Unauthorized], Some(503), Remedy::Wait),
            (&[Transient, Overloaded], Some(503), Remedy::Wait),
            (&[Unauthorized], Some(401), Remedy::Act),
            (&[Billing], Some(402), Remedy::Act),
            (&[Forbidden], Some(403), Remedy::Act),
            (&[NotFound], Some(404), Remedy::Wait),
            (&[Misconfigured], Some(503), Remedy::Act),
            (&[Unauthorized, Billing], Some(503), Remedy::Act),
            (&[], None, Remedy::Act),
        ] {
            let counted: Vec<_> = faults.iter().map(|fault| (*fault, 1)).collect();
            assert_eq!(Exhaustion::status(&counted), status, "{faults:?}");
            assert_eq!(Exhaustion::advice(&counted), advice, "{faults:?}");
        }
    }
}
