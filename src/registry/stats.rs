//! What statistics ask of the registry: one credential at a time, so that no look holds the lock for long.

use std::sync::Arc;

use super::record::Record;
use super::{Moment, Registry, SharedState};
use crate::auth::Auth;
use crate::error::CredentialReport;
use crate::observe::Line;

/// A credential at a moment.
pub(crate) struct CredentialState {
    pub(crate) auth: Arc<Auth>,
    /// For calls without a model.
    pub(crate) report: CredentialReport,
    /// For each model that was asked about: its report, and the rate that was learnt.
    pub(crate) models: Vec<(CredentialReport, Option<f64>)>,
}

impl Registry {
    /// All credentials, in the order of their ids.
    pub(crate) fn members(&self) -> Vec<Arc<SharedState>> {
        let mut members: Vec<_> = {
            let state = self.state.lock();
            state.by_id.values().map(Arc::clone).collect()
        };
        members.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        members
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<SharedState>> {
        self.state.lock().by_id.get(id).map(Arc::clone)
    }

    /// What is counted of credentials that are registered no more.
    pub(crate) fn removed(&self) -> &Line {
        &self.removed
    }

    /// How a credential is for some models, by their names at the vendor. `None`: it was removed or replaced.
    pub(crate) fn state_of(
        &self,
        member: &SharedState,
        models: &[Arc<str>],
        moment: Moment,
    ) -> Option<CredentialState> {
        let mut state = self.state.lock();
        let now = state.now(moment);
        let record = state.slots.of_mut(member)?;
        let provider: Arc<str> = record.auth.provider.as_str().into();
        let models = models.iter().map(|model| {
            let asked = record.asked_as(model);
            let report = record.standing(Arc::clone(&provider), asked, now);
            (report, record.learnt_rate(model))
        });
        Some(CredentialState {
            models: models.collect(),
            report: record.standing(provider, "", now),
            auth: Arc::clone(&record.auth),
        })
    }
}

impl Record {
    /// A name under which calls ask for a vendor's model: an alias, where its own is none.
    fn asked_as<'a>(&'a self, model: &'a str) -> &'a str {
        if self.sent_as(model).is_some() {
            return model;
        }
        let mut aliases = self.serves.iter().flat_map(|list| list.aliases());
        let alias = aliases.find(|(_, target)| ***target == *model);
        alias.map_or(model, |(alias, _)| alias)
    }

    /// How many starts a second its upstream was found to allow for a model.
    fn learnt_rate(&self, model: &str) -> Option<f64> {
        let paces = self.limiter.as_ref()?.paces()?;
        paces.lock().rate(model)
    }
}
