//! Versions of a record's state: the order of failures and recoveries that all processes of a store agree on.
//!
//! A part of the state (a model, the outage of the whole credential, what the record shows of itself) carries the version of
//! its last change: one above every version that the process knew of the record (a Lamport clock). So a reset follows the
//! failure that it ends, whatever the clocks of two machines say; wall time is for display and for ends. The record's own JSON
//! form, the reference's, has no place for versions: they are kept beside the state.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Auth, ModelState};
use crate::clock::{Timestamp, later, until};

/// Of two versions of one part the greater counts. Changes that knew nothing of each other may have the same count: then the
/// longer cooldown is the greater one, and after that an order that all processes agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// 0: the part has never changed, or its writer kept no versions.
    pub(crate) count: u64,
    /// The length of the part's cooldown, from the change on: nanoseconds.
    cooldown: u64,
    /// The generation of the tokens with which it occurred.
    generation: u64,
    /// Tells changes of the same count and cooldown apart.
    digest: u32,
}

/// The versions of a record, its models' aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The highest count known of any part.
    pub(crate) last: u64,
    /// Of status, error and cooldown of calls without a model and of refreshes.
    pub(crate) own: Version,
    /// Of the cooldown of the whole credential.
    pub(crate) outage: Version,
}

/// By what the state of a stored record is ordered: what its writer kept beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OrderedBy {
    #[default]
    Version,
    /// The times of failures and recoveries: written by a former version of this crate.
    Change,
    /// The time of the last use: nothing was kept.
    Use,
}

impl Version {
    /// Whether the part has changed.
    pub(crate) fn is_some(&self) -> bool {
        self.count > 0
    }

    /// Whether it occurred with tokens older than those of `generation`.
    pub(crate) fn is_older_than(&self, generation: u64) -> bool {
        self.is_some() && self.generation < generation
    }

    /// The length of the cooldown; `None` where that was not kept.
    pub(crate) fn cooldown(&self) -> Option<Duration> {
        self.is_some().then(|| match self.cooldown {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        })
    }

    fn to_json(self) -> Value {
        json!([self.count, self.cooldown, self.generation, self.digest])
    }

    fn from_json(json: Option<&Value>) -> Self {
        let read = || {
            let numbers = json?.as_array()?;
            let number = |index: usize| numbers.get(index)?.as_u64();
            Some(Self {
                count: number(0)?,
                cooldown: number(1)?,
                generation: number(2)?,
                digest: u32::try_from(number(3)?).ok()?,
            })
        };
        read().unwrap_or_default()
    }
}

impl Versions {
    /// The version of a change at `now` that cools a part down until `end`.
    fn raise(
        &mut self,
        generation: u64,
        now: Timestamp,
        end: Option<Timestamp>,
        shown: &str,
    ) -> Version {
        let cooldown = end.map_or(Duration::ZERO, |end| until(now, end));
        let mut hasher = DefaultHasher::new();
        (now, end, shown).hash(&mut hasher);
        self.last = self.last.saturating_add(1);
        Version {
            count: self.last,
            cooldown: u64::try_from(cooldown.as_nanos()).unwrap_or(u64::MAX),
            generation,
            digest: u32::try_from(hasher.finish() >> 32).unwrap_or_default(),
        }
    }

    /// As [`Auth::raise_model`], where the models are being walked through.
    pub(crate) fn raise_state(&mut self, generation: u64, state: &mut ModelState, now: Timestamp) {
        let end = state.next_retry_after.filter(|_| state.unavailable);
        state.version = self.raise(generation, now, end, &state.status_message);
    }
}

impl Auth {
    /// A model has changed.
    pub(crate) fn raise_model(&mut self, model: &str, now: Timestamp) {
        if let Some(state) = self.model_states.get_mut(model) {
            self.versions.raise_state(self.generation, state, now);
        }
    }

    /// What the record shows of itself has changed.
    pub(crate) fn raise_own(&mut self, now: Timestamp) {
        let end = self.next_retry_after.filter(|_| self.unavailable);
        let shown = &self.status_message;
        self.versions.own = self.versions.raise(self.generation, now, end, shown);
    }

    /// An outage has begun, has changed or is over.
    pub(crate) fn raise_outage(&mut self, now: Timestamp) {
        let end = self.outage.and_then(|outage| outage.until);
        self.versions.outage = self.versions.raise(self.generation, now, end, "");
    }

    /// Whether `self` and `other` show the same of themselves; switching a record off or on is no change of its state.
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        use super::Status::Disabled;
        let switched = self.status == Disabled || other.status == Disabled;
        (switched || self.status == other.status)
            && self.status_message == other.status_message
            && self.last_error == other.last_error
            && self.cause == other.cause
    }
}

