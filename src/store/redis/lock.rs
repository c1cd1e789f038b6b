//! The refresh lock of a record: a lease that is renewed as long as it is held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, select};
use parking_lot::Mutex;

use super::link::Link;
use super::scripts::{self, Names};
use crate::clock::{Clock, SystemClock, deadline};
use crate::error::Error;
use crate::runtime::Worker;
use crate::store::codec::{intent_text, read_intent};
use crate::store::support::poll::poll;
use crate::store::{Intent, RecordLock};

pub(super) struct RedisLock {
    held: Arc<Held>,
    /// Ends first.
    renewer: Worker,
}

struct Held {
    link: Arc<Link>,
    names: Names,
    id: String,
    /// Whose the lease is: no other holder has this text.
    token: String,
    lease: Duration,
    /// Until when the lease lasts for certain, on this process's clock; none when it is known to be lost.
    until: Mutex<Option<Instant>>,
}

/// Waits for the lock of a record for `wait` at most.
pub(super) fn take(
    link: &Arc<Link>,
    names: &Names,
    id: &str,
    lease: Duration,
    wait: Duration,
) -> Result<Option<RedisLock>, Error> {
    let held = Held {
        link: Arc::clone(link),
        names: names.clone(),
        id: id.to_owned(),
        token: scripts::token()?,
        lease,
        until: Mutex::new(None),
    };
    let taken = poll(wait, || held.take().map(|taken| taken.then_some(())))?;
    if taken.is_none() {
        return Ok(None);
    }
    let held = Arc::new(held);
    let renewing = Arc::clone(&held);
    let renewer = Worker::spawn("credpool-lease", move |stop| {
        loop {
            select! {
                recv(stop) -> _ => return,
                recv(SystemClock.after(renewing.lease / 3)) -> _ => {}
            }
            match renewing.renew() {
                Ok(true) => {}
                // It was given back meanwhile.
                Ok(false) if stop.try_recv() == Err(TryRecvError::Disconnected) => return,
                Ok(false) => {
                    log::warn!(
                        "the lock of {} was lost: it was not renewed in time",
                        renewing.id
                    );
                    return;
                }
                Err(error) => log::warn!("the lock of {} was not renewed: {error}", renewing.id),
            }
        }
    });
    match renewer {
        Ok(renewer) => Ok(Some(RedisLock { held, renewer })),
        Err(error) => {
            held.give_back();
            Err(error)
        }
    }
}

impl Held {
    fn run<T>(
        &self,
        what: &str,
        work: impl Fn(&mut redis::Connection) -> redis::RedisResult<T>,
    ) -> Result<T, Error> {
        let done = self.link.run(what, work);
        done.map_err(|error| error.with_auth_id(&self.id))
    }

    fn take(&self) -> Result<bool, Error> {
        self.lease(|| {
            self.run("lock a credential", |connection| {
                self.names
                    .lock(connection, &self.id, &self.token, self.lease)
            })
        })
    }

    fn renew(&self) -> Result<bool, Error> {
        self.lease(|| {
            self.run("renew a lock", |connection| {
                self.names
                    .renew(connection, &self.id, &self.token, self.lease)
            })
        })
    }

    /// Notes until when the lease lasts that `ask` asks for: counted from before the question, so that the server never ends it
    /// earlier.
    fn lease(&self, ask: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
        let end = deadline(SystemClock.monotonic(), self.lease);
        let is_ours = ask()?;
        *self.until.lock() = is_ours.then_some(end);
        Ok(is_ours)
    }

    fn give_back(&self) {
        let given = self.run("unlock a credential", |connection| {
            self.names.unlock(connection, &self.id, &self.token)
        });
        if let Err(error) = given {
            log::warn!(
                "{error}; others have the lock in {} ms",
                self.lease.as_millis()
            );
        }
    }
}

impl RecordLock for RedisLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        let held = &self.held;
        let text = held.run("read an intent", |connection| {
            held.names.intent(connection, &held.id)
        })?;
        text.map_or(Ok(None), |text| read_intent(&held.id, &text).map(Some))
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let held = &self.held;
        let text = intent.map(intent_text).transpose()?;
        let noted = held.run("note an intent", |connection| {
            held.names
                .set_intent(connection, &held.id, &held.token, text.as_deref())
        })?;
        if noted {
            Ok(())
        } else {
            *held.until.lock() = None;
            let message = format!(
                "the lock of {} was lost: it was not renewed within {} ms, and another process may have it",
                held.id,
                held.lease.as_millis()
            );
            Err(Error::store(message).with_auth_id(&held.id))
        }
    }

    /// A lease ends while a holder that is stopped, or does not reach the server, lives.
    fn holder_is_dead(&self) -> bool {
        false
    }

    /// Until a sixth of the lease before it can end: two renewals have failed by then.
    fn is_held(&self) -> bool {
        let soon = deadline(SystemClock.monotonic(), self.held.lease / 6);
        self.held.until.lock().is_some_and(|until| soon < until)
    }
}

impl Drop for RedisLock {
    fn drop(&mut self) {
        // One that renews at this moment finds that it has nothing to renew.
        self.renewer.stop();
        self.held.give_back();
    }
}
