//! Chooses the agent and the proxy of a request: what the program's provider gives, else for the credential's proxy, else for the manager's.

use ureq::Proxy;

use super::Transport;
use super::agents::{Pair, Unfit};
use super::tls::{OwnTls, UnfitTls};
use crate::auth::Auth;
use crate::error::Error;
use crate::panic::guard;
use crate::proxy_url;

/// The agent for a request, and the proxy that the request has to set itself.
pub(crate) struct Chosen {
    pub(crate) agent: ureq::Agent,
    pub(crate) proxy: Option<Proxy>,
}

impl Chosen {
    /// The proxy through which the request goes.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().or(self.agent.config().proxy())
    }
}

impl Transport {
    /// The agent for `auth`: the user-supplied provider decides first, then the credential's proxy, then the manager's.
    pub(crate) fn agent(&self, auth: &Auth) -> Result<ureq::Agent, Error> {
        Ok(self.pooled(auth)?.agent)
    }

    pub(crate) fn unpooled_agent(&self, auth: &Auth) -> Result<ureq::Agent, Error> {
        Ok(self.unpooled(auth)?.agent)
    }

    /// The agent for a request that may go over a kept connection.
    pub(crate) fn pooled(&self, auth: &Auth) -> Result<Chosen, Error> {
        self.choose(auth, |pair| pair.pooled)
    }

    /// The agent for a request that goes over a connection of its own.
    pub(crate) fn unpooled(&self, auth: &Auth) -> Result<Chosen, Error> {
        self.choose(auth, |pair| pair.unpooled)
    }

    fn choose(&self, auth: &Auth, of: impl FnOnce(Pair) -> ureq::Agent) -> Result<Chosen, Error> {
        let own = auth.proxy_url.expose().trim_matches(' ');
        let (url, whose) = match own {
            "" => (
                self.global_proxy.expose().trim_matches(' '),
                "the manager's proxy URL cannot be used: ",
            ),
            own => (own, "its proxy URL cannot be used: "),
        };
        if let Some(agent) = self.ask_provider(auth)? {
            let proxy = match (agent.config().proxy(), url) {
                (Some(_), _) | (None, "") => None,
                (None, url) => Some(proxy_url::parse(url).map_err(|why| unfit(auth, whose, why))?),
            };
            return Ok(Chosen { agent, proxy });
        }
        let agent = of(self.pair(url, whose, auth)?);
        Ok(Chosen { agent, proxy: None })
    }

    /// The agent for a request over a connection of its own that goes through no proxy.
    pub(crate) fn direct(&self, auth: &Auth) -> Result<Chosen, Error> {
        let agent = self.pair("", "", auth)?.unpooled;
        Ok(Chosen { agent, proxy: None })
    }

    fn pair(&self, url: &str, whose: &str, auth: &Auth) -> Result<Pair, Error> {
        let pair = self.agents.get(url, OwnTls::of(auth));
        let unfit = |what: &str, why: &str| unfit(auth, what, why);
        pair.map_err(|why| match why {
            Unfit::Proxy(why) => unfit(whose, why),
            Unfit::Tls(UnfitTls::Attribute(why)) => unfit("", &why),
            Unfit::Tls(UnfitTls::File(why)) => {
                let what = format!("{why}; the file is looked at again later");
                unfit("", &what).with_retryable(true)
            }
        })
    }

    fn ask_provider(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error> {
        let Some(provider) = self.custom.read().clone() else {
            return Ok(None);
        };
        guard(
            || "the transport provider".to_owned(),
            || provider.agent_for(auth),
        )
        .flatten()
        .map_err(|error| error.about(&auth.id))
    }
}

fn unfit(auth: &Auth, what: &str, why: &str) -> Error {
    let id = &auth.id;
    let what = format!("credential {id:?}: {what}{why}");
    Error::config(what).with_auth_id(id)
}
