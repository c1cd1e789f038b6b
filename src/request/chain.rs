//! [`ChainLink`]: one link of a chain of models, "this, else that", and [`Chains`]: the chains that have names.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Request, normalized};
use crate::error::Error;

/// One link of a chain of models: what is asked where the links before it have no credential that is ready.
///
/// A link names a model, and perhaps the provider that is asked for it: without one, the providers of the call are. It is asked with the
/// payload of the call, in which the member `model` names the link's model, or with a payload of its own. See
/// [the guide](crate::guide::models).
///
/// ```
/// use credpool::{ChainLink, Manager, Request};
///
/// let claude = ChainLink::new("claude-opus-4-5").with_provider("anthropic");
/// let manager = Manager::builder().model_chain("best", ["gpt-5-pro".into(), "gpt-5".into(), claude]).build()?;
/// let request = Request::new("best", r#"{"model":"best","messages":[]}"#);
/// # drop((manager, request));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainLink {
    /// The model: the vendor's name, or an alias that credentials have for it.
    pub model: String,
    /// The provider that is asked; `None`: those of the call.
    pub provider: Option<String>,
    /// What is sent instead of the call's payload, as it is.
    pub payload: Option<Bytes>,
}

impl ChainLink {
    /// A link to a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            provider: None,
            payload: None,
        }
    }

    /// Names the provider that is asked for the model, whether the call names it or not.
    pub fn with_provider(mut self, provider: impl AsRef<str>) -> Self {
        self.provider = Some(normalized(provider.as_ref()));
        self
    }

    /// Sets what is sent instead of the call's payload: where the link's provider has another form of requests.
    ///
    /// ```
    /// use credpool::ChainLink;
    ///
    /// let payload = r#"{"model":"claude-opus-4-5","max_tokens":1024,"messages":[]}"#;
    /// let link = ChainLink::new("claude-opus-4-5").with_provider("anthropic").with_payload(payload);
    /// assert_eq!(link.payload.unwrap(), payload);
    /// ```
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// The request of a call as this link asks it of a provider (in normal form).
    pub(crate) fn request(&self, call: &Request, provider: &str) -> Request {
        let asked = call.addressed_to(provider);
        match &self.payload {
            None => asked.renamed(&self.model),
            Some(payload) => Request {
                model: self.model.clone(),
                payload: payload.clone(),
                metadata: call.metadata.clone(),
                ..Request::default()
            },
        }
    }
}

impl<T: Into<String>> From<T> for ChainLink {
    fn from(model: T) -> Self {
        Self::new(model)
    }
}

/// The links of a chain, in order.
pub(crate) type Links = Arc<[Arc<ChainLink>]>;

/// The chains of a manager, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains(HashMap<String, Links>);

impl Chains {
    pub(crate) fn insert(&mut self, name: String, links: impl IntoIterator<Item = ChainLink>) {
        let links = links.into_iter().map(Arc::new).collect();
        self.0.insert(name, links);
    }

    /// Refuses chains that lead to nothing, or to chains.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, links) in &self.0 {
            let reason = if name.trim().is_empty() {
                "has no name".to_owned()
            } else if links.is_empty() {
                "has no links".to_owned()
            } else if let Some(link) = links.iter().find(|link| self.0.contains_key(&link.model)) {
                format!(
                    "leads to {:?}, which is a chain, too: name models",
                    link.model
                )
            } else if links.iter().any(|link| link.model.trim().is_empty()) {
                "has a link without a model".to_owned()
            } else if links.iter().any(|link| link.payload.is_some()) {
                "has a link with a payload, which is one request's: give it to Request::or"
                    .to_owned()
            } else {
                continue;
            };
            return Err(Error::config(format!(
                "the chain of models {name:?} {reason}"
            )));
        }
        Ok(())
    }

    /// The chain of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Links> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(name)
    }

    /// The models that a provider (in normal form) may be asked for where a call asks for `name`: those of a chain's links, or `name` itself.
    pub(crate) fn models_of<'a>(
        &'a self,
        name: &'a str,
        provider: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let links = self.get(name);
        let of_links = links.into_iter().flat_map(|links| links.iter());
        let of_links = of_links.filter(move |link| {
            let of = link.provider.as_deref();
            of.is_none_or(|of| of == provider)
        });
        let own = links.is_none().then_some(name);
        own.into_iter().chain(of_links.map(|link| &*link.model))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Links)> {
        self.0.iter().map(|(name, links)| (name.as_str(), links))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_rewrites_the_model_or_brings_its_own_payload() {
        let call = Request::new("best", r#"{"model":"best","n":1.0}"#)
            .for_provider("q", "best", r#"{"q":1,"model":"best"}"#)
            .or("never");
        let asked = ChainLink::new("a").request(&call, "p");
        assert_eq!(
            (&*asked.model, &asked.payload[..]),
            ("a", &br#"{"model":"a","n":1.0}"#[..])
        );
        let asked = ChainLink::new("a").request(&call, "q");
        assert_eq!(asked.payload, r#"{"q":1,"model":"a"}"#);
        let asked = ChainLink::new("a").with_payload("own").request(&call, "p");
        assert_eq!((&*asked.model, &asked.payload[..]), ("a", &b"own"[..]));
    }

    #[test]
    fn chains_that_lead_nowhere_are_refused() {
        for (links, what) in [
            (vec![], "no links"),
            (vec!["a".into(), "best".into()], "is a chain"),
            (vec!["other".into()], "is a chain"),
            (vec![" ".into()], "without a model"),
            (
                vec![ChainLink::new("a").with_payload("x")],
                "with a payload",
            ),
        ] {
            let mut chains = Chains::default();
            chains.insert("other".to_owned(), [ChainLink::new("b")]);
            chains.insert("best".to_owned(), links);
            let error = chains.check().unwrap_err();
            assert!(error.message().contains(what), "{error}");
        }
        let mut chains = Chains::default();
        chains.insert("best".to_owned(), ["a".into(), ChainLink::new("b")]);
        chains.check().unwrap();
        assert_eq!(chains.get("best").map(|links| links.len()), Some(2));
        assert!(chains.get("a").is_none());
    }
}
