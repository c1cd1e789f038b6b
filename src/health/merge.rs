//! Merges the health that several processes recorded for one credential. Pure.
//!
//! For each model, for an outage of the whole credential and for what the record shows of itself, the last change counts: a
//! failure, or what ended one. Which is the last, its [`Version`] tells, whatever the clocks of the processes say. A success that
//! ended nothing is no change: it says nothing about the failures that another process had recorded before it.
//!
//! A process of a former version of this crate keeps no versions: its changes are ordered by their times, and get a version
//! here.

use std::cmp::Ordering;

use crate::auth::{Auth, ModelState, OrderedBy, Status, Version};
use crate::clock::Timestamp;

use super::healthy::{is_healthy_by_itself, is_healthy_model};
use super::model_states::KEPT_MODELS;
use super::operator::token_renewed;
use super::transition::{clear_if_well, derive, keep_out, show_failure};

/// What came of putting together what is known here and what the store knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Something was new here.
    pub(crate) learned: bool,
    /// Something is new for the store: another process has written over it before it knew.
    pub(crate) ahead: bool,
}

/// When a part last changed.
struct Change {
    version: Version,
    at: Option<Timestamp>,
}

/// What decides which of two changes is the later one.
#[derive(Clone, Copy)]
struct Rule {
    by: OrderedBy,
    now: Timestamp,
}

/// Takes over what the store knows and `auth` does not. No cooldown lasts longer from now on than its length.
pub(crate) fn merge(auth: &mut Auth, stored: &Auth, now: Timestamp) -> Merged {
    let rule = Rule {
        by: stored.ordered_by,
        now,
    };
    let mut stored = stored.clone();
    stored.restore(now);
    let mut merged = Merged::default();
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let without_models = auth.model_states.is_empty() && stored.model_states.is_empty();
    let last_use = auth.updated_at.max(stored.updated_at);
    auth.versions.last = auth.versions.last.max(stored.versions.last);

    let own = [&*auth, &stored].map(|auth| rule.own(auth));
    rule.merge_models(auth, &mut stored, &mut merged);
    rule.merge_outage(auth, &stored, &mut merged);
    let own = if without_models || rule.by == OrderedBy::Version {
        merged.takes(rule, own)
    } else {
        // Models speak for themselves.
        Merged::default().takes(rule, own)
    };
    if own {
        rule.take_own(auth, &stored);
    }
    if !without_models && merged.learned {
        derive(auth, now);
        if !own || rule.by != OrderedBy::Version {
            clear_if_well(auth, now);
        }
        show_failure(auth, now);
    }
    let newest = auth.generation.max(stored.generation);
    let is_older = |version: &Version| version.is_older_than(newest);
    merged.ahead |= token_renewed(auth, is_older, now);
    if merged.learned {
        // What is under way says nothing of it.
        auth.setbacks = auth.setbacks.saturating_add(1);
        auth.learned = auth.setbacks;
    }
    keep_out(auth, now);
    auth.recovered_at = auth.recovered_at.max(stored.recovered_at);
    auth.updated_at = last_use;
    if disabled {
        auth.status = Status::Disabled;
    } else if auth.status == Status::Disabled {
        auth.status = Status::Active;
    }
    match rule.by {
        OrderedBy::Version => {}
        // The store is to have versions again.
        OrderedBy::Change => merged.ahead |= auth.versions.last > 0,
        OrderedBy::Use => merged.ahead = false,
    }
    merged
}

impl Rule {
    fn merge_models(self, auth: &mut Auth, stored: &mut Auth, merged: &mut Merged) {
        // What the other's record has no room for is no news.
        let has_room = stored.model_states.len() < KEPT_MODELS;
        merged.ahead |= has_room
            && auth.model_states.iter().any(|(model, ours)| {
                !stored.model_states.contains_key(model) && self.model(ours).is_some(self)
            });
        for (model, mut theirs) in std::mem::take(&mut stored.model_states) {
            let is_full = auth.model_states.len() >= KEPT_MODELS;
            let ours = auth.model_states.get_mut(&model);
            let their_change = self.model(&theirs);
            let is_news = match &ours {
                Some(ours) => merged.takes(self, [self.model(ours), their_change]),
                None if is_full => continue,
                None => {
                    let is_some = their_change.is_some(self);
                    merged.learned |= is_some;
                    is_some
                }
            };
            if is_news && self.by != OrderedBy::Version {
                let generation = stored.generation;
                auth.versions.raise_state(generation, &mut theirs, self.now);
            }
            match ours {
                Some(ours) if is_news => *ours = theirs,
                Some(ours) if is_healthy_model(ours) => {
                    ours.updated_at = ours.updated_at.max(theirs.updated_at);
                }
                Some(_) => {}
                None => {
                    auth.model_states.insert(model, theirs);
                }
            }
        }
    }

