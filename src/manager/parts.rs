//! [`Inner`]: the parts of a manager, put together from its settings; anew in a child that is forked.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::Builder;
use super::models::VendorModels;
use super::reload::Intake;
use super::shutdown::THREAD_END;
use crate::cancel::Never;
use crate::error::Error;
use crate::execution::Engine;
use crate::executor::{Context, Executors};
use crate::observe::{CallCounters, Hooks};
use crate::persistence::{StoreHandle, start_writer};
use crate::random::Random;
use crate::refresh::{self, RefreshCoordinator, start_scheduler};
use crate::registry::{Dirty, Registry};
use crate::resources::Resources;
use crate::runtime::{LaneLimits, Pool, Process, Worker, lock_of_parent};
use crate::services::Services;
use crate::store::leave_parents_locks;
use crate::transport::{Tls, Transport};

/// What the handles of one process share. Worker threads hold the parts, never this: dropping it stops and joins them.
pub(super) struct Inner {
    settings: Arc<Builder>,
    pub(super) services: Arc<Services>,
    pub(super) engine: Arc<Engine>,
    pub(super) refresh: Arc<RefreshCoordinator>,
    pub(super) refresher: Periodic,
    pub(super) reloader: Periodic,
    /// Takes over records of the store.
    pub(super) intake: Arc<Intake>,
    pub(super) vendor_models: VendorModels,
    pub(super) writer: Mutex<Option<Worker>>,
    /// Disconnects when the shutdown that has begun is done.
    pub(super) shutdown: Mutex<Option<Receiver<Never>>>,
}

impl Inner {
    pub(super) fn new(settings: Arc<Builder>) -> Result<Self, Error> {
        let store_handle = StoreHandle::new(settings.store.clone(), Arc::clone(&settings.clock));
        Self::with(settings, store_handle, Executors::default())
    }

    fn with(
        settings: Arc<Builder>,
        store_handle: StoreHandle,
        executors: Executors,
    ) -> Result<Self, Error> {
        let lane = |threads| LaneLimits { threads, queue: 0 };
        let pool = Pool::new(
            Arc::clone(&settings.clock),
            settings.jobs,
            lane(settings.max_streams),
            lane(refresh::threads(settings.refresh_threads)),
        );
        let clock = &settings.clock;
        let random = Arc::new(settings.seed.map_or_else(Random::new, Random::seeded));
        let registry = Registry::new(Arc::clone(&random), settings.use_limits)
            .with_pending(settings.policy.pending());
        let tls = Tls::new(&settings.tls)?;
        let transport = Arc::new(Transport::new(settings.proxy.clone(), settings.idle, tls));
        let store_handle = Arc::new(store_handle);
        let services = Arc::new(Services {
            tools: Arc::new(Context {
                clock: Arc::clone(clock),
                transport: Arc::clone(&transport),
            }),
            resources: Resources::new(
                settings.remembered,
                Arc::clone(&store_handle),
                Arc::clone(clock),
            ),
            store_handle,
            clock: Arc::clone(clock),
            registry: Arc::new(registry),
            executors,
            chains: settings.chains.clone(),
            hooks: Hooks::new(Arc::clone(&settings.hook)),
            call_counters: CallCounters::default(),
            prices: settings.prices.clone(),
            transport,
            pool,
            process: Process::current(),
            random,
        });
        let refresh = Arc::new(RefreshCoordinator::new(
            Arc::clone(&services),
            settings.min_refresh_gap,
            settings.refresh_threads,
            settings.refreshes_per_client,
        ));
        let engine = Arc::new(Engine::new(
            Arc::clone(&services),
            Arc::clone(&refresh),
            settings.policy.clone(),
            Arc::clone(&settings.selector),
            settings.streams,
        ));
        let writer = start_writer(&services.clock, &services.registry, &services.store_handle)?;
        Ok(Self {
            settings,
            intake: Arc::new(Intake {
                services: Arc::clone(&services),
                engine: Arc::clone(&engine),
                refresh: Arc::clone(&refresh),
                seen: Mutex::default(),
            }),
            services,
            engine,
            refresh,
            vendor_models: VendorModels::default(),
            refresher: Periodic::default(),
            reloader: Periodic::default(),
            writer: Mutex::new(Some(writer)),
            shutdown: Mutex::new(None),
        })
    }

    /// The same for a child that was forked: with what the program has set and registered, and what is known of the credentials. Threads and
    /// connections are its own, and nothing is in flight.
    pub(super) fn of_child(&self) -> Result<Self, Error> {
        leave_parents_locks()?;
        let parents = &self.services;
        // First, as it may be what fails.
        let records = parents.registry.of_parent()?;
        let store = parents.store_handle.store();
        let child = Self::with(
            Arc::clone(&self.settings),
            StoreHandle::new(store, Arc::clone(&parents.clock)),
            parents.executors.copy(),
        )?;
        let services = &child.services;
        services
            .transport
            .set_provider(parents.transport.provider());
        services.resources.take_over(&parents.resources)?;
        child.engine.stick_as(&self.engine);
        let seen = lock_of_parent(
            &self.intake.seen,
            "changes of the store were being taken over",
        )?;
        child.intake.seen.lock().follow(&seen);
        drop(seen);
        for (auth, unsaved) in records {
            let id: Arc<str> = auth.id.as_str().into();
            services.registry.insert(auth);
            // The parent may end before it has saved this.
            if unsaved != Dirty::Nothing && services.registry.mark_unsaved(&id, unsaved) {
                services.store_handle.note(id);
            }
        }
        if let Some(interval) = self.refresher.interval() {
            child.start_refresher(interval)?;
        }
        if let Some(interval) = self.reloader.interval() {
            child.start_reloader(interval)?;
        }
        log::debug!("the process has forked; the child has taken its parent's credentials over");
        Ok(child)
    }

    pub(super) fn start_refresher(&self, interval: Duration) -> Result<(), Error> {
        self.refresher.start(interval, || {
            self.services.pool.check_open()?;
            start_scheduler(&self.refresh, interval)
        })
    }
}

/// A thread that works at an interval, where it was started.
#[derive(Default)]
pub(super) struct Periodic(Mutex<Option<(Worker, Duration)>>);

impl Periodic {
    /// In place of the one before. `start` is called under the lock: a stop that comes after it finds the new one.
    pub(super) fn start(
        &self,
        interval: Duration,
        start: impl FnOnce() -> Result<Worker, Error>,
    ) -> Result<(), Error> {
        let former = {
            let mut thread = self.0.lock();
            thread.replace((start()?, interval))
        };
        if let Some((mut former, _)) = former {
            former.join(THREAD_END);
        }
        Ok(())
    }

    /// False when it has not ended in time.
    pub(super) fn stop(&self, wait: Duration) -> bool {
        let thread = self.0.lock().take();
        thread.is_none_or(|(mut worker, _)| worker.join(wait))
    }

    fn interval(&self) -> Option<Duration> {
        self.0.lock().as_ref().map(|(_, interval)| *interval)
    }
}
