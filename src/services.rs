//! [`Services`]: the context that all parts of a manager share.

use std::sync::Arc;

use crate::auth::Auth;
use crate::clock::Clock;
use crate::executor::{Context, Executors};
use crate::observe::{CallCounters, Hooks, Prices};
use crate::persistence::StoreHandle;
use crate::random::Random;
use crate::registry::{Moment, Registry, SharedState};
use crate::request::Chains;
use crate::resources::Resources;
use crate::runtime::{Pool, Process};
use crate::transport::Transport;

/// The parts that execution, refreshes and the manager share.
pub(crate) struct Services {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) executors: Executors,
    /// The chains of models that have names.
    pub(crate) chains: Chains,
    pub(crate) hooks: Hooks,
    pub(crate) call_counters: CallCounters,
    pub(crate) prices: Prices,
    pub(crate) store_handle: Arc<StoreHandle>,
    pub(crate) resources: Resources,
    pub(crate) transport: Arc<Transport>,
    pub(crate) tools: Arc<Context>,
    pub(crate) pool: Pool,
    /// That of the threads and connections.
    pub(crate) process: Process,
    pub(crate) random: Arc<Random>,
}

impl Services {
    /// The credential and those whose requests would go the same way. What a user-supplied transport provider does is not known.
    pub(crate) fn on_the_same_route(&self, member: &Arc<SharedState>) -> Vec<Arc<SharedState>> {
        if self.transport.has_provider() {
            return vec![Arc::clone(member)];
        }
        self.registry.alike(member, Auth::has_route_of)
    }

    /// Now, as the registry takes it.
    pub(crate) fn moment(&self) -> Moment {
        Moment::of(&*self.clock)
    }
}
