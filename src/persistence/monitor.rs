//! The store monitor: which calls fail or hang, and which records cannot be saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp, deadline};
use crate::error::{Error, ErrorCode};
use crate::persistence::StoreHealth;

/// Watches the calls of one store.
#[derive(Debug)]
pub(crate) struct Monitor {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Load,
    Lock,
    Write,
}

/// A call of the store, for as long as it is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    kind: Kind,
    pub(crate) id: Option<&'a str>,
    /// How long it may wait by its nature.
    wait: Duration,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<u64, UnderWay>,
    next: u64,
    /// By kind, since when it fails.
    failing: [Option<Timestamp>; Kind::COUNT],
    /// When a lock failed last: a refresh takes it again, or has no need to.
    last_lock_failure: Option<Instant>,
    /// When a call last came back that had hung, or that failed for the store as a whole.
    last_trouble: Option<Instant>,
    /// Records that the writer could not save, and since when.
    unsaved: BTreeMap<String, Timestamp>,
    failures: u32,
    last_error: Option<Error>,
}

#[derive(Debug)]
struct UnderWay {
    kind: Kind,
    id: Option<String>,
    since: Timestamp,
    /// From here on it hangs.
    late: Instant,
    /// The log has it.
    told: bool,
}

impl Kind {
    /// What a success of this kind says of the store. Where no record waits to be saved, a failed write was requested by a caller, which
    /// got the error; the store may be called for nothing but reads for a long time.
    fn vouches_for(self, all_saved: bool) -> &'static [Self] {
        match self {
            Self::Read if all_saved => &[Self::Read, Self::Load, Self::Write],
            Self::Read => &[Self::Read, Self::Load],
            Self::Load => &[Self::Load],
            Self::Lock => &[Self::Lock, Self::Load],
            Self::Write => &[Self::Write, Self::Load, Self::Lock],
        }
    }
}

impl<'a> Call<'a> {
    /// A call that concerns the whole store.
    pub(crate) fn of_all() -> Self {
        Self {
            kind: Kind::Read,
            id: None,
            wait: Duration::ZERO,
        }
    }

    /// A write of entries.
    pub(crate) fn of_entries() -> Self {
        Self {
            kind: Kind::Write,
            ..Self::of_all()
        }
    }

    pub(crate) fn of(kind: Kind, id: &'a str) -> Self {
        Self {
            kind,
            id: Some(id),
            wait: Duration::ZERO,
        }
    }

    pub(crate) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

impl Monitor {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Makes a call and notes how it goes.
    pub(crate) fn watch<T>(
        &self,
        call: Call<'_>,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let number = self.begin(call);
        let done = work();
        self.end(number, done.as_ref().err());
        done
    }

    fn begin(&self, call: Call<'_>) -> u64 {
        let now = self.clock.monotonic();
        let under_way = UnderWay {
            kind: call.kind,
            id: call.id.map(str::to_owned),
            since: self.clock.now(),
            late: deadline(now, call.wait.saturating_add(HANGS)),
            told: false,
        };
        let mut state = self.state.lock();
        state.tell_hanging(now);
        let number = state.next;
        state.next += 1;
        state.calls.insert(number, under_way);
        number
    }

    fn end(&self, number: u64, error: Option<&Error>) {
        let (since, now) = (self.clock.now(), self.clock.monotonic());
        let mut state = self.state.lock();
        let Some(call) = state.calls.remove(&number) else {
            return;
        };
        if call.told {
            log::info!("{} has returned", call.what());
        }
        if call.hangs(now) || error.is_some() && call.id.is_none() {
            state.last_trouble = Some(now);
        }
        match error {
            // What the caller asked for cannot be: the store itself works.
            Some(error) if matches!(error.code(), ErrorCode::Conflict | ErrorCode::Config) => {}
            Some(error) => {
                if call.kind == Kind::Lock {
                    state.last_lock_failure = Some(now);
                }
                state.change(call.kind, |state| {
                    state.failing[call.kind as usize].get_or_insert(since);
                    state.count(error);
                });
            }
            None => {
                for kind in call.kind.vouches_for(state.unsaved.is_empty()) {
                    state.change(*kind, |state| state.failing[*kind as usize] = None);
                }
                let last = state.last_lock_failure;
                if call.kind == Kind::Read && last.is_some_and(|last| now > last + LOCK_FORGOTTEN) {
                    let lock = Kind::Lock as usize;
                    state.change(Kind::Lock, |state| state.failing[lock] = None);
                }
            }
        }
    }

