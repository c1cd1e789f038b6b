//! Outage detection: the same error from several credentials counts against the provider or the request.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::failure_kind::FailureKind;
use crate::policy::{OutageDetection, Verdict};

/// The failures of the last seconds, by provider.
#[derive(Debug)]
pub(super) struct OutageDetector {
    settings: Option<OutageDetection>,
    recent: Mutex<HashMap<Arc<str>, Vec<Sighting>>>,
    /// Whether there are any: successes need not look otherwise.
    any: AtomicBool,
}

/// One failure.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) id: Arc<str>,
    pub(super) model: String,
    /// When it was recorded, by the wall clock.
    pub(super) since: Timestamp,
    fingerprint: Fingerprint,
    at: Instant,
}

/// What an error says, without what is another thing each time: words that hold digits, such as a request's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// A failed attempt that may be one of many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) provider: &'a Arc<str>,
    pub(super) id: &'a Arc<str>,
    pub(super) model: &'a str,
    pub(super) error: &'a Error,
    pub(super) verdict: &'a Verdict,
    pub(super) since: Timestamp,
    pub(super) now: Instant,
}

impl OutageDetector {
    pub(super) fn new(settings: Option<OutageDetection>) -> Self {
        Self {
            settings,
            recent: Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    /// Notes a failure. Where the same one came from several credentials of late, all of them: none of them is to blame.
    pub(super) fn note(&self, seen: Seen<'_>) -> Vec<Sighting> {
        let settings = self
            .settings
            .filter(|_| may_be_shared(seen.error, seen.verdict));
        let Some(settings) = settings else {
            return Vec::new();
        };
        let sighting = Sighting {
            id: Arc::clone(seen.id),
            model: seen.model.to_owned(),
            since: seen.since,
            fingerprint: Fingerprint::of(seen.error),
            at: seen.now,
        };
        let mut recent = self.recent.lock();
        self.any.store(true, Ordering::Relaxed);
        let list = recent.entry(Arc::clone(seen.provider)).or_default();
        list.retain(|old| seen.now.saturating_duration_since(old.at) <= settings.within);
        if list.len() >= MOST_SIGHTINGS {
            list.remove(0);
        }
        let fingerprint = sighting.fingerprint;
        list.push(sighting);
        let same = || list.iter().filter(|old| old.fingerprint == fingerprint);
        let ids: HashSet<&str> = same().map(|sighting| &*sighting.id).collect();
        if ids.len() >= settings.credentials {
            same().cloned().collect()
        } else {
            Vec::new()
        }
    }

    /// A credential was served: its earlier failures say nothing about its provider.
    pub(super) fn served(&self, provider: &str, id: &str) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut recent = self.recent.lock();
        if let Some(list) = recent.get_mut(provider) {
            list.retain(|sighting| *sighting.id != *id);
            if list.is_empty() {
                recent.remove(provider);
            }
        }
        self.any.store(!recent.is_empty(), Ordering::Relaxed);
    }
}

/// Never keys, money, limits and quotas: many credentials may share those and still be to blame, each of them.
fn may_be_shared(error: &Error, verdict: &Verdict) -> bool {
    match verdict.fault {
        FailureKind::Unknown => true,
        fault => {
            fault.is_transient()
                && error
                    .http_status()
                    .is_some_and(|status| (500..=599).contains(&status))
        }
    }
}

impl Fingerprint {
    pub(super) fn of(error: &Error) -> Self {
        let mut hasher = DefaultHasher::new();
        error.http_status().hash(&mut hasher);
        error.code().hash(&mut hasher);
        let text = error.body().unwrap_or(error.message());
        let words = text.split(|char: char| !char.is_alphanumeric());
        for word in words
            .filter(|word| !word.is_empty() && !word.chars().any(|char| char.is_ascii_digit()))
            .take(MOST_WORDS)
        {
            word.hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

const MOST_SIGHTINGS: usize = 256;
const MOST_WORDS: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::error::ErrorCode;
    use crate::policy::FailurePolicy;

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    fn note(sightings: &OutageDetector, clock: &ManualClock, id: &str, error: &Error) -> usize {
        let verdict = FailurePolicy::default().classify(error);
        let seen = Seen {
            provider: &"p".into(),
            id: &id.into(),
            model: "m",
            error,
            verdict: &verdict,
            since: clock.now(),
            now: clock.monotonic(),
        };
        sightings.note(seen).len()
    }

    #[test]
    fn the_same_error_from_three_within_ten_seconds_is_nobodys() {
        let (sightings, clock) = (
            OutageDetector::new(Some(OutageDetection::default())),
            ManualClock::at(START),
        );
        let oops = |request: &str| Error::upstream(500, format!("oops, request {request}"));
        assert_eq!(note(&sightings, &clock, "a", &oops("r1")), 0);
        assert_eq!(
            note(&sightings, &clock, "a", &oops("r2")),
            0,
            "the same one"
        );
        clock.advance(Duration::from_secs(5));
        assert_eq!(note(&sightings, &clock, "b", &oops("r3")), 0);
        let other = Error::upstream(500, "something else");
        assert_eq!(note(&sightings, &clock, "c", &other), 0);
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            note(&sightings, &clock, "d", &oops("r4")),
            4,
            "at ten seconds"
        );
        clock.advance(Duration::from_nanos(1));
        assert_eq!(note(&sightings, &clock, "d", &oops("r5")), 0, "after");
    }

    #[test]
    fn what_a_credential_met_before_it_was_served_counts_no_more() {
        let (sightings, clock) = (
            OutageDetector::new(Some(OutageDetection::default())),
            ManualClock::at(START),
        );
        let oops = Error::upstream(500, "oops");
        for id in ["a", "b"] {
            assert_eq!(note(&sightings, &clock, id, &oops), 0);
        }
        sightings.served("p", "a");
        sightings.served("q", "b");
        assert_eq!(note(&sightings, &clock, "c", &oops), 0);
        assert_eq!(note(&sightings, &clock, "a", &oops), 3);
        for id in ["a", "b", "c"] {
            sightings.served("p", id);
        }
        assert!(!sightings.any.load(Ordering::Relaxed));
    }

    #[test]
    fn what_many_credentials_may_be_to_blame_for_is_never_shared() {
        let sightings = OutageDetector::new(Some(OutageDetection::default()));
        let clock = ManualClock::at(START);
        for status in [401, 402, 403, 404, 429] {
            for id in ["a", "b", "c", "d"] {
                let error = Error::upstream(status, "no");
                assert_eq!(note(&sightings, &clock, id, &error), 0, "{status}");
            }
        }
    }

    #[test]
    fn what_says_nothing_of_the_upstream_or_does_not_pass_is_never_shared() {
        let clock = ManualClock::at(START);
        for error in [
            Error::new(ErrorCode::Transport, "connection refused"),
            Error::new(ErrorCode::StreamStalled, "no word for a minute"),
            Error::upstream(408, "too late"),
            Error::upstream(501, "not here"),
        ] {
            let sightings = OutageDetector::new(Some(OutageDetection::default()));
            for id in ["a", "b", "c", "d"] {
                assert_eq!(note(&sightings, &clock, id, &error), 0, "{error}");
            }
        }
    }
}
