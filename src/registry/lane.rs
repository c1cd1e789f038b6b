use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::Timestamp;
use crate::auth::Auth;
use crate::fault::Fault;

use super::apply::{Readiness, readiness};

/// The credentials of one provider that are not disabled, and a lane for each model that was asked for.
#[derive(Default)]
pub(super) struct ProviderPool {
    members: BTreeSet<Arc<str>>,
    pub(super) lanes: HashMap<String, Lane>,
}

/// Who is ready for one model, and when the others return: a pick never looks at those who cool.
#[derive(Default)]
pub(super) struct Lane {
    ready: BTreeSet<Arc<str>>,
    returning: BTreeSet<(Timestamp, Arc<str>)>,
    return_of: HashMap<Arc<str>, (Timestamp, Fault)>,
    /// How many of those that return are out for what.
    faults: [usize; Fault::ALL.len()],
    last_picked: Option<Arc<str>>,
    last_used: u64,
}

impl ProviderPool {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.members.contains(id)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.iter()
    }

    pub(super) fn join(&mut self, id: &Arc<str>, auth: &Auth) {
        self.members.insert(Arc::clone(id));
        self.update(id, auth);
    }

    pub(super) fn leave(&mut self, id: &str) {
        self.members.remove(id);
        for lane in self.lanes.values_mut() {
            lane.forget(id);
        }
    }

    /// Looks at a member again, in every lane.
    pub(super) fn update(&mut self, id: &Arc<str>, auth: &Auth) {
        if self.members.contains(id) {
            for (model, lane) in &mut self.lanes {
                lane.set(id, readiness(auth, model));
            }
        }
    }

    /// As [`update`](Self::update), in the lane of one model.
    pub(super) fn update_lane(&mut self, model: &str, id: &Arc<str>, auth: &Auth) {
        if self.members.contains(id)
            && let Some(lane) = self.lanes.get_mut(model)
        {
            lane.set(id, readiness(auth, model));
        }
    }

    pub(super) fn build_lane(&mut self, model: &str, readiness: impl Fn(&str) -> Readiness) {
        let mut lane = Lane::default();
        for id in &self.members {
            lane.set(id, readiness(id));
        }
        self.lanes.insert(model.to_owned(), lane);
    }
}

impl Lane {
    pub(super) fn set(&mut self, id: &Arc<str>, readiness: Readiness) {
        match readiness {
            Readiness::Ready if self.ready.contains(id) => {}
            Readiness::Ready => {
                self.no_longer_returning(id);
                self.ready.insert(Arc::clone(id));
            }
            Readiness::Until(at, fault) => {
                self.ready.remove(id);
                self.no_longer_returning(id);
                self.returning.insert((at, Arc::clone(id)));
                self.return_of.insert(Arc::clone(id), (at, fault));
                self.faults[fault as usize] += 1;
            }
            Readiness::Blocked => self.forget(id),
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.ready.remove(id);
        self.no_longer_returning(id);
    }

    /// Notes a use, and lets those return whose time has come.
    pub(super) fn used(&mut self, pick: u64, now: Timestamp) {
        self.last_used = pick;
        while let Some((at, _)) = self.returning.first()
            && *at <= now
            && let Some((_, id)) = self.returning.pop_first()
        {
            if let Some((_, fault)) = self.return_of.remove(&id) {
                self.faults[fault as usize] -= 1;
            }
            self.ready.insert(id);
        }
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used
    }

    pub(super) fn last_picked(&self) -> Option<&str> {
        self.last_picked.as_deref()
    }

    pub(super) fn picked(&mut self, id: &Arc<str>) {
        self.last_picked = Some(Arc::clone(id));
    }

    pub(super) fn is_ready(&self, id: &str) -> bool {
        self.ready.contains(id)
    }

    pub(super) fn returning_len(&self) -> usize {
        self.returning.len()
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The ready ones with ids after `after`, in the order of their ids.
    pub(super) fn ready_from<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ready.range::<str, _>((start, Bound::Unbounded))
    }

    /// All ready ones, beginning after `after` and wrapping.
    pub(super) fn ready_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let end = after.map_or(Bound::Excluded(""), Bound::Included);
        let before = self.ready.range::<str, _>((Bound::Unbounded, end));
        self.ready_from(after).chain(before)
    }

    /// Who is out, and until when, the earliest first.
    pub(super) fn returning(&self) -> impl Iterator<Item = (Timestamp, &Arc<str>)> {
        self.returning.iter().map(|(at, id)| (*at, id))
    }

    /// How many are out, by their fault.
    pub(super) fn faults(&self) -> impl Iterator<Item = (Fault, usize)> {
        Fault::ALL
            .into_iter()
            .map(|fault| (fault, self.faults[fault as usize]))
            .filter(|(_, count)| *count > 0)
    }

    fn no_longer_returning(&mut self, id: &str) {
        if let Some((id, (at, fault))) = self.return_of.remove_entry(id) {
            self.returning.remove(&(at, id));
            self.faults[fault as usize] -= 1;
        }
    }
}