    /// Notes that the writer could, or could not, save a record; one that is gone needs no save.
    pub(crate) fn saved(&self, id: &str, saved: &Result<(), Error>) {
        let now = self.clock.now();
        self.state.lock().change(Kind::Write, |state| match saved {
            Ok(()) => {
                state.unsaved.remove(id);
            }
            Err(error) => {
                state.unsaved.entry(id.to_owned()).or_insert(now);
                // The call has counted it, except where the store refused the record.
                if state.failing[Kind::Write as usize].is_none() {
                    state.count(error);
                }
            }
        });
    }

    /// For how long no call has hung or failed for the store as a whole. `None`: none ever has.
    pub(crate) fn since_trouble(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let state = self.state.lock();
        if state.calls.values().any(|call| call.hangs(now)) {
            return Some(Duration::ZERO);
        }
        let last = state.last_trouble;
        last.map(|last| now.saturating_duration_since(last))
    }

    /// Forgets the faults of a store that is no longer used.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        let State { calls, next, .. } = std::mem::take(&mut *state);
        (state.calls, state.next) = (calls, next);
    }

    pub(crate) fn health(&self) -> StoreHealth {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        state.tell_hanging(now);
        let oldest = |which: &dyn Fn(&UnderWay) -> bool| {
            let calls = state.calls.values().filter(|call| which(call));
            calls.map(|call| call.since).min()
        };
        let hanging = state.calls.values().filter(|call| call.hangs(now));
        let hanging = hanging.filter(|call| call.kind == Kind::Write);
        let records: BTreeSet<_> = hanging
            .filter_map(|call| call.id.as_ref())
            .chain(state.unsaved.keys())
            .collect();
        StoreHealth {
            unsaved: 0,
            failures: state.failures,
            failing_since: state.failing_since(),
            failing_records: records.into_iter().cloned().collect(),
            last_error: state.last_error.clone(),
            writing_since: oldest(&|call| call.kind == Kind::Write),
            hanging_since: oldest(&|call| call.hangs(now)),
        }
    }
}

impl State {
    /// Makes a change, and tells the log where a fault of this kind begins or ends with it.
    fn change(&mut self, kind: Kind, change: impl FnOnce(&mut Self)) {
        let failed = self.has_fault(kind);
        change(self);
        match (failed, self.has_fault(kind), &self.last_error) {
            (false, true, Some(error)) => log::warn!(
                "the store cannot {}; retrying, next log line when it succeeds: {error}",
                kind.verb()
            ),
            (true, false, _) => log::info!("the store can {} again", kind.verb()),
            _ => {}
        }
        if self.failing_since().is_none() {
            self.failures = 0;
            self.last_error = None;
        }
    }

    fn count(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error.clone());
    }

    fn has_fault(&self, kind: Kind) -> bool {
        let unsaved = kind == Kind::Write && !self.unsaved.is_empty();
        unsaved || self.failing[kind as usize].is_some()
    }

    fn failing_since(&self) -> Option<Timestamp> {
        let kinds = self.failing.iter().flatten();
        kinds.chain(self.unsaved.values()).min().copied()
    }

    fn tell_hanging(&mut self, now: Instant) {
        for call in self.calls.values_mut() {
            if call.hangs(now) && !call.told {
                call.told = true;
                log::warn!("the store hangs: {} has not returned", call.what());
            }
        }
    }
}

impl UnderWay {
    fn hangs(&self, now: Instant) -> bool {
        now >= self.late
    }

    fn what(&self) -> String {
        let verb = self.kind.verb();
        let id = self.id.as_deref();
        id.map_or_else(
            || format!("a call to {verb}"),
            |id| format!("a call to {verb} for credential {id}"),
        )
    }
}

impl Kind {
    const COUNT: usize = 4;

    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read what has changed",
            Self::Load => "load a record",
            Self::Lock => "lock a record",
            Self::Write => "write a record",
        }
    }
}

/// A lock that failed is taken again within this time, where a refresh needs it.
const LOCK_FORGOTTEN: Duration = Duration::from_secs(30);

