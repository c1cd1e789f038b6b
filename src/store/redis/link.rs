//! Connections to the Redis server: opened, kept, replaced.

use std::time::Duration;

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates,
};

use super::listen::Ear;
use super::scripts;
use crate::auth::Secret;
use crate::error::Error;
use crate::runtime::PerProcess;
use crate::store::support::connection_pool::Idle;
use crate::store::support::notices::Notices;

pub(super) struct Link {
    client: Client,
    /// Opens connections on which the server may speak unasked.
    listening: Client,
    own: PerProcess<Own>,
}

/// What one process has.
pub(super) struct Own {
    /// Tells this handle's writes from those of others.
    pub(super) writer: String,
    idle: Idle<Connection>,
    pub(super) notices: Notices<Ear>,
}

impl Own {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            writer: scripts::token()?,
            idle: Idle::default(),
            notices: Notices::default(),
        })
    }
}

impl Link {
    /// With the roots of certificates that are trusted, in PEM; those of the system where there are none.
    pub(super) fn new(url: &Secret, roots: Option<&[u8]>) -> Result<Self, Error> {
        // What is wrong with it might quote it.
        let refused = |why: &str| Error::config(why);
        let url = url.expose();
        let client = Client::open(url).map_err(|_| {
            refused(
                "the URL of Redis cannot be parsed; it is redis://user:password@host:port/database, rediss:// for TLS, or \
                 redis+unix:///path",
            )
        })?;
        let info = client.get_connection_info().clone();
        let may_speak = info.redis_settings().clone();
        let may_speak = may_speak.set_protocol(ProtocolVersion::RESP3);
        let may_speak = info.clone().set_redis_settings(may_speak);
        let (client, listening) = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(refused(
                    "the URL of Redis turns off certificate checks: remove `#insecure`",
                ));
            }
            ConnectionAddr::TcpTls { .. } => {
                (with_roots(info, roots)?, with_roots(may_speak, roots)?)
            }
            _ if roots.is_some() => {
                return Err(refused(
                    "root certificates are given for a connection to Redis without TLS: its URL begins with rediss://",
                ));
            }
            _ => {
                let listening = Client::open(may_speak).map_err(|_| {
                    refused("the URL of Redis cannot be used with version 3 of its protocol")
                })?;
                (client, listening)
            }
        };
        Ok(Self {
            client,
            listening,
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
        work: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, Error> {
        let own = self.own()?;
        let mut connection = match own.idle.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut done = work(&mut connection);
        if done.as_ref().is_err_and(is_broken) {
            log::debug!("a connection to Redis has died; replacing it");
            connection = self.connect()?;
            done = work(&mut connection);
        }
        match done {
            Ok(done) => {
                own.idle.put_back(connection);
                Ok(done)
            }
            Err(error) => {
                if !is_broken(&error) {
                    own.idle.put_back(connection);
                }
                Err(failed(what, error))
            }
        }
    }

    fn connect(&self) -> Result<Connection, Error> {
        connect(&self.client)
    }

    pub(super) fn connect_to_listen(&self) -> Result<Connection, Error> {
        connect(&self.listening)
    }
}

fn connect(client: &Client) -> Result<Connection, Error> {
    let refused = |error| failed("be reached", error);
    let connection = client
        .get_connection_with_timeout(TO_CONNECT)
        .map_err(refused)?;
    connection
        .set_read_timeout(Some(TO_ANSWER))
        .and_then(|()| connection.set_write_timeout(Some(TO_ANSWER)))
        .map_err(refused)?;
    Ok(connection)
}

fn with_roots(info: ConnectionInfo, roots: Option<&[u8]>) -> Result<Client, Error> {
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: roots.map(<[u8]>::to_vec),
    };
    let has_any = roots.is_none_or(|pem| pem.windows(BEGIN.len()).any(|start| start == BEGIN));
    let client = Client::build_with_tls(info, certificates).ok();
    client.filter(|_| has_any).ok_or_else(|| {
        let message = "the root certificates for Redis are not PEM: give the file of the authority that has signed \
             the server's certificate";
        Error::config(message)
    })
}

/// Whether nothing more can be had of a connection, or it may still have an answer in it that no caller waits for. A server that
/// has become a replica is no longer the one that the address means.
fn is_broken(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
}

pub(super) fn failed(what: &str, error: RedisError) -> Error {
    let message = format!(
        "Redis could not {what}: {error}; check that the server is up and that its user may run scripts on the keys"
    );
    Error::store(message).with_source(error)
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const TO_CONNECT: Duration = Duration::from_secs(5);
const TO_ANSWER: Duration = Duration::from_secs(10);
