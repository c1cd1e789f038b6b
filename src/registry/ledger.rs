use std::collections::BTreeMap;
use std::time::Duration;

use crate::Timestamp;
use crate::clock::later;
use crate::policy::{Cooldown, Fault};

/// What is known of a credential's cooldowns beyond its record: how often it failed in a row, and whether it is out as a
/// whole.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Failures in a row for each model; under the empty model, for calls without one.
    models: BTreeMap<String, u32>,
    /// Failures in a row that were the credential's as a whole, and the block that they led to.
    whole: u32,
    out_until: Option<Timestamp>,
    /// What put it out.
    fault: Fault,
}

/// A failure to be reckoned with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    pub(super) curve: Cooldown,
    /// The server's word.
    pub(super) hint: Option<Duration>,
    /// Lengthens the block: a part of it, half a minute at most.
    pub(super) jitter: f64,
    pub(super) now: Timestamp,
}

impl Ledger {
    /// Until when the credential is out for every model.
    pub(super) fn out_until(&self) -> Option<Timestamp> {
        self.out_until
    }

    /// The credential as a whole failed: until when this keeps it out.
    pub(super) fn failed(&mut self, failing: Failing, fault: Fault) -> Option<Timestamp> {
        self.fault = fault;
        let until = failing.block(&mut self.whole, self.out_until);
        self.out_until = self.out_until.max(until);
        until
    }

    /// A model failed whose block, if any, is `open`: until when this keeps it out.
    pub(super) fn model_failed(
        &mut self,
        model: &str,
        open: Option<Timestamp>,
        failing: Failing,
    ) -> Option<Timestamp> {
        if self.models.len() >= MOST_MODELS && !self.models.contains_key(model) {
            self.models.pop_first();
        }
        let failures = self.models.entry(model.to_owned()).or_default();
        failing.block(failures, open)
    }

    /// A new token is there. True when the old one had put the credential out.
    pub(super) fn token_renewed(&mut self) -> bool {
        let was_out = self.fault == Fault::Unauthorized && self.out_until.is_some();
        if was_out {
            self.whole = 0;
            self.out_until = None;
        }
        was_out
    }

    /// A success ends the model's streak and, because the credential serves, that of the whole.
    pub(super) fn succeeded(&mut self, model: &str) {
        self.models.remove(model);
        self.whole = 0;
        self.out_until = None;
    }
}

impl Failing {
    /// Until when one more failure blocks, by itself. Failures within one window of a growing curve count once.
    fn block(self, failures: &mut u32, open: Option<Timestamp>) -> Option<Timestamp> {
        let open = open.filter(|open| *open > self.now);
        let before = failures.saturating_sub(u32::from(open.is_some()));
        let length = self.curve.length(before, self.hint)?;
        if open.is_none() {
            *failures = failures.saturating_add(1);
        }
        let told = self.hint.is_some() && self.curve.obeys_hints();
        let counts_once = !told && !matches!(self.curve, Cooldown::Fixed(_));
        let until = later(self.now, self.lengthened(length));
        Some(open.filter(|_| counts_once).unwrap_or(until))
    }

    fn lengthened(self, length: Duration) -> Duration {
        let more = Duration::try_from_secs_f64(length.as_secs_f64() * self.jitter);
        length.saturating_add(more.unwrap_or_default().min(MOST_JITTER))
    }
}

const MOST_JITTER: Duration = Duration::from_secs(30);
const MOST_MODELS: usize = 1024;
