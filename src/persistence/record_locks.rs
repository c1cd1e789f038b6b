//! Record locks: one writer of a record at a time within the process.

use std::collections::HashMap;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorCode};

/// Lets one writer at a time touch a record in the store, so that what is written last is what is true. Not a lock around
/// the store: other records go on.
#[derive(Debug, Default)]
pub(crate) struct RecordLocks {
    taken: Mutex<HashMap<String, ThreadId>>,
    freed: Condvar,
}

/// The right to write one record; dropping it ends the turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a RecordLocks,
    id: &'a str,
}

impl RecordLocks {
    /// Waits for the record's turn. A store that calls back for the record that it is writing gets a conflict.
    pub(crate) fn take<'a>(&'a self, id: &'a str) -> Result<Turn<'a>, Error> {
        let me = std::thread::current().id();
        let mut taken = self.taken.lock();
        while let Some(owner) = taken.get(id) {
            if *owner == me {
                let what = format!(
                    "{id} is already being written by this thread: a store must not change the record that it saves"
                );
                return Err(Error::new(ErrorCode::Conflict, what).with_auth_id(id));
            }
            self.freed.wait(&mut taken);
        }
        taken.insert(id.to_owned(), me);
        Ok(Turn { turns: self, id })
    }

    /// The record's turn, unless it is taken for longer than a write usually takes: then it may be taken for ever.
    pub(crate) fn try_take<'a>(&'a self, id: &'a str) -> Option<Turn<'a>> {
        let mut taken = self.taken.lock();
        let is_taken = |taken: &mut HashMap<_, _>| taken.contains_key(id);
        self.freed.wait_while_for(&mut taken, is_taken, A_WRITE);
        if taken.contains_key(id) {
            return None;
        }
        taken.insert(id.to_owned(), std::thread::current().id());
        Some(Turn { turns: self, id })
    }
}

/// Longer than most writes take, in real time.
const A_WRITE: Duration = Duration::from_millis(50);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().remove(self.id);
        self.turns.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_held_is_not_waited_for_without_end() {
        let turns = RecordLocks::default();
        let held = turns.take("a").unwrap();
        assert!(turns.try_take("a").is_none());
        assert!(turns.try_take("b").is_some(), "another record is free");
        drop(held);
        let held = turns.try_take("a").unwrap();
        let again = turns.take("a").unwrap_err();
        assert_eq!(*again.code(), ErrorCode::Conflict);
        drop(held);
        assert!(turns.take("a").is_ok());
    }
}
