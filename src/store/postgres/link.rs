//! Connections to the PostgreSQL server: opened, kept, replaced.

use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::result::{ConnectionError, QueryResult};

use super::listen::Ear;
use crate::auth::Secret;
use crate::error::Error;
use crate::random;
use crate::runtime::PerProcess;
use crate::store::support::connection_pool::Idle;
use crate::store::support::notices::Notices;

pub(super) struct Link {
    url: Secret,
    own: PerProcess<Own>,
}

/// What one process has.
pub(super) struct Own {
    /// Tells this handle's writes from those of others.
    pub(super) writer: i64,
    idle: Idle<PgConnection>,
    /// Connections that held locks, and hold none now.
    pub(super) lockers: Idle<PgConnection>,
    pub(super) notices: Notices<Ear>,
}

impl Own {
    fn new() -> Result<Self, Error> {
        let random = random::bytes().map_err(|error| {
            Error::store("the system's random number generator failed").with_source(error)
        })?;
        Ok(Self {
            writer: i64::from_le_bytes(random),
            idle: Idle::default(),
            lockers: Idle::default(),
            notices: Notices::default(),
        })
    }
}

impl Link {
    pub(super) fn new(url: Secret) -> Result<Self, Error> {
        Ok(Self {
            url,
            own: PerProcess::new(Own::new()?),
        })
    }

    pub(super) fn own(&self) -> Result<&Own, Error> {
        self.own.get(|_| Own::new())
    }

    /// Does `work`, which may be done twice: a connection that waited for its next use may have died meanwhile, and one that dies
    /// at work leaves it in doubt whether that was done.
    pub(super) fn run<T>(
        &self,
        what: &str,
        work: impl Fn(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let own = self.own()?;
        let mut connection = match own.idle.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut done = work(&mut connection);
        if done.is_err() {
            connection = match alive(connection) {
                Some(connection) => connection,
                None => {
                    log::debug!("a connection to PostgreSQL has died; replacing it");
                    let mut connection = self.connect()?;
                    done = work(&mut connection);
                    connection
                }
            };
        }
        match done {
            Ok(done) => {
                own.idle.put_back(connection);
                Ok(done)
            }
            Err(error) => Err(failed(what, error)),
        }
    }

    pub(super) fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = PgConnection::establish(self.url.expose()).map_err(refused)?;
        connection
            .batch_execute(SESSION)
            .map_err(|error| failed("begin a session", error))?;
        Ok(connection)
    }
}

/// The connection, if it still is one.
pub(super) fn alive(mut connection: PgConnection) -> Option<PgConnection> {
    connection.batch_execute("SELECT 1").ok()?;
    Some(connection)
}

pub(super) fn failed(what: &str, error: diesel::result::Error) -> Error {
    let message = format!(
        "PostgreSQL could not {what}: {error}; check that the server is up and that the tables may be used"
    );
    Error::store(message).with_source(error)
}

/// The text of the error is shown only where it speaks of the network or comes from the server: what libpq says of a
/// connection string may quote it.
fn refused(error: ConnectionError) -> Error {
    let text = error.to_string();
    if [
        "connection to server",
        "could not translate host name",
        "server closed",
    ]
    .iter()
    .any(|start| text.starts_with(start))
    {
        let message = format!("PostgreSQL cannot be reached: {}", text.trim());
        return Error::store(message).with_source(error);
    }
    Error::config(
        "the connection string of PostgreSQL cannot be parsed; it is a URL or a list of name=value, see libpq's documentation",
    )
}

/// What is acknowledged is durable, nothing hangs, and a statement sees what is there when it begins.
const SESSION: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
    SET default_transaction_isolation TO 'read committed';
    SET default_transaction_read_only TO off;
    SET client_min_messages TO warning;
    SET statement_timeout TO '10s';
    SET lock_timeout TO '10s';
    SET idle_session_timeout TO 0;
    SET tcp_keepalives_idle TO 10;
    SET tcp_keepalives_interval TO 5;
    SET tcp_keepalives_count TO 4;
";
