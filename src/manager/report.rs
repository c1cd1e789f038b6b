//! The operator's interface: explain, reset, cool down.

use std::time::Duration;

use crate::error::{CredentialReport, Error};
use crate::registry::{ApplyResult, Query, Supply};
use crate::request::normalized;
use crate::services::Services;

use super::Manager;

impl Manager {
    /// Reports for each credential of a provider whether it can serve a model (for the empty model: calls without one), until when
    /// not, why, and the source of that time. In the order of ids. For an alias, each report says what it stands for
    /// ([`sent_as`](CredentialReport::sent_as)); for a chain of models, there are the reports of each link that the provider may be asked for,
    /// one link after the other.
    ///
    /// It looks at every credential of the provider.
    ///
    /// ```
    /// use credpool::{Auth, Availability, Error, FailureKind, Manager, CooldownSource, Outcome};
    /// use std::time::Duration;
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("team-a"))?;
    /// let limited = Error::upstream(429, "").with_retry_after(Duration::from_secs(120));
    /// manager.mark_result(&Outcome::failure("team-a", "openai", "gpt-5", limited));
    ///
    /// let standing = &manager.explain("openai", "gpt-5")[0];
    /// assert_eq!(standing.availability, Availability::Cooling);
    /// assert_eq!((standing.fault, standing.origin), (Some(FailureKind::RateLimited), Some(CooldownSource::Header)));
    /// assert_eq!(manager.explain("openai", "gpt-5-mini")[0].availability, Availability::Ready);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "health")]
    #[doc(alias = "status")]
    #[doc(alias = "circuit breaker")]
    pub fn explain(&self, provider: &str, model: &str) -> Vec<CredentialReport> {
        let services = &self.view().services;
        let (provider, now) = (normalized(provider), services.moment());
        let models = services.chains.models_of(model, &provider);
        let reports = models.flat_map(|model| services.registry.explain(&provider, model, now));
        reports.collect()
    }

    /// Whether a credential of a provider could serve a model now: one that is ready, or returns and may be probed. Aliases and chains of
    /// models are known: of a chain, whether any link that the provider may be asked for has such a credential.
    ///
    /// As cheap as a selection, however many credentials there are.
    ///
    /// ```
    /// use credpool::{Auth, Error, Manager, Outcome};
    ///
    /// let manager = Manager::builder().model_chain("best", ["gpt-5-pro", "gpt-5"]).build()?;
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("a").with_models(["gpt-5*"]))?;
    /// manager.mark_result(&Outcome::failure("a", "openai", "gpt-5-pro", Error::upstream(429, "")));
    /// assert!(!manager.is_ready("openai", "gpt-5-pro") && manager.is_ready("openai", "best"));
    /// assert!(!manager.is_ready("openai", "o4-mini"));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "readiness")]
    #[doc(alias = "health")]
    pub fn is_ready(&self, provider: &str, model: &str) -> bool {
        let services = &self.view().services;
        let (provider, now) = (normalized(provider), services.moment());
        let mut models = services.chains.models_of(model, &provider);
        models.any(|model| {
            let query = Query {
                provider: &provider,
                model,
                tried: None,
                pinned: None,
                now,
            };
            services.registry.supply(query) == Supply::Ready
        })
    }

    /// Clears cooldowns, quotas and errors of a credential and all its models. A disabled credential stays disabled.
    ///
    /// ```
    /// use credpool::{Auth, Availability, Error, Manager, Outcome};
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("team-a"))?;
    /// manager.mark_result(&Outcome::failure("team-a", "openai", "gpt-5", Error::upstream(401, "")));
    /// manager.reset("team-a")?;
    /// assert_eq!(manager.explain("openai", "gpt-5")[0].availability, Availability::Ready);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// `auth_not_found`.
    pub fn reset(&self, id: &str) -> Result<(), Error> {
        self.changed(id, |services| {
            services.registry.reset(id, None, services.moment())
        })
    }

    /// As [`reset`](Self::reset), for one model alone, by its name at the vendor or by an alias of the credential. A cooldown of the credential as a whole stays.
    ///
    /// # Errors
    /// `auth_not_found`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Auth, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
    /// manager.cool_down(&auth.id, Some("gpt-5"), Duration::from_secs(600))?;
    /// manager.reset_model(&auth.id, "gpt-5")?;
    /// assert!(manager.explain("openai", "gpt-5")[0].until.is_none());
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn reset_model(&self, id: &str, model: &str) -> Result<(), Error> {
        self.changed(id, |services| {
            let now = services.moment();
            let alias_of = services.registry.unaliased(id, model);
            let model = alias_of.as_deref().unwrap_or(model);
            services.registry.reset(id, Some(model), now)
        })
    }

    /// Cools a credential down for a while, for one model (by its name at the vendor or by an alias) or, with `None`, for all. Only its expiry or [`reset`](Self::reset) ends it;
    /// successful calls do not. A running cooldown is replaced.
    ///
    /// ```
    /// use credpool::{Auth, Manager, CooldownSource};
    /// use std::time::Duration;
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("team-a"))?;
    /// manager.cool_down("team-a", Some("gpt-5"), Duration::from_secs(600))?;
    /// assert_eq!(manager.explain("openai", "gpt-5")[0].origin, Some(CooldownSource::Operator));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    ///
    /// # Errors
    /// `auth_not_found`.
    pub fn cool_down(&self, id: &str, model: Option<&str>, time: Duration) -> Result<(), Error> {
        self.changed(id, |services| {
            let model = model.filter(|model| !model.is_empty());
            let alias_of = model.and_then(|model| services.registry.unaliased(id, model));
            let model = alias_of.as_deref().or(model);
            let now = services.moment();
            services.registry.cool_down(id, model, time, now)
        })
    }

    fn changed(
        &self,
        id: &str,
        change: impl FnOnce(&Services) -> ApplyResult,
    ) -> Result<(), Error> {
        let inner = self.inner()?;
        if !inner.engine.note_for_store(change(&inner.services)) {
            return Err(Error::not_registered(id));
        }
        if let Some(auth) = self.get_by_id(id) {
            inner.services.hooks.updated(&auth);
        }
        Ok(())
    }
}