/// A call that takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const TICK: Duration = Duration::from_millis(1);

    fn monitor() -> (Monitor, ManualClock) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        (Monitor::new(Arc::new(clock.clone())), clock)
    }

    fn fails(code: ErrorCode) -> Result<(), Error> {
        Err(Error::new(code, "no"))
    }

    #[test]
    fn a_lock_may_wait_as_long_as_it_was_told() {
        let (monitor, clock) = monitor();
        let wait = Duration::from_secs(10);
        let call = Call::of(Kind::Lock, "a").waiting(wait);
        let under_way = monitor.watch(call, || {
            clock.advance((wait + HANGS).checked_sub(TICK).unwrap());
            let before = monitor.health();
            clock.advance(TICK);
            Ok((before, monitor.health()))
        });
        let (before, at) = under_way.unwrap();
        assert!(before.is_good() && !at.is_good());
        assert_eq!(at.hanging_since, Some(Timestamp::UNIX_EPOCH));
        assert!(at.failing_records.is_empty() && at.writing_since.is_none());
        assert!(monitor.health().is_good());
    }

    #[test]
    fn the_oldest_call_says_since_when() {
        let (monitor, clock) = monitor();
        let times = monitor.watch(Call::of(Kind::Write, "a"), || {
            clock.advance(TICK);
            monitor.watch(Call::of(Kind::Write, "b"), || {
                clock.advance(HANGS.checked_sub(TICK).unwrap());
                let one = monitor.health();
                clock.advance(TICK);
                Ok((one, monitor.health()))
            })
        });
        let (one, both) = times.unwrap();
        assert_eq!(one.failing_records, ["a"]);
        assert_eq!(both.failing_records, ["a", "b"]);
        assert_eq!(both.hanging_since, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(both.writing_since, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(monitor.health(), StoreHealth::default());
    }

    #[test]
    fn a_record_that_is_refused_is_named_although_the_store_works() {
        let (monitor, _clock) = monitor();
        for _ in 0..2 {
            let saved = monitor.watch(Call::of(Kind::Write, "a"), || fails(ErrorCode::Conflict));
            monitor.saved("a", &saved);
            monitor
                .watch(Call::of(Kind::Write, "b"), || Ok(()))
                .unwrap();
        }
        let health = monitor.health();
        assert_eq!(
            (health.failures, health.failing_records),
            (2, vec!["a".to_owned()])
        );
        monitor.saved("a", &Ok(()));
        assert_eq!(monitor.health(), StoreHealth::default());
    }

    #[test]
    fn what_fails_from_one_success_to_the_next_is_counted() {
        let (monitor, clock) = monitor();
        clock.advance(TICK);
        let since = clock.now();
        for _ in 0..3 {
            monitor
                .watch(Call::of_all(), || fails(ErrorCode::Store))
                .unwrap_err();
            monitor.watch(Call::of(Kind::Load, "a"), || Ok(())).unwrap();
            clock.advance(TICK);
        }
        let health = monitor.health();
        assert_eq!((health.failures, health.failing_since), (3, Some(since)));
        monitor.watch(Call::of_all(), || Ok(())).unwrap();
        assert!(monitor.health().is_good());
    }

    #[test]
    fn trouble_is_a_call_that_hangs_or_a_store_that_fails_as_a_whole() {
        let (monitor, clock) = monitor();
        let since = || monitor.since_trouble();
        let write = || Call::of(Kind::Write, "a");
        monitor
            .watch(write(), || fails(ErrorCode::Store))
            .unwrap_err();
        assert_eq!(since(), None, "one record's trouble is its own");
        monitor
            .watch(Call::of_all(), || fails(ErrorCode::Store))
            .unwrap_err();
        clock.advance(TICK);
        assert_eq!(since(), Some(TICK));
        let hangs = || {
            clock.advance(HANGS.checked_sub(TICK).unwrap());
            let before = since();
            clock.advance(TICK);
            Ok((before, since()))
        };
        let (before, at) = monitor.watch(write(), hangs).unwrap();
        assert_eq!((before, at), (Some(HANGS), Some(Duration::ZERO)));
        clock.advance(TICK);
        assert_eq!(since(), Some(TICK), "from its return on");
    }
}
