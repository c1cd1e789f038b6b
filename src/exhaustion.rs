//! [`Exhaustion`], who is out and why when nobody can serve, and [`Standing`], the same of one credential.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::fault::{Fault, Origin};

/// How a credential stands for a model: from [`Manager::explain`](crate::Manager::explain), and in an [`Exhaustion`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// The credential.
    pub auth_id: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// Whether it would be asked now.
    pub availability: Availability,
    /// What its last failures were, where it is out or has just been.
    pub fault: Option<Fault>,
    /// Who said how long that lasts.
    pub origin: Option<Origin>,
    /// How many of them there were in a row.
    pub failures: u32,
    /// When it returns, if it is out.
    pub until: Option<Timestamp>,
    /// When one request may try before that.
    pub probe_at: Option<Timestamp>,
    /// The last failure, as its record has it.
    pub error: Option<Error>,
}

/// Whether a credential would be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Availability {
    /// Yes.
    Ready,
    /// Yes, by one request that goes first, to see whether it serves again.
    Probe,
    /// That request is under way.
    Probing,
    /// No: as many requests are under way with it, or were in the last minute, as its limits allow.
    Busy,
    /// No, for a while.
    Cooling,
    /// No: its access token has ended, or there is none yet, and a refresh has to bring another one. A call for which no other credential is
    /// ready begins it, and waits for it.
    Refreshing,
    /// No, until the operator says so.
    Disabled,
}

/// Why nobody can serve a call: attached to its error, see [`Error::exhaustion`].
///
/// ```
/// use credpool::{Advice, Auth, Error, FailurePolicy, Manager, Options, Outcome, Request};
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
/// assert_eq!(exhaustion.advice, Advice::Wait);
/// assert_eq!(&*exhaustion.standings[0].auth_id, "team-a");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exhaustion {
    /// The credentials that could have served, those that return soonest first: 64 of each provider at most.
    pub standings: Vec<Standing>,
    /// How many more there are.
    pub omitted: usize,
    /// The earliest moment at which one returns.
    pub earliest: Option<Timestamp>,
    /// Whether time heals it.
    pub advice: Advice,
}

/// What to do when nobody can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Wait: a credential returns by itself.
    Wait,
    /// Do something: log in again, pay, allow, enable or add a credential. Waiting alone does not help.
    Act,
}

impl Exhaustion {
    /// What is out for what, over all credentials: the faults and how many there are of each.
    pub(crate) fn status(faults: &[(Fault, usize)]) -> Option<u16> {
        let all = |is: fn(Fault) -> bool| {
            !faults.is_empty() && faults.iter().all(|(fault, _)| is(*fault))
        };
        if faults.is_empty() {
            None
        } else if all(|fault| matches!(fault, Fault::RateLimited | Fault::Quota)) {
            Some(429)
        } else if all(|fault| fault == Fault::Unauthorized) {
            Some(401)
        } else if all(|fault| fault == Fault::Billing) {
            Some(402)
        } else if all(|fault| fault == Fault::Forbidden) {
            Some(403)
        } else if all(|fault| fault == Fault::NotFound) {
            Some(404)
        } else {
            Some(503)
        }
    }

    /// Whether any of the faults passes by itself.
    pub(crate) fn advice(faults: &[(Fault, usize)]) -> Advice {
        let heals = |fault: Fault| {
            !matches!(
                fault,
                Fault::Unauthorized | Fault::Billing | Fault::Forbidden | Fault::Misconfigured
            )
        };
        if faults.iter().any(|(fault, _)| heals(*fault)) {
            Advice::Wait
        } else {
            Advice::Act
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Probe => "ready for one request",
            Self::Probing => "being tried by another request",
            Self::Busy => "at its limits",
            Self::Cooling => "out",
            Self::Refreshing => "waiting for a new token",
            Self::Disabled => "disabled",
        })
    }
}

/// `team-a: out until 2025-01-01 10:02:00 +00 (rate_limited, said by header): HTTP 429`
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.auth_id, self.availability)?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if let Some((fault, origin)) = self.fault.zip(self.origin) {
            write!(f, " ({fault}, said by {origin})")?;
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
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
    fn the_status_says_what_all_of_them_say() {
        use Fault::*;
        for (faults, status, advice) in [
            (&[RateLimited][..], Some(429), Advice::Wait),
            (&[RateLimited, Quota], Some(429), Advice::Wait),
            (&[Quota, Unauthorized], Some(503), Advice::Wait),
            (&[Transient, Overloaded], Some(503), Advice::Wait),
            (&[Unauthorized], Some(401), Advice::Act),
            (&[Billing], Some(402), Advice::Act),
            (&[Forbidden], Some(403), Advice::Act),
            (&[NotFound], Some(404), Advice::Wait),
            (&[Unauthorized, Billing], Some(503), Advice::Act),
            (&[], None, Advice::Act),
        ] {
            let counted: Vec<_> = faults.iter().map(|fault| (*fault, 1)).collect();
            assert_eq!(Exhaustion::status(&counted), status, "{faults:?}");
            assert_eq!(Exhaustion::advice(&counted), advice, "{faults:?}");
        }
    }
}
