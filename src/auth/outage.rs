//! The open state of a circuit breaker: why a credential or one of its models is excluded, and until when.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::{Timestamp, later};
use crate::failure_kind::{CooldownSource, FailureKind};

use super::json::{Malformed, Members, put_time};
use super::version::bounded;
use super::{Auth, Identity, Version, Versions};

/// What the failures in a row of one model, or of a credential as a whole, were, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerState {
    pub(crate) fault: FailureKind,
    pub(crate) origin: CooldownSource,
    /// Failures in a row; those within one window of a growing cooldown count once.
    pub(crate) failures: u32,
    /// When the last of them came.
    pub(crate) since: Timestamp,
    /// The end of the block that they led to, if they led to one.
    pub(crate) until: Option<Timestamp>,
    /// Until when a server has said to wait, where a cooldown of another kind lasts longer. Never stored.
    pub(crate) told_until: Option<Timestamp>,
    /// When one request may try before that.
    pub(crate) probe_at: Option<Timestamp>,
    /// After the end, few requests are admitted: see [`HalfOpen`](super::HalfOpen).
    pub(crate) half_open: bool,
    /// Which key, headers, address and proxy were refused, where that is what it was.
    pub(crate) refused: Option<Identity>,
    /// Which of the credential's setbacks was the last of them. Never stored.
    pub(crate) setback: u32,
}

impl BreakerState {
    /// Whether the breaker is still open at `now`.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// Whether the operator's cooldown holds at `now`: results do not end it.
    pub(crate) fn is_operators(&self, now: Timestamp) -> bool {
        self.origin == CooldownSource::Operator && self.is_open(now)
    }

    /// What is left of it without the last failure: a row that goes on with the next one. `None` where there were no others.
    pub(crate) fn failures_before(self) -> Option<Self> {
        let failures = self.failures.saturating_sub(1);
        (failures > 0).then_some(Self {
            failures,
            until: None,
            told_until: None,
            probe_at: None,
            half_open: false,
            ..self
        })
    }

    /// What is left of it at `now` where only its told part counts: where a server has said to wait, for less long.
    pub(crate) fn told_rest(self, now: Timestamp) -> Option<Self> {
        let told = self.told_until.filter(|told| *told > now);
        told.filter(|told| self.until > Some(*told))
            .map(|told| Self {
                fault: FailureKind::RateLimited,
                origin: CooldownSource::Header,
                until: Some(told),
                probe_at: None,
                half_open: false,
                refused: None,
                ..self
            })
    }

    /// Whether only a few probes are admitted until one is served.
    pub(crate) fn needs_permit(&self) -> bool {
        self.half_open && self.until.is_some()
    }

    /// Its JSON form. `None` where the reference's record says as much: a cooldown of a fixed length that simply ends.
    pub(super) fn to_json(self) -> Option<Map<String, Value>> {
        let says_more = self.origin != CooldownSource::Guess
            || self.half_open
            || self.probe_at.is_some()
            || self.refused.is_some();
        says_more.then(|| self.to_full_json())
    }

    pub(super) fn to_full_json(self) -> Map<String, Value> {
        let mut json = Map::new();
        json.insert(FAULT.into(), self.fault.as_str().into());
        json.insert(ORIGIN.into(), self.origin.as_str().into());
        json.insert(FAILURES.into(), self.failures.into());
        json.insert(HALF_OPEN.into(), self.half_open.into());
        put_time(&mut json, SINCE, Some(self.since));
        put_time(&mut json, UNTIL, self.until);
        put_time(&mut json, PROBE_AT, self.probe_at);
        if let Some(refused) = self.refused {
            json.insert(REFUSED.into(), refused.to_hex().into());
        }
        json
    }

    pub(super) fn from_json(members: Option<Members>) -> Result<Option<Self>, Malformed> {
        let Some(mut members) = members else {
            return Ok(None);
        };
        let Some(since) = members.time(SINCE)? else {
            return Ok(None);
        };
        let origin = members.text(ORIGIN)?;
        let origins = [
            CooldownSource::Header,
            CooldownSource::Body,
            CooldownSource::Guess,
            CooldownSource::Operator,
        ];
        let known = origins.into_iter().find(|known| known.as_str() == origin);
        let failures = members.count(FAILURES)?;
        Ok(Some(Self {
            fault: FailureKind::from(members.text(FAULT)?.as_str()),
            origin: known.unwrap_or(CooldownSource::Restored),
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            since,
            until: members.time(UNTIL)?,
            told_until: None,
            probe_at: members.time(PROBE_AT)?,
            half_open: members.flag(HALF_OPEN)?,
            refused: Identity::from_hex(&members.text(REFUSED)?),
            setback: 0,
        }))
    }
}

impl Auth {
    /// A stored outage: no cooldown lasts longer from now on than its length, nor than any may, whatever the clock
    /// was that wrote it. What the operator has set may last for longer than any.
    pub(crate) fn restore(&mut self, now: Timestamp) {
        let restore = |version: Version,
                       changed_at,
                       ends: [&mut Option<Timestamp>; 2],
                       cause: &mut Option<BreakerState>| {
            let is_operators = cause.is_some_and(|cause| cause.is_operators(now));
            let latest = if is_operators {
                Timestamp::MAX
            } else {
                later(now, LONGEST)
            };
            let bounded = |end| bounded(version, changed_at, end, now).min(latest);
            for end in ends {
                *end = end.map(bounded);
            }
            let Some(cause) = cause else { return };
            let seen_at = changed_at.max(Some(cause.since));
            cause.until = cause
                .until
                .map(|end| self::bounded(version, seen_at, end, now).min(latest));
            let probe_at = cause
                .probe_at
                .map(|at| self::bounded(Version::default(), Some(cause.since), at, now));
            cause.probe_at = probe_at.min(cause.until);
            if !is_operators {
                cause.origin = CooldownSource::Restored;
            }
            cause.setback = 0;
        };
        let Versions { own, outage, .. } = self.versions;
        let used_at = self.updated_at;
        restore(outage, used_at, [&mut None, &mut None], &mut self.outage);
        let mut visible = self.next_retry_after;
        let mut quota = self.quota.next_recover_at;
        restore(own, used_at, [&mut visible, &mut quota], &mut self.cause);
        // The record shows the ends of its outage and of its models, too.
        let mut latest = visible.max(self.outage.and_then(|outage| outage.until));
        for state in self.model_states.values_mut() {
            let ends = [
                &mut state.next_retry_after,
                &mut state.quota.next_recover_at,
            ];
            restore(state.version, state.updated_at, ends, &mut state.cause);
            latest = latest.max(state.next_retry_after);
        }
        self.next_retry_after = self.next_retry_after.min(latest);
        self.quota.next_recover_at = self.quota.next_recover_at.min(quota.max(latest));
    }
}

/// The longest cooldown that a retry hint may set, and the jitter on top.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600 + 30);
const FAULT: &str = "fault";
const ORIGIN: &str = "origin";
const FAILURES: &str = "failures";
const HALF_OPEN: &str = "half_open";
const SINCE: &str = "since";
const UNTIL: &str = "until";
const PROBE_AT: &str = "probe_at";
const REFUSED: &str = "refused";
