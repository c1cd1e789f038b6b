//! What processes are asked to do, each on a thread of its own, and what is so once they say that it is done.

use std::sync::Arc;
use std::time::Duration;

use credpool::{Error, ErrorCode, Manager};
use serde_json::Value;

use crate::promises;
use crate::timeline::Pid;
use crate::truth::{Field, Presence};
use crate::world::World;

/// Something that a process has been asked to do.
pub struct Job {
    pid: Pid,
    what: String,
    changes: Vec<Change>,
    /// The number of the last change when it began.
    began: u64,
    at: Duration,
    over: bool,
}

/// The number of a job, and what came of it.
pub type Done = (usize, Result<(), Error>);

/// What is so once a job has been acknowledged.
#[derive(Clone, Debug)]
pub enum Change {
    Field(String, Field, Value),
    /// The change says nothing of this field, or two say different things.
    Blur(String, Field),
    Login(String, usize),
    BlurLogin(String),
    Registered(String),
    Removed(String),
    /// A cooldown that was known was reset.
    Reset(String),
    Cooled(String, Duration),
    /// A call; the credentials that were ready when it began.
    Called(Vec<String>),
    /// A refresh by command.
    Refreshed(String),
}

impl World {
    pub fn abandon_jobs(&mut self, pid: Pid) {
        let mut jobs = std::mem::take(&mut self.jobs);
        self.truth()
            .lock()
            .commanded
            .retain(|(other, _)| *other != pid);
        for job in jobs.iter_mut().filter(|job| job.pid == pid && !job.over) {
            job.over = true;
            for change in &job.changes {
                self.blur(change);
            }
        }
        self.jobs = jobs;
    }

    /// Asks a process to do something, on a thread of its own.
    pub fn start(
        &mut self,
        place: usize,
        what: impl Into<String>,
        changes: Vec<Change>,
        work: impl FnOnce(&Manager) -> Result<(), Error> + Send + 'static,
    ) {
        let Some(process) = &self.processes[place] else {
            return;
        };
        let (pid, what) = (process.pid, what.into());
        self.note(format!("p{pid} is asked: {what}"));
        for change in &changes {
            let mut truth = self.truth().lock();
            match change {
                Change::Refreshed(id) => truth.commanded.push((pid, id.clone())),
                Change::Login(id, grant) => truth.leave(id, *grant),
                _ => {}
            }
        }
        let number = self.jobs.len();
        let job = Job {
            pid,
            what,
            changes,
            began: self.truth().lock().next_change,
            at: self.now(),
            over: false,
        };
        self.jobs.push(job);
        let (manager, done) = (process.manager.clone(), Arc::clone(&self.done));
        self.threads.push(std::thread::spawn(move || {
            let result = work(&manager);
            drop(manager);
            done.lock().push((number, result));
        }));
    }

    pub fn end_job(&mut self, number: usize, result: &Result<(), Error>) {
        let job = &mut self.jobs[number];
        if std::mem::replace(&mut job.over, true) {
            return;
        }
        let (pid, what, began, at) = (job.pid, job.what.clone(), job.began, job.at);
        let changes = job.changes.clone();
        let outcome = match result {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{error}"),
        };
        self.truth().lock().tell(pid, format!("{what}: {outcome}"));
        for change in changes {
            if let Change::Called(ready) = &change {
                promises::calls::check_call(self, pid, ready, at, result);
            } else if let Change::Refreshed(id) = change {
                let commanded = &mut self.truth().lock().commanded;
                let this = commanded.iter().position(|one| *one == (pid, id.clone()));
                this.map(|this| commanded.remove(this));
            } else if result.is_ok() && !self.unmounted {
                self.acknowledge(change, began);
            } else if result.is_ok() || !leaves_all_as_it_was(result) {
                self.blur(&change);
            }
        }
    }

    pub fn acknowledge(&self, change: Change, began: u64) {
        let mut truth = self.truth().lock();
        let now = truth.now();
        match change {
            Change::Field(id, field, value) => truth.set_field(&id, field, value, began),
            Change::Blur(id, field) => truth.blur_field(&id, field),
            Change::Login(id, grant) => truth.set_login(&id, grant, began),
            Change::BlurLogin(id) => {
                if let Some(expected) = truth.records.get_mut(&id) {
                    expected.grant = None;
                }
            }
            Change::Registered(id) => truth.set_presence(&id, Presence::Present, began),
            Change::Removed(id) => truth.set_presence(&id, Presence::Removed, began),
            Change::Reset(id) => {
                let cooldowns = truth.cooldowns.entry(id).or_default();
                cooldowns.reset = Some(now);
            }
            Change::Cooled(id, length) => truth.cool(&id, length),
            Change::Called(_) | Change::Refreshed(_) => {}
        }
    }

    fn blur(&self, change: &Change) {
        let mut truth = self.truth().lock();
        match change {
            Change::Field(id, field, _) | Change::Blur(id, field) => truth.blur_field(id, *field),
            Change::Registered(id) | Change::Removed(id) => truth.blur_record(id),
            Change::Login(id, _) | Change::BlurLogin(id) => {
                if let Some(expected) = truth.records.get_mut(id) {
                    expected.grant = None;
                }
            }
            Change::Cooled(id, length) => truth.cool(id, *length),
            Change::Reset(_) | Change::Called(_) | Change::Refreshed(_) => {}
        }
    }
}

/// These errors promise that nothing has changed.
fn leaves_all_as_it_was(result: &Result<(), Error>) -> bool {
    let Err(error) = result else {
        return false;
    };
    matches!(
        error.code(),
        ErrorCode::Store | ErrorCode::Conflict | ErrorCode::AuthNotFound | ErrorCode::Config
    )
}