    fn merge_outage(self, auth: &mut Auth, stored: &Auth, merged: &mut Merged) {
        let changes = [&*auth, stored].map(|auth| self.outage(auth));
        if !merged.takes(self, changes) {
            return;
        }
        let ours = auth.outage.filter(|outage| outage.is_operators(self.now));
        let kept = ours.filter(|_| {
            // A failure does not end what the operator has said.
            stored
                .outage
                .is_some_and(|theirs| !theirs.is_operators(self.now))
        });
        auth.outage = kept.or(stored.outage);
        auth.versions.outage = stored.versions.outage;
        if kept.is_some() || self.by != OrderedBy::Version {
            auth.raise_outage(self.now);
        }
    }

    fn take_own(self, auth: &mut Auth, stored: &Auth) {
        auth.cause = stored.cause;
        auth.unavailable = stored.unavailable;
        auth.next_retry_after = stored.next_retry_after;
        auth.quota.clone_from(&stored.quota);
        auth.last_error.clone_from(&stored.last_error);
        auth.status_message.clone_from(&stored.status_message);
        auth.status = stored.status;
        auth.versions.own = stored.versions.own;
        if self.by != OrderedBy::Version {
            auth.raise_own(self.now);
        }
    }

    /// When a model last failed, or came back.
    fn model(self, state: &ModelState) -> Change {
        let healthy = is_healthy_model(state) && self.by != OrderedBy::Use;
        Change {
            version: state.version,
            at: if healthy {
                state.recovered_at
            } else {
                state.updated_at
            },
        }
    }

    fn outage(self, auth: &Auth) -> Change {
        let used_at = auth.updated_at.filter(|_| self.by == OrderedBy::Use);
        let since = auth.outage.map(|outage| outage.since);
        Change {
            version: auth.versions.outage,
            at: since.max(auth.recovered_at).max(used_at),
        }
    }

    fn own(self, auth: &Auth) -> Change {
        let healthy = is_healthy_by_itself(auth) && self.by != OrderedBy::Use;
        Change {
            version: auth.versions.own,
            at: if healthy {
                auth.recovered_at
            } else {
                auth.updated_at
            },
        }
    }
}

impl Change {
    /// Whether the part has changed at all.
    fn is_some(&self, rule: Rule) -> bool {
        match rule.by {
            OrderedBy::Version => self.version.is_some(),
            OrderedBy::Change | OrderedBy::Use => self.at.is_some(),
        }
    }

    fn compare(&self, other: &Self, rule: Rule) -> Ordering {
        match rule.by {
            OrderedBy::Version => self.version.cmp(&other.version),
            OrderedBy::Change | OrderedBy::Use => self.at.cmp(&other.at),
        }
    }
}

