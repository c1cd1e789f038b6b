//! Transport: one HTTP agent for each proxy and TLS setting, with connections that a cancel closes.

mod agents;
mod cancellable;
mod choice;
mod error;
mod limits;
mod not_sent;
mod socks;
mod tls;
pub(crate) mod url;

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::auth::{Auth, Secret};
use crate::error::Error;

use agents::Agents;
pub(crate) use cancellable::{IdleLimits, Scope, within};
pub(crate) use choice::Chosen;
pub(crate) use error::{ConnectionState, Phase, Route};
pub use limits::Limits;
pub use not_sent::NotSent;
pub(crate) use tls::{Tls, TlsSettings};
pub use url::check_url;

/// Gives credentials their own HTTP agents.
///
/// Make the agents with [`cancellable_agent`] from [`agent_config`]: they then have the pool, the buffers and the limits of the
/// manager's own, and their requests end when their call does. An agent
/// without a proxy is used with the credential's proxy or the manager's by [`Attempt::send`](crate::Attempt::send), and so by
/// all executors of this crate; an agent with a proxy of its own keeps that. An agent whose configuration says nothing of TLS
/// accepts the certificates that the manager accepts; the attributes of a credential for TLS are the provider's business then.
///
/// ```
/// use credpool::{Auth, Error, TransportProvider, agent_config, cancellable_agent};
///
/// /// One provider's hosts are only reachable over IPv4.
/// struct OnlyIpv4(ureq::Agent);
///
/// impl TransportProvider for OnlyIpv4 {
///     fn agent_for(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error> {
///         Ok((auth.provider == "acme").then(|| self.0.clone()))
///     }
/// }
///
/// let config = agent_config()
///     .ip_family(ureq::config::IpFamily::Ipv4Only)
///     .build();
/// let provider = OnlyIpv4(cancellable_agent(config));
/// assert!(provider.agent_for(&Auth::new("openai")).unwrap().is_none());
/// ```
#[doc(alias = "RoundTripperProvider")]
pub trait TransportProvider: Send + Sync {
    /// The agent for `auth`; `None` leaves it to the manager.
    ///
    /// # Errors
    /// Fails the attempt: nothing is sent.
    fn agent_for(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error>;
}

/// The settings of a manager's own HTTP agents, to begin with for others: as many idle connections as are of use (ureq itself keeps 3
/// for a host and 10 in all), small buffers, no proxy from the environment, no redirects, an error's status as an answer, and
/// limits for requests that bring none.
///
/// ```
/// let config = credpool::agent_config().no_delay(false).build();
/// assert!(config.proxy().is_none());
/// assert_eq!(config.max_redirects(), 0);
/// ```
pub fn agent_config() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    agents::config(None, IdleConnections::default())
}

/// An HTTP agent whose requests end when their attempt is cancelled, for programs that need other settings than the
/// manager's agents have. For certificates and proxies there are settings of the [builder](crate::Builder::root_certificates) and
/// of the credential, which need no agent of one's own.
///
/// `config` is used as it is: begin with [`agent_config`]. One that ureq makes takes its proxy from the environment, keeps few
/// connections, and follows redirects. Give the agent to the manager through a [`TransportProvider`].
///
/// ```
/// use std::time::Duration;
///
/// let config = credpool::agent_config()
///     .timeout_global(Some(Duration::from_secs(600)))
///     .build();
/// let agent = credpool::cancellable_agent(config);
/// assert!(agent.config().proxy().is_none());
/// ```
pub fn cancellable_agent(config: ureq::config::Config) -> ureq::Agent {
    cancellable::agent(config, None)
}

/// How many connections a manager keeps that serve no request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleConnections {
    /// To all hosts, for each proxy and each TLS identity.
    pub(crate) in_all: usize,
    pub(crate) per_host: usize,
}

impl IdleConnections {
    const NONE: Self = Self {
        in_all: 0,
        per_host: 0,
    };
}

impl Default for IdleConnections {
    /// More than most programs have in use together: an idle connection is closed after fifteen seconds anyway.
    fn default() -> Self {
        Self {
            in_all: 1024,
            per_host: 1024,
        }
    }
}

/// All agents of a manager.
pub(crate) struct Transport {
    global_proxy: Secret,
    custom: RwLock<Option<Arc<dyn TransportProvider>>>,
    agents: Agents,
}

impl Transport {
    pub(crate) fn new(proxy: Secret, idle: IdleConnections, tls: Tls) -> Self {
        Self {
            global_proxy: proxy,
            custom: RwLock::new(None),
            agents: Agents::new(tls, idle),
        }
    }

