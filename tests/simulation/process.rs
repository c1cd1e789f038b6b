//! A process of the fleet: a manager with a clock, a store handle and a network of its own, all of which end with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use credpool::{CancelToken, Error, FailurePolicy, Manager};

use crate::executor::Network;
use crate::gate::Stops;
use crate::handle::{Line, Trouble};
use crate::timeline::{Pid, ProcessClock, Setting, Timeline};
use crate::truth::{Life, Shared};

pub struct Process {
    pub pid: Pid,
    pub manager: Manager,
    pub clock: ProcessClock,
    pub line: Line,
    /// Ends its calls.
    pub cancel: CancelToken,
    pub frozen: Option<Freeze>,
    /// The records that it has listed.
    pub seen: BTreeSet<String>,
    pub began: Duration,
    /// When it last went on after it had stood still.
    pub thawed: Duration,
}

/// Why a process stands still.
#[derive(Clone, Copy, Debug)]
pub struct Freeze {
    pub since: Duration,
    /// The whole machine sleeps: its monotonic clock stands still, too.
    pub asleep: bool,
}

/// What all processes of a world have in common.
#[derive(Clone)]
pub struct Plant {
    pub timeline: Arc<Timeline>,
    pub truth: Shared,
    pub trouble: Arc<Trouble>,
    pub gap: Duration,
    pub reload: Duration,
    pub refreshes: bool,
}

impl Process {
    /// Starts a process that loads what the store has.
    pub fn start(
        plant: &Plant,
        store: Arc<dyn credpool::Store>,
        stops: Stops,
        setting: Setting,
    ) -> Result<Self, Error> {
        let Plant {
            timeline, truth, ..
        } = plant;
        let Stops { switches, pid, .. } = stops;
        truth.lock().lives.insert(pid, Life::default());
        let clock = ProcessClock::new(timeline, pid, setting);
        let line = Line::new(store, pid, timeline, truth, switches);
        let manager = Manager::builder()
            .clock(clock.clone())
            .store(line.clone())
            .policy(FailurePolicy::default().with_jitter(0.0))
            .min_refresh_gap(plant.gap)
            .seed(u64::from(pid))
            .build()?;
        manager.register_executor(Network {
            pid,
            timeline: Arc::clone(timeline),
            truth: Arc::clone(truth),
            line: line.clone(),
        });
        manager.load()?;
        manager.start_hot_reload(plant.reload)?;
        if plant.refreshes {
            manager.start_auto_refresh(Duration::from_secs(1))?;
        }
        Ok(Self {
            pid,
            manager,
            clock,
            line,
            cancel: CancelToken::new(),
            frozen: None,
            seen: BTreeSet::new(),
            began: timeline.now(),
            thawed: Duration::ZERO,
        })
    }

    /// It ends as by SIGKILL. What is left of its threads ends by itself; a thread that waits for that.
    pub fn kill(self, plant: &Plant) -> std::thread::JoinHandle<()> {
        let now = plant.timeline.now();
        if let Some(life) = plant.truth.lock().lives.get_mut(&self.pid) {
            life.died = Some(now);
        }
        self.line.cut();
        plant.timeline.bury(self.pid);
        self.cancel.cancel();
        let manager = self.manager;
        std::thread::spawn(move || {
            let _ = manager.shutdown(Duration::from_millis(1));
        })
    }

    pub fn freeze(&mut self, plant: &Plant, asleep: bool) {
        let since = plant.timeline.now();
        self.frozen = Some(Freeze { since, asleep });
        plant.timeline.freeze(self.pid);
        self.line.set_frozen(true);
        if let Some(life) = plant.truth.lock().lives.get_mut(&self.pid) {
            life.frozen_since = Some(since);
        }
    }

    pub fn thaw(&mut self, plant: &Plant) {
        let Some(freeze) = self.frozen.take() else {
            return;
        };
        let now = plant.timeline.now();
        if let Some(life) = plant.truth.lock().lives.get_mut(&self.pid) {
            life.frozen_since = None;
            life.last_freeze = (freeze.since, now);
        }
        self.thawed = now;
        let slept = if freeze.asleep {
            now.saturating_sub(freeze.since)
        } else {
            Duration::ZERO
        };
        self.clock.add_sleep(slept);
        plant.timeline.thaw(self.pid, slept);
        self.line.set_frozen(false);
    }
}