impl Merged {
    /// Whether theirs is news here; notes, too, where ours is news there.
    fn takes(&mut self, rule: Rule, [ours, theirs]: [Change; 2]) -> bool {
        let order = theirs.compare(&ours, rule);
        self.learned |= order.is_gt();
        self.ahead |= order.is_lt();
        order.is_gt()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::transition::{Transition, apply};
    use super::*;
    use crate::auth::Versions;
    use crate::clock::later;
    use crate::error::Error;
    use crate::health::operator::reset;
    use crate::health::readiness::{Readiness, readiness};
    use crate::policy::{FailurePolicy, Rule, Scope};

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
    const TOLD: Duration = Duration::from_secs(600);

    fn fail(auth: &mut Auth, status: u16, now: Timestamp) {
        let policy = FailurePolicy::empty()
            .with_rule(Rule::status(429).cooldown(TOLD))
            .with_rule(Rule::status(402).cooldown(TOLD).scope(Scope::Credential))
            .with_rule(Rule::status(401).cooldown(TOLD));
        let error = Error::upstream(status, "no");
        let effect = Transition::Failure {
            error: Some(&error),
            verdict: &policy.classify(&error),
            jitter: 0.0,
            probes: None,
        };
        apply(auth, "m", &effect, now);
    }

    fn at(seconds: i64) -> Timestamp {
        START + time::Duration::seconds(seconds)
    }

    /// As a process of the former version writes it.
    fn without_versions(auth: &Auth) -> Auth {
        let mut auth = auth.clone();
        auth.versions = Versions::default();
        auth.ordered_by = OrderedBy::Change;
        for state in auth.model_states.values_mut() {
            state.version = Version::default();
        }
        auth
    }

    fn is_out(auth: &Auth) -> bool {
        matches!(readiness(auth, "m"), Readiness::Until(..))
    }

    #[test]
    fn a_reset_stays_and_a_cooldown_is_as_long_as_told_whatever_the_clocks_say() {
        let cases = [-300, -2, 0, 2, 300].map(|ahead| [(ahead, 429), (ahead, 402)]);
        for (ahead, status) in cases.into_iter().flatten() {
            let (mut failing, mut resetting) = (Auth::new("p"), Auth::new("p"));
            fail(&mut failing, status, at(ahead));
            assert!(merge(&mut resetting, &failing, at(0)).learned);
            let longest = later(at(0), TOLD);
            assert!(
                matches!(readiness(&resetting, "m"), Readiness::Until(end, _) if end <= longest)
            );
            reset(&mut resetting, None, at(1));
            let stored = resetting.clone();
            assert!(merge(&mut resetting, &failing, at(2)).ahead);
            assert!(!is_out(&resetting));
            assert!(merge(&mut failing, &stored, at(2 + ahead)).learned);
            assert!(!is_out(&failing));
            // Until a newer failure.
            fail(&mut failing, status, at(3 + ahead));
            merge(&mut resetting, &failing, at(3));
            assert!(is_out(&resetting));
        }
    }

    #[test]
    fn a_state_without_versions_is_ordered_by_time_and_gets_versions() {
        let (mut ours, mut former) = (Auth::new("p"), Auth::new("p"));
        fail(&mut former, 429, at(10));
        let merged = merge(&mut ours, &without_versions(&former), at(11));
        assert!(is_out(&ours) && merged.learned && merged.ahead);
        assert!(ours.model_states["m"].version.is_some());
        // As long as the store has no versions, it is to get them; nothing is learned twice.
        let again = merge(&mut ours, &without_versions(&former), at(12));
        assert_eq!((again.learned, again.ahead), (false, true));
        // An older one of the former version says nothing.
        reset(&mut ours, None, at(20));
        assert!(!merge(&mut ours, &without_versions(&former), at(21)).learned);
        assert!(!is_out(&ours));
        let stored = ours.clone();
        assert_eq!(merge(&mut ours, &stored, at(22)), Merged::default());
    }

    #[test]
    fn new_tokens_end_what_a_refresh_showed_also_where_a_model_fails() {
        let mut auth = Auth::new("p");
        fail(&mut auth, 429, at(0));
        Auth::NEEDS_LOGIN.clone_into(&mut auth.status_message);
        auth.last_error = Some(Error::upstream(400, "invalid_grant"));
        auth.status = Status::Error;
        token_renewed(&mut auth, |_| true, at(1));
        assert_eq!(auth.status_message, "HTTP 429: no");
        assert_eq!(auth.last_error, auth.model_states["m"].last_error);
        assert!(is_out(&auth) && auth.status == Status::Error);
    }

    #[test]
    fn what_older_tokens_met_labels_no_newer_ones() {
        for (status, stays) in [(401, false), (429, true)] {
            let (mut renewed, mut failing) = (Auth::new("p"), Auth::new("p"));
            renewed.generation = 2;
            failing.generation = 1;
            // More changes than the renewed one has met.
            for second in 0..3 {
                fail(&mut failing, status, at(second));
            }
            let merged = merge(&mut renewed, &failing, at(10));
            assert_eq!(is_out(&renewed), stays, "{status}");
            assert_eq!(renewed.status == Status::Error, stays, "{status}");
            assert_eq!(merged.ahead, !stays, "{status}");
            merge(&mut failing, &renewed, at(11));
            assert_eq!(is_out(&failing), stays, "{status}");
            // Where the tokens are the same, so is what they met.
            let mut other = Auth::new("p");
            other.generation = 1;
            fail(&mut failing, status, at(12));
            merge(&mut other, &failing, at(12));
            assert!(is_out(&other), "{status}");
        }
    }
}
