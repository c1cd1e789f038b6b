//! The refresh window: how long before expiry each provider's tokens are refreshed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::contained;
use crate::auth::{Auth, AuthRuntime, Expiry, read_time, read_time_text};
use crate::clock::Timestamp;
use crate::request::normalized;

/// Sets, for the whole process, how long before expiry the tokens of `provider` are refreshed.
///
/// `factory` is called each time the window is needed, from any thread; `None` or zero means no lead. It replaces the
/// factory that was registered before for the same provider. Names are trimmed and lower-cased; a blank one is ignored.
///
/// ```
/// use std::time::Duration;
///
/// credpool::register_refresh_lead_provider("Example", || Some(Duration::from_secs(4 * 3600)));
/// assert_eq!(
///     credpool::provider_refresh_lead("example", None),
///     Some(Duration::from_secs(4 * 3600)),
/// );
/// ```
#[doc(alias = "RegisterRefreshLeadProvider")]
pub fn register_refresh_lead_provider(
    provider: &str,
    factory: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) {
    let provider = normalized(provider);
    if provider.is_empty() {
        return;
    }
    let former = FACTORIES.write().insert(provider, Arc::new(factory));
    // With the lock released: the former factory's destructor is user-supplied code.
    drop(former);
}

/// How long before expiry a credential is refreshed: what its runtime says, else what the factory registered for `provider`
/// says.
///
/// Zero counts as no answer, and so does a panic. `provider` is trimmed and lower-cased.
///
/// ```
/// use credpool::{AuthRuntime, provider_refresh_lead};
/// use std::time::Duration;
///
/// struct ShortLived;
/// impl AuthRuntime for ShortLived {
///     fn refresh_lead(&self) -> Option<Duration> {
///         Some(Duration::from_secs(30))
///     }
/// }
///
/// assert_eq!(provider_refresh_lead("any", Some(&ShortLived)), Some(Duration::from_secs(30)));
/// assert_eq!(provider_refresh_lead("unheard-of", None), None);
/// ```
#[doc(alias = "ProviderRefreshLead")]
pub fn provider_refresh_lead(
    provider: &str,
    runtime: Option<&dyn AuthRuntime>,
) -> Option<Duration> {
    let positive = |lead: &Duration| !lead.is_zero();
    runtime
        .and_then(|runtime| contained("a runtime", || runtime.refresh_lead()).flatten())
        .filter(positive)
        .or_else(|| {
            let factory = FACTORIES.read().get(&normalized(provider)).cloned()?;
            contained("a refresh lead factory", || factory()).flatten()
        })
        .filter(positive)
}

/// The default lead, where no other is set: a quarter of the lifetime, at most five minutes.
pub(super) fn own_lead(auth: &Auth) -> Duration {
    let end = auth.expiration_time().at();
    end.and_then(|end| lifetime(auth, end))
        .map_or(MOST_LEAD, |lifetime| (lifetime / 4).min(MOST_LEAD))
}

/// How long the tokens, which end at `end`, live in all. `None` where it is unknown when they came.
pub(super) fn lifetime(auth: &Auth, end: Timestamp) -> Option<Duration> {
    let lifetime = Duration::try_from(end - last_refresh(auth)?).ok()?;
    Some(lifetime).filter(|lifetime| !lifetime.is_zero())
}

const MOST_LEAD: Duration = Duration::from_secs(5 * 60);

type Factory = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

static FACTORIES: RwLock<BTreeMap<String, Factory>> = RwLock::new(BTreeMap::new());

/// When the tokens of a record came, as far as it tells.
pub(super) fn last_refresh(auth: &Auth) -> Option<Timestamp> {
    auth.last_refreshed_at.or_else(|| {
        let metadata = auth.metadata.as_ref();
        LAST_REFRESH_NAMES
            .iter()
            .find_map(|name| metadata?.get(name).and_then(read_time))
            .or_else(|| {
                LAST_REFRESH_NAMES
                    .iter()
                    .find_map(|name| auth.attributes.get(name).and_then(read_time_text))
            })
            .and_then(Expiry::at)
    })
}

const LAST_REFRESH_NAMES: [&str; 4] = [
    "last_refresh",
    "lastRefresh",
    "last_refreshed_at",
    "lastRefreshedAt",
];

#[cfg(test)]
mod tests {
    use super::*;

    struct Lead(Duration);

    impl AuthRuntime for Lead {
        fn refresh_lead(&self) -> Option<Duration> {
            Some(self.0)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_runtime_goes_first_where_it_has_an_answer() {
        register_refresh_lead_provider(" Lead-Order ", || Some(SECOND));
        let lead = |own| provider_refresh_lead("LEAD-ORDER", Some(&Lead(own)));
        assert_eq!(lead(SECOND * 2), Some(SECOND * 2));
        assert_eq!(lead(Duration::ZERO), Some(SECOND));
        assert_eq!(provider_refresh_lead("lead-order", None), Some(SECOND));
    }

    #[test]
    fn no_answer_zero_and_a_panic_are_no_lead() {
        register_refresh_lead_provider("lead-none", || None);
        register_refresh_lead_provider("lead-zero", || Some(Duration::ZERO));
        register_refresh_lead_provider("lead-panic", || panic!("on purpose"));
        register_refresh_lead_provider("  ", || Some(SECOND));
        for provider in ["lead-none", "lead-zero", "lead-panic", "lead-unknown", ""] {
            assert_eq!(provider_refresh_lead(provider, None), None, "{provider}");
        }
    }

    #[test]
    fn a_factory_may_register_and_ask() {
        register_refresh_lead_provider("lead-nested", || {
            register_refresh_lead_provider("lead-nested", || Some(SECOND));
            provider_refresh_lead("lead-nested", None)
        });
        assert_eq!(provider_refresh_lead("lead-nested", None), Some(SECOND));
    }
}