    pub(crate) fn set_provider(&self, provider: Option<Arc<dyn TransportProvider>>) {
        let old = std::mem::replace(&mut *self.custom.write(), provider);
        drop(old);
    }

    pub(crate) fn provider(&self) -> Option<Arc<dyn TransportProvider>> {
        self.custom.read().clone()
    }

    pub(crate) fn has_provider(&self) -> bool {
        self.custom.read().is_some()
    }

    /// The TLS set-up for agents that have none of their own.
    pub(crate) fn tls(&self) -> Arc<Tls> {
        self.agents.shared_tls()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("proxied", &!self.global_proxy.is_empty())
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::proxy_url;

    fn transport(proxy: &str) -> Transport {
        Transport::new(
            Secret::new(proxy),
            IdleConnections::default(),
            Tls::default(),
        )
    }

    fn proxy_of(transport: &Transport, auth: &Auth) -> Option<String> {
        let agent = transport.agent(auth).unwrap();
        let unpooled = transport.unpooled_agent(auth).unwrap();
        let label = |agent: &ureq::Agent| agent.config().proxy().map(proxy_url::label);
        assert_eq!(label(&agent), label(&unpooled));
        label(&agent)
    }

    #[test]
    fn the_credentials_proxy_goes_before_the_managers() {
        let plain = Auth::api_key("p", "k");
        let own = Auth::api_key("p", "k").with_proxy_url("socks5h://u:canary@own:1");
        let none = transport("");
        assert_eq!(proxy_of(&none, &plain), None);
        assert_eq!(proxy_of(&none, &own).unwrap(), "socks5h://own:1");
        let global = transport("http://global:2");
        assert_eq!(proxy_of(&global, &plain).unwrap(), "http://global:2");
        assert_eq!(proxy_of(&global, &own).unwrap(), "socks5h://own:1");
        assert!(!format!("{global:?} {none:?}").contains("canary"));
    }

    #[test]
    fn a_bad_proxy_is_a_config_error_that_names_the_credential_alone() {
        for (global, own) in [
            ("", "hxxp://user:canary@h"),
            ("http://fine:1", "user:canary@h:80"),
            ("http://user:canary@h:port", ""),
        ] {
            let transport = transport(global);
            let auth = Auth::api_key("p", "k")
                .with_id("team-a")
                .with_proxy_url(own);
            for agent in [transport.agent(&auth), transport.unpooled_agent(&auth)] {
                let error = agent.err().unwrap();
                assert_eq!(error.code(), &ErrorCode::Config);
                assert_eq!(error.auth_id(), Some("team-a"));
                assert!(error.message().contains("team-a"), "{error}");
                assert!(!format!("{error} {error:?} {transport:?}").contains("canary"));
            }
        }
    }

    struct Custom<F>(F);

    impl<F> TransportProvider for Custom<F>
    where
        F: Fn(&Auth) -> Result<Option<ureq::Agent>, Error> + Send + Sync,
    {
        fn agent_for(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error> {
            (self.0)(auth)
        }
    }

    #[test]
    fn the_programs_provider_is_asked_first_without_a_lock() {
        let transport = Arc::new(transport("http://global:2"));
        let plain = Auth::api_key("p", "k");
        let auth = plain.clone().with_proxy_url("nonsense");
        let inside = Arc::downgrade(&transport);
        transport.set_provider(Some(Arc::new(Custom(move |_: &Auth| {
            // Would deadlock if the lock were held.
            inside.upgrade().unwrap().set_provider(None);
            let config = ureq::Agent::config_builder().proxy(None).build();
            Ok(Some(cancellable_agent(config)))
        }))));
        assert!(transport.agent(&plain).is_ok());
        // Nothing goes out past a proxy that was asked for, whoever gives the agent.
        assert_eq!(
            transport.agent(&auth).unwrap_err().code(),
            &ErrorCode::Config
        );
    }

    #[test]
    fn what_the_programs_provider_does_wrong_is_an_error() {
        let transport = transport("");
        let auth = Auth::api_key("p", "k").with_id("a");
        transport.set_provider(Some(Arc::new(Custom(|_: &Auth| panic!("on purpose")))));
        let error = transport.agent(&auth).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Panicked);
        let refuse = |_: &Auth| Err(Error::new(ErrorCode::Unsupported, "no"));
        transport.set_provider(Some(Arc::new(Custom(refuse))));
        let error = transport.agent(&auth).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Unsupported);
        transport.set_provider(Some(Arc::new(Custom(|_: &Auth| Ok(None)))));
        assert!(transport.agent(&auth).is_ok());
    }
}
