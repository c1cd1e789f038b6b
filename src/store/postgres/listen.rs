//! [`Ear`]: a connection on which the server says that a record has changed.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::result::QueryResult;

use super::rows::{self, Horizon};
use crate::store::support::notices::Listener;

pub(super) struct Ear {
    pub(super) connection: PgConnection,
    /// The number of the table that it listens for.
    table: String,
    /// Whose changes are no news.
    own: String,
}

impl Ear {
    /// `None` where the table has no trigger that would tell.
    pub(super) fn open(mut connection: PgConnection, writer: i64) -> QueryResult<Option<Self>> {
        let Some(table) = rows::notifies(&mut connection)? else {
            return Ok(None);
        };
        connection.batch_execute(&format!("LISTEN {CHANNEL}{table}"))?;
        let own = writer.to_string();
        Ok(Some(Self {
            connection,
            table,
            own,
        }))
    }

    /// Whether it listens for this table: a restored one is another.
    pub(super) fn is_of(&self, horizon: &Horizon) -> bool {
        horizon.history.split(' ').next() == Some(&*self.table)
    }
}

impl Listener for Ear {
    type Failure = diesel::result::Error;

    fn has_news(&mut self) -> QueryResult<bool> {
        let mut has_news = false;
        for notice in self.connection.notifications_iter() {
            has_news |= notice?.payload != self.own;
        }
        Ok(has_news)
    }
}

/// With the table's number behind it. The trigger has it, too.
const CHANNEL: &str = "credpool_";
