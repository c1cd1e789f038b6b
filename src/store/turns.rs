use std::collections::HashMap;
use std::thread::ThreadId;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorCode};

/// Lets one writer at a time touch a record in the store, so that what is written last is what is true. Not a lock around
/// the store: other records go on.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<HashMap<String, ThreadId>>,
    freed: Condvar,
}

/// The right to write one record; dropping it ends the turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    id: &'a str,
}

impl Turns {
    /// Waits for the record's turn. A store that calls back for the record that it is writing gets a conflict.
    pub(crate) fn take<'a>(&'a self, id: &'a str) -> Result<Turn<'a>, Error> {
        let me = std::thread::current().id();
        let mut taken = self.taken.lock();
        while let Some(owner) = taken.get(id) {
            if *owner == me {
                return Err(Error::new(
                    ErrorCode::Conflict,
                    format!("{id} is being written by the caller itself; a store must not change the record that it saves"),
                )
                .with_auth_id(id));
            }
            self.freed.wait(&mut taken);
        }
        taken.insert(id.to_owned(), me);
        Ok(Turn { turns: self, id })
    }

    /// The record's turn, if it is free now.
    pub(crate) fn try_take<'a>(&'a self, id: &'a str) -> Option<Turn<'a>> {
        let mut taken = self.taken.lock();
        if taken.contains_key(id) {
            return None;
        }
        taken.insert(id.to_owned(), std::thread::current().id());
        Some(Turn { turns: self, id })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().remove(self.id);
        self.turns.freed.notify_all();
    }
}
