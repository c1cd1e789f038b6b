//! Single-flight: concurrent needs for the same work share one run.

use std::collections::HashMap;
use std::hash::Hash;
use std::thread::ThreadId;

/// The runs that have begun or are queued, by key; `W` waits for the outcome of one.
#[derive(Debug)]
pub(super) struct SingleFlight<K, W> {
    flights: HashMap<K, Flight<W>>,
    /// How many runs have completed: a look from before the last of them may have seen old results.
    completed: u64,
}

#[derive(Debug)]
struct Flight<W> {
    waiters: Vec<W>,
    runner: Option<ThreadId>,
}

/// Whether there is a run to wait for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The run that was there already.
    Running,
    /// A run that begins with this request.
    New,
    /// None: the runner itself would wait for its own run.
    OwnRun,
}

impl<K, W> Default for SingleFlight<K, W> {
    fn default() -> Self {
        Self {
            flights: HashMap::new(),
            completed: 0,
        }
    }
}

impl<K: Hash + Eq + Clone, W> SingleFlight<K, W> {
    /// Joins the run for `key`, or begins one.
    pub(super) fn join(&mut self, key: &K, waiter: Option<W>) -> Joined {
        if let Some(flight) = self.flights.get_mut(key) {
            let me = std::thread::current().id();
            if waiter.is_some() && flight.runner == Some(me) {
                return Joined::OwnRun;
            }
            flight.waiters.extend(waiter);
            return Joined::Running;
        }
        let flight = Flight {
            waiters: waiter.into_iter().collect(),
            runner: None,
        };
        self.flights.insert(key.clone(), flight);
        Joined::New
    }

    /// This thread runs the work.
    pub(super) fn runs_here(&mut self, key: &K) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.runner = Some(std::thread::current().id());
        }
    }

    /// The run has ended: its waiters.
    pub(super) fn complete(&mut self, key: &K) -> Vec<W> {
        self.completed += 1;
        self.flights
            .remove(key)
            .map_or_else(Vec::new, |flight| flight.waiters)
    }

    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.flights.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_meanwhile_share_one_run() {
        let mut flights = SingleFlight::default();
        assert_eq!(flights.join(&"a", Some(1)), Joined::New);
        assert_eq!(flights.join(&"a", Some(2)), Joined::Running);
        assert_eq!(flights.join(&"b", None), Joined::New);
        assert!(flights.contains(&"a"));
        assert_eq!(flights.complete(&"a"), [1, 2]);
        assert!(!flights.contains(&"a"));
        assert_eq!(flights.complete(&"b"), [0; 0]);
        assert_eq!(flights.completed(), 2);
        assert_eq!(flights.join(&"a", Some(3)), Joined::New);
    }

    #[test]
    fn a_runner_does_not_wait_for_itself() {
        let mut flights = SingleFlight::default();
        flights.join(&"a", None::<u8>);
        flights.runs_here(&"a");
        assert_eq!(flights.join(&"a", Some(1)), Joined::OwnRun);
        assert_eq!(flights.join(&"a", None), Joined::Running);
        assert_eq!(flights.complete(&"a"), [0; 0]);
    }
}
