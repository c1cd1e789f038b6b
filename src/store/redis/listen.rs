//! [`Ear`]: a connection on which the server says that a record has changed.

use std::time::Duration;

use redis::{Connection, PushKind, RedisResult, Value};

use super::scripts::Names;
use crate::store::support::notices::Listener;

pub(super) struct Ear(Connection);

impl Ear {
    /// On a connection of version 3 of the protocol.
    pub(super) fn open(mut connection: Connection, names: &Names) -> RedisResult<Self> {
        names.follow(&mut connection)?;
        connection.set_read_timeout(Some(AT_ONCE))?;
        Ok(Self(connection))
    }
}

impl Listener for Ear {
    type Failure = redis::RedisError;

    fn has_news(&mut self) -> RedisResult<bool> {
        let mut has_news = false;
        loop {
            match self.0.recv_response() {
                Ok(said) => has_news |= is_news(&said),
                Err(error) if error.is_timeout() => return Ok(has_news),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_news(said: &Value) -> bool {
    let Value::Push { kind, .. } = said else {
        return false;
    };
    *kind == PushKind::Invalidate
}

/// For how long a look waits for what may have come: as short as a socket's time can be.
const AT_ONCE: Duration = Duration::from_millis(1);
