//! The writer: takes to the store what results changed, beside the calls and a few times a second at most.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use crate::cancel::Never;
use crate::error::Error;
use crate::registry::Unsaved;
use crate::runtime::Worker;
use crate::services::Services;

/// Starts the writer thread. Told to stop, it makes a last attempt at what is left and ends.
pub(crate) fn start(services: &Arc<Services>) -> Result<Worker, Error> {
    let weak = Arc::downgrade(services);
    let woken = services.keeper.woken();
    Worker::spawn("credpool-writer", move |stop| {
        let mut writer = Writer {
            services: weak,
            unsaved: BTreeSet::new(),
            failures: 0,
        };
        while writer.wait(&woken, &stop) && writer.write() {}
    })
}

struct Writer {
    services: Weak<Services>,
    /// Records with news; at most all of them.
    unsaved: BTreeSet<Arc<str>>,
    /// Rounds in a row in which a write failed.
    failures: u32,
}

impl Writer {
    /// Sleeps until there is news, then for as long as more may come. False: stop, after one last round.
    fn wait(&mut self, woken: &Receiver<()>, stop: &Receiver<Never>) -> bool {
        if self.unsaved.is_empty() {
            select! {
                recv(woken) -> _ => {}
                recv(stop) -> _ => return self.last_round(),
            }
        }
        let pause = COALESCE
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(MOST_BACK_OFF);
        let Some(clock) = self
            .services
            .upgrade()
            .map(|services| Arc::clone(&services.clock))
        else {
            return false;
        };
        select! {
            recv(clock.after(pause)) -> _ => true,
            recv(stop) -> _ => self.last_round(),
        }
    }

    fn last_round(&mut self) -> bool {
        self.write();
        if !self.unsaved.is_empty() {
            log::error!(
                "shutdown: {} credentials were not saved, because the store fails",
                self.unsaved.len()
            );
        }
        if let Some(services) = self.services.upgrade() {
            services.keeper.leave_unsaved(self.unsaved.len());
        }
        false
    }

    /// Writes everything once; what fails stays for the next round. False when the manager is gone.
    fn write(&mut self) -> bool {
        let Some(services) = self.services.upgrade() else {
            return false;
        };
        self.unsaved.extend(services.keeper.take_noted());
        let before = self.unsaved.len();
        services.keeper.note_health(|health| {
            health.unsaved = before;
            health.writing_since = Some(services.clock.now());
        });
        let mut failure = None;
        self.unsaved.retain(|id| match write_one(&services, id) {
            Ok(()) => false,
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        services.keeper.note_health(|health| {
            health.unsaved = self.unsaved.len();
            health.writing_since = None;
            health.last_error.clone_from(&failure);
            match failure {
                None => (health.failures, health.failing_since) = (0, None),
                Some(_) => {
                    health.failures = health.failures.saturating_add(1);
                    let since = health.failing_since.or(Some(services.clock.now()));
                    health.failing_since = since;
                }
            }
        });
        match failure {
            None if self.failures > 0 => {
                log::info!("the store works again");
                self.failures = 0;
            }
            None => {}
            Some(error) => {
                self.failures += 1;
                log::warn!(
                    "the state of {} of {before} credentials could not be saved, trying again: {error}",
                    self.unsaved.len()
                );
            }
        }
        true
    }
}

fn write_one(services: &Services, id: &str) -> Result<(), Error> {
    let _turn = services.keeper.turn(id)?;
    let Some((auth, what)) = services.registry.take_unsaved(id) else {
        return Ok(());
    };
    let written = match what {
        // Another process may have refreshed the tokens since.
        Unsaved::Record if auth.generation() > 0 => services
            .keeper
            .save_newer(&auth, auth.generation())
            .map(drop),
        Unsaved::Record => services.keeper.save(&auth),
        Unsaved::State | Unsaved::Nothing => services.keeper.save_state(&auth),
    };
    if written.is_err() {
        services.registry.mark_unsaved(id, what);
    }
    written
}

/// News that come within this time are written together.
const COALESCE: Duration = Duration::from_millis(500);

/// The longest pause between attempts with a store that fails.
const MOST_BACK_OFF: Duration = Duration::from_secs(30);
