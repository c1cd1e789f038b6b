//! One pair of agents for each proxy, made when first needed and kept.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use ureq::config::Config;
use ureq::{Agent, Proxy};

use crate::auth::Secret;

use super::cancellable::AgentMaker;
use super::limits::{CALL_TOTAL, CONNECT, STREAM_TOTAL};
use super::{IdleConnections, proxy};

/// The agents of a manager. All share one TLS set-up; each has its own pool of connections.
pub(super) struct Agents {
    maker: AgentMaker,
    idle: IdleConnections,
    direct: Pair,
    proxied: RwLock<HashMap<ProxyUrl, Slot>>,
    /// Counts uses, so that the least recently used proxy can go.
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

impl Agents {
    pub(super) fn new(idle: IdleConnections) -> Self {
        let maker = AgentMaker::new();
        Self {
            direct: pair(&maker, None, idle),
            idle,
            proxied: RwLock::default(),
            uses: AtomicU64::new(0),
            maker,
        }
    }

    pub(super) fn direct(&self) -> Pair {
        self.direct.clone()
    }

    /// The agents behind the proxy, or what is wrong with its URL.
    pub(super) fn proxied(&self, url: &str) -> Result<Pair, &'static str> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.proxied.read().get(url) {
            slot.last_use.store(now, Ordering::Relaxed);
            return Ok(slot.pair.clone());
        }
        let made = pair(&self.maker, Some(&proxy::parse(url)?), self.idle);
        let mut removed = None;
        let pair = {
            let mut proxied = self.proxied.write();
            if proxied.len() >= MAX_PROXIES && !proxied.contains_key(url) {
                removed = least_recent(&proxied).and_then(|url| proxied.remove(url.0.expose()));
            }
            let slot = proxied
                .entry(ProxyUrl(Secret::new(url)))
                .or_insert_with(|| Slot {
                    pair: made,
                    last_use: AtomicU64::new(now),
                });
            slot.pair.clone()
        };
        // Closes its idle connections: not under the lock. Requests that use it go on.
        drop(removed);
        Ok(pair)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.proxied.read().len()
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents")
            .field("proxies", &self.proxied.read().len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
struct ProxyUrl(Secret);

impl Hash for ProxyUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose().hash(state);
    }
}

impl Borrow<str> for ProxyUrl {
    fn borrow(&self) -> &str {
        self.0.expose()
    }
}

fn least_recent(proxied: &HashMap<ProxyUrl, Slot>) -> Option<ProxyUrl> {
    proxied
        .iter()
        .min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed))
        .map(|(url, _)| url.clone())
}

fn pair(maker: &AgentMaker, proxy: Option<&Proxy>, idle: IdleConnections) -> Pair {
    Pair {
        pooled: maker.agent(config(proxy.cloned(), idle)),
        unpooled: maker.agent(config(proxy.cloned(), IdleConnections::NONE)),
    }
}

/// The limits here are for requests that bring none of their own: nothing waits for ever.
fn config(proxy: Option<Proxy>, idle: IdleConnections) -> Config {
    Agent::config_builder()
        // Always set: otherwise the environment would decide.
        .proxy(proxy)
        .user_agent(USER_AGENT)
        // Saying nothing would allow any coding (RFC 9110 section 12.5.3), and nobody would undo it.
        .accept_encoding("identity")
        // The body of an error is the reason for it.
        .http_status_as_error(false)
        // On its way to another host, a redirect would take keys along in headers that are not `Authorization`.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Of every live stream; by default they would be 128 KiB each.
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        // A head that fills the buffer could not be told from a closed connection.
        .max_response_header_size(BUFFER - 1024)
        .max_idle_connections(idle.in_all)
        .max_idle_connections_per_host(idle.per_host)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_write(Some(WRITE))
        .timeout_per_read(Some(CALL_TOTAL))
        .timeout_global(Some(STREAM_TOTAL))
        .build()
}

const MAX_PROXIES: usize = 256;
const BUFFER: usize = 12 * 1024;
const WRITE: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("credpool/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_proxy_is_made_once_and_the_map_is_bounded() {
        let agents = Agents::new(IdleConnections::default());
        let url = |number: usize| format!("http://user:canary@127.0.0.1:{number}");
        for number in 1..=MAX_PROXIES {
            agents.proxied(&url(number)).unwrap();
        }
        agents.proxied(&url(1)).unwrap();
        assert_eq!(agents.len(), MAX_PROXIES);
        agents.proxied(&url(MAX_PROXIES + 1)).unwrap();
        assert_eq!(agents.len(), MAX_PROXIES);
        let kept = |number| agents.proxied.read().contains_key(url(number).as_str());
        assert!(kept(1) && !kept(2) && kept(3));
        assert!(!format!("{agents:?}").contains("canary"));
    }

    #[test]
    fn nothing_is_kept_for_a_bad_url() {
        let agents = Agents::new(IdleConnections::default());
        assert!(agents.proxied("nonsense").is_err());
        assert_eq!(agents.len(), 0);
    }

    #[test]
    fn every_agent_has_limits_and_no_proxy_from_outside() {
        let agents = Agents::new(IdleConnections::default());
        let Pair { pooled, unpooled } = agents.direct();
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
        let proxied = agents.proxied("socks5h://u:p@[::1]:9").unwrap();
        assert!(proxied.pooled.config().proxy().is_some());
        assert!(proxied.unpooled.config().proxy().is_some());
    }
}