/// What is kept beside the state of a record.
pub(crate) fn versions_to_json(auth: &Auth) -> Map<String, Value> {
    let models: Map<String, Value> = auth
        .model_states
        .iter()
        .filter(|(_, state)| state.version.is_some())
        .map(|(model, state)| (model.clone(), state.version.to_json()))
        .collect();
    let Versions { last, own, outage } = auth.versions;
    Map::from_iter([
        (LAST.to_owned(), last.into()),
        (OWN.to_owned(), own.to_json()),
        (OUTAGE.to_owned(), outage.to_json()),
        (MODELS.to_owned(), models.into()),
    ])
}

/// Puts the versions that were kept beside a state into its record. A former version of this crate kept none.
pub(crate) fn add_versions(auth: &mut Auth, kept: Option<&Value>) {
    let Some(Value::Object(kept)) = kept else {
        return;
    };
    auth.ordered_by = OrderedBy::Version;
    let models = kept.get(MODELS);
    for (model, state) in &mut auth.model_states {
        state.version = Version::from_json(models.and_then(|models| models.get(model)));
    }
    let [own, outage] = [OWN, OUTAGE].map(|name| Version::from_json(kept.get(name)));
    let parts = auth.model_states.values().map(|state| state.version);
    let highest = parts
        .chain([own, outage])
        .map(|version| version.count)
        .max();
    let last = kept.get(LAST).and_then(Value::as_u64);
    auth.versions = Versions {
        last: last.max(highest).unwrap_or_default(),
        own,
        outage,
    };
}

/// When a cooldown that was to end at `end` ends by this machine's clock: its length after `now` at the latest. Where the
/// length was not kept, what was left of it at `seen_at`, by the clock of its writer.
pub(super) fn bounded(
    version: Version,
    seen_at: Option<Timestamp>,
    end: Timestamp,
    now: Timestamp,
) -> Timestamp {
    let left = || Some(until(seen_at?, end));
    let length = version.cooldown().or_else(left);
    length.map_or(end, |length| end.min(later(now, length)))
}

const LAST: &str = "last";
const OWN: &str = "own";
const OUTAGE: &str = "outage";
const MODELS: &str = "models";

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    fn cooling(length: u64) -> Auth {
        let mut auth = Auth::new("p").with_id("a");
        let state = auth.model_states.entry("m".into()).or_default();
        state.unavailable = true;
        state.next_retry_after = Some(later(START, Duration::from_secs(length)));
        auth.raise_model("m", START);
        auth
    }

    #[test]
    fn later_changes_are_greater_and_of_equals_the_longer_cooldown() {
        let [long, mut short] = [cooling(60), cooling(30)];
        let version = |auth: &Auth| auth.model_states["m"].version;
        assert!(version(&long) > version(&short));
        short.raise_model("m", START);
        assert!(version(&long) < version(&short));
        let mut other = long.clone();
        other.versions = Versions::default();
        other
            .model_states
            .entry("m".into())
            .or_default()
            .status_message = "no".into();
        other.raise_model("m", START);
        assert_ne!(
            version(&long),
            version(&other),
            "no two changes are taken for one"
        );
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let mut auth = cooling(60);
        auth.raise_outage(START);
        auth.raise_own(START);
        let kept = Value::from(versions_to_json(&auth));
        let mut read = auth.clone();
        read.versions = Versions::default();
        read.model_states.entry("m".into()).or_default().version = Version::default();
        read.ordered_by = OrderedBy::Use;
        add_versions(&mut read, Some(&kept));
        assert_eq!(
            (read.versions, read.ordered_by),
            (auth.versions, OrderedBy::Version)
        );
        assert_eq!(read.model_states, auth.model_states);
    }

    #[test]
    fn what_does_not_read_has_never_changed() {
        let mut auth = cooling(60);
        add_versions(
            &mut auth,
            Some(&json!({"models": {"m": [1, -1]}, "own": 7})),
        );
        assert_eq!(auth.model_states["m"].version, Version::default());
        assert_eq!(auth.versions, Versions::default());
    }

    #[test]
    fn a_cooldown_lasts_no_longer_than_it_was_told() {
        let length = Duration::from_secs(60);
        let end = later(START, length);
        let version = cooling(60).model_states["m"].version;
        for ahead in [0, 2, 300] {
            let now = START - Duration::from_secs(ahead);
            assert_eq!(bounded(version, None, end, now), later(now, length));
            assert_eq!(
                bounded(Version::default(), Some(START), end, now),
                later(now, length)
            );
        }
        let now = later(START, Duration::from_secs(20));
        assert_eq!(bounded(version, None, end, now), end);
        let behind = START - Duration::from_secs(300);
        for over in [end, later(end, length)] {
            assert_eq!(bounded(Version::default(), Some(over), end, behind), behind);
        }
    }
}
