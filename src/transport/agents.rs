//! The cache of HTTP agents: one pair for each proxy and each TLS setting.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy};

use super::limits::{CALL_TOTAL, CONNECT, STREAM_TOTAL};
use super::tls::{OwnTls, Tls, UnfitTls};
use super::{IdleConnections, cancellable};
use crate::proxy_url;

/// The agents of a manager. Each has its own pool of connections.
pub(super) struct Agents {
    tls: Arc<Tls>,
    idle: IdleConnections,
    /// Without a proxy, and with the manager's TLS set-up.
    direct: Pair,
    others: RwLock<HashMap<Key, Slot>>,
    /// Counts uses, so that the least recently used pair can go.
    uses: AtomicU64,
}

#[derive(Clone)]
pub(super) struct Pair {
    pub(super) pooled: Agent,
    pub(super) unpooled: Agent,
}

struct Slot {
    pair: Pair,
    last_use: AtomicU64,
}

/// A digest of a proxy's URL and of a credential's TLS attributes, so that no secret is kept to compare with.
type Key = [u8; 32];

/// Which setting of an agent is wrong, and how.
pub(super) enum Unfit {
    Proxy(&'static str),
    Tls(UnfitTls),
}

impl Agents {
    pub(super) fn new(tls: Tls, idle: IdleConnections) -> Self {
        let tls = Arc::new(tls);
        Self {
            direct: pair(None, &tls, idle),
            tls,
            idle,
            others: RwLock::default(),
            uses: AtomicU64::new(0),
        }
    }

    /// The agents behind the proxy with this URL, without one where it is empty.
    pub(super) fn get(&self, proxy: &str, own: Option<OwnTls<'_>>) -> Result<Pair, Unfit> {
        if proxy.is_empty() && own.is_none() {
            return Ok(self.direct.clone());
        }
        let key = key(proxy, own);
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.others.read().get(&key) {
            slot.last_use.store(now, Ordering::Relaxed);
            return Ok(slot.pair.clone());
        }
        let made = self.make(proxy, own)?;
        let mut removed = None;
        let pair = {
            let mut others = self.others.write();
            if others.len() >= MOST && !others.contains_key(&key) {
                removed = least_recent(&others).and_then(|key| others.remove(&key));
            }
            let slot = others.entry(key).or_insert_with(|| Slot {
                pair: made,
                last_use: AtomicU64::new(now),
            });
            slot.pair.clone()
        };
        // Closes its idle connections: not under the lock. Requests that use it go on.
        drop(removed);
        Ok(pair)
    }

    fn make(&self, proxy: &str, own: Option<OwnTls<'_>>) -> Result<Pair, Unfit> {
        let proxy = match proxy {
            "" => None,
            url => Some(proxy_url::parse(url).map_err(Unfit::Proxy)?),
        };
        let tls = match own {
            None => Arc::clone(&self.tls),
            Some(own) => Arc::new(self.tls.with(&own).map_err(Unfit::Tls)?),
        };
        Ok(pair(proxy, &tls, self.idle))
    }

    /// The TLS set-up for credentials that have none of their own.
    pub(super) fn shared_tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.others.read().len()
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents")
            .field("tls", &self.tls)
            .field("others", &self.others.read().len())
            .finish_non_exhaustive()
    }
}

fn key(proxy: &str, own: Option<OwnTls<'_>>) -> Key {
    let mut hasher = Sha256::new();
    hasher.update(proxy.len().to_le_bytes());
    hasher.update(proxy);
    if let Some(own) = own {
        own.digest(&mut hasher);
    }
    hasher.finalize().into()
}

fn least_recent(others: &HashMap<Key, Slot>) -> Option<Key> {
    others
        .iter()
        .min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed))
        .map(|(key, _)| *key)
}

fn pair(proxy: Option<Proxy>, tls: &Arc<Tls>, idle: IdleConnections) -> Pair {
    let agent = |proxy, idle| {
        let config = config(proxy, idle).build();
        cancellable::agent(config, Some(Arc::clone(tls)))
    };
    Pair {
        pooled: agent(proxy.clone(), idle),
        unpooled: agent(proxy, IdleConnections::NONE),
    }
}

/// The limits here are for requests that bring none of their own: nothing waits for ever.
pub(super) fn config(proxy: Option<Proxy>, idle: IdleConnections) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        // Always set: otherwise the environment would decide.
        .proxy(proxy)
        .user_agent(USER_AGENT)
        // Saying nothing would allow any coding (RFC 9110 section 12.5.3), and none would be decoded.
        .accept_encoding("identity")
        // The body of an error is the reason for it.
        .http_status_as_error(false)
        // On its way to another host, a redirect would take keys along in headers that are not `Authorization`.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Of every live stream; by default they would be 128 KiB each.
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        // A head that fills the buffer could not be distinguished from a closed connection.
        .max_response_header_size(BUFFER - 1024)
        .max_idle_connections(idle.in_all)
        .max_idle_connections_per_host(idle.per_host)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_write(Some(WRITE))
        .timeout_per_read(Some(CALL_TOTAL))
        .timeout_global(Some(STREAM_TOTAL))
}

const MOST: usize = 256;
const BUFFER: usize = 12 * 1024;
const WRITE: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("credpool/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    fn agents() -> Agents {
        Agents::new(Tls::default(), IdleConnections::default())
    }

    #[test]
    fn the_same_proxy_is_made_once_and_the_map_is_bounded() {
        let agents = agents();
        let url = |number: usize| format!("http://user:canary@127.0.0.1:{number}");
        for number in 1..=MOST {
            agents.get(&url(number), None).ok().unwrap();
        }
        agents.get(&url(1), None).ok().unwrap();
        assert_eq!(agents.len(), MOST);
        agents.get(&url(MOST + 1), None).ok().unwrap();
        assert_eq!(agents.len(), MOST);
        let kept = |number| agents.others.read().contains_key(&key(&url(number), None));
        assert!(kept(1) && !kept(2) && kept(3));
        assert!(!format!("{agents:?}").contains("canary"));
    }

    #[test]
    fn nothing_is_kept_for_a_bad_url() {
        let agents = agents();
        assert!(agents.get("nonsense", None).is_err());
        assert_eq!(agents.len(), 0);
    }

    #[test]
    fn every_agent_has_limits_and_no_proxy_from_outside() {
        let agents = agents();
        let Pair { pooled, unpooled } = agents.get("", None).ok().unwrap();
        for agent in [&pooled, &unpooled] {
            let config = agent.config();
            assert!(config.proxy().is_none());
            assert!(!config.http_status_as_error());
            assert_eq!(config.max_redirects(), 0);
            let timeouts = config.timeouts();
            assert!(timeouts.global.is_some());
            assert_eq!(timeouts.connect, Some(CONNECT));
            assert_eq!(timeouts.resolve, Some(CONNECT));
        }
        assert_eq!(unpooled.config().max_idle_connections(), 0);
        let proxied = agents.get("socks5h://u:p@[::1]:9", None).ok().unwrap();
        assert!(proxied.pooled.config().proxy().is_some());
        assert!(proxied.unpooled.config().proxy().is_some());
    }
}
