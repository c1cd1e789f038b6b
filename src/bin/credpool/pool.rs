//! The credentials of a store: a copy to look at, or a manager that changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Availability, CredentialReport, Error, ErrorCode, Listing, Manager, MemoryStore, Skipped,
    Store,
};

use crate::failure::Failed;
use crate::moment::now;
use crate::report::{ANY_OTHER, Credential, ModelState, NO_MODEL};
use crate::store::Opened;
use crate::text::is_place_of;
use crate::vendors;

/// What a store holds at a moment. Nothing that is done with it reaches the store.
pub(crate) struct Pool {
    manager: Manager,
    /// Whose logins have ended.
    ended: BTreeSet<String>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Pool {
    pub(crate) fn look(store: &dyn Store) -> Result<Self, Error> {
        Self::of(store.list()?)
    }

    pub(crate) fn of(listing: Listing) -> Result<Self, Error> {
        let copy = MemoryStore::new();
        for auth in &listing.records {
            copy.save(auth)?;
        }
        let manager = Manager::builder().store(copy).build()?;
        let report = manager.load()?;
        let mut skipped = listing.skipped;
        skipped.extend(report.skipped);
        let ended = manager.refresh_health().needs_login.into_iter().collect();
        Ok(Self {
            manager,
            ended,
            skipped,
        })
    }

    pub(crate) fn records(&self) -> Vec<Arc<Auth>> {
        self.manager.list()
    }

    pub(crate) fn record(&self, id: &str) -> Result<Arc<Auth>, Failed> {
        let record = self.manager.get_by_id(id);
        record.ok_or_else(|| self.unknown(id))
    }

    /// An error that says what is known of an id.
    fn unknown(&self, id: &str) -> Failed {
        let skipped = self
            .skipped
            .iter()
            .find(|skipped| is_place_of(&skipped.location, id));
        let message = match skipped {
            Some(skipped) => format!("credential {id} cannot be read: {}", skipped.reason),
            None => format!("there is no credential {id}"),
        };
        Failed::from(Error::new(ErrorCode::AuthNotFound, message)).about(id)
    }

    /// What is said of the credentials of a provider, or of all, those that need something first.
    pub(crate) fn credentials(&self, provider: Option<&str>) -> Vec<Credential> {
        let mut records = self.records();
        records.retain(|auth| is_of(auth, provider));
        let mut found = self.reported(&records);
        found.sort_by_cached_key(Credential::urgency);
        found
    }

    /// What is said of some records.
    pub(crate) fn reported(&self, records: &[Arc<Auth>]) -> Vec<Credential> {
        let mut models: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for auth in records {
            let known = models.entry(&auth.provider).or_default();
            known.extend([ANY_OTHER, NO_MODEL]);
            known.extend(auth.model_states.keys().map(String::as_str));
        }
        let mut reports: BTreeMap<Arc<str>, Vec<CredentialReport>> = BTreeMap::new();
        for (provider, models) in models {
            for model in models {
                for report in self.manager.explain(provider, model) {
                    let of_credential = reports.entry(Arc::clone(&report.auth_id));
                    of_credential.or_default().push(report);
                }
            }
        }
        let now = now();
        let of = |auth: &Arc<Auth>| {
            let reports = reports.remove(auth.id.as_str())?;
            let has_ended = self.ended.contains(&auth.id);
            Credential::of(auth, &telling(auth, reports), has_ended, now)
        };
        records.iter().filter_map(of).collect()
    }

    /// The providers of the store, and what is known of each one's models.
    pub(crate) fn providers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut providers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for auth in self.records() {
            let models = providers.entry(auth.provider.clone()).or_default();
            models.extend(auth.model_states.keys().cloned());
        }
        for model in self.manager.models() {
            for provider in model.providers {
                let models = providers.entry(provider.provider.to_string()).or_default();
                models.insert(model.name.clone());
            }
        }
        providers
    }

    /// Each credential of a provider, as it is for a model.
    pub(crate) fn explain(&self, provider: &str, model: &str) -> Vec<(Arc<Auth>, ModelState)> {
        let now = now();
        let reports = self.manager.explain(provider, model);
        let of = |report: CredentialReport| {
            let auth = self.manager.get_by_id(&report.auth_id)?;
            let state = ModelState::of(&report, &auth, self.ended.contains(&auth.id), now);
            Some((auth, state))
        };
        reports.into_iter().filter_map(of).collect()
    }
}

/// A manager over the store itself, which changes what it is told to and nothing else.
pub(crate) struct Editor {
    pub(crate) manager: Manager,
}

impl Editor {
    pub(crate) fn open(opened: &Opened) -> Result<Self, Failed> {
        let manager = Manager::builder().store(opened.store()).build()?;
        manager.load()?;
        let providers = manager.list().into_iter().map(|auth| auth.provider.clone());
        for provider in providers.collect::<BTreeSet<_>>() {
            vendors::register(&manager, &provider);
        }
        Ok(Self { manager })
    }

    /// As [`open`](Self::open), for what reads or writes secrets: not without the keys of a sealed store.
    pub(crate) fn open_with_keys(opened: &Opened) -> Result<Self, Failed> {
        let editor = Self::open(opened)?;
        let is_closed = editor.manager.list().iter().any(|auth| auth.is_sealed());
        if is_closed {
            let message = format!("the store {} is sealed", opened.name);
            let hint =
                "name its keys: `--seal-key-file FILE`, or the variable CREDPOOL_SEAL_KEY_FILE";
            return Err(Failed::usage(message, hint));
        }
        Ok(editor)
    }

    /// Ends it: what was changed is in the store, or that is the error.
    pub(crate) fn close(self) -> Result<(), Failed> {
        self.manager.shutdown(LAST_WRITE)?;
        Ok(())
    }
}

/// Of the reports about a credential those that say something: about the models that it was asked for, about every other one, and about
/// calls without a model where these alone fail.
fn telling(auth: &Auth, mut reports: Vec<CredentialReport>) -> Vec<CredentialReport> {
    let is_about = |report: &CredentialReport, model: &str| *report.model == *model;
    let other = reports.iter().find(|report| is_about(report, ANY_OTHER));
    let serves_others = other.is_some_and(|report| report.availability != Availability::NotServed);
    let others_are_ready = other.is_some_and(|report| report.availability == Availability::Ready);
    let knows_none = auth.model_states.is_empty() && !serves_others;
    reports.retain(|report| match &*report.model {
        NO_MODEL => knows_none || others_are_ready && report.origin.is_some(),
        ANY_OTHER => serves_others,
        model => auth.model_states.contains_key(model),
    });
    reports
}

/// Whether a record is of a provider, by its name in any form.
pub(crate) fn is_of(auth: &Auth, provider: Option<&str>) -> bool {
    provider.is_none_or(|provider| auth.provider.eq_ignore_ascii_case(provider.trim()))
}

/// How long a store may take for the last of what was changed.
const LAST_WRITE: Duration = Duration::from_secs(15);
