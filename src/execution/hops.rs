//! [`Hop`]: one provider that a call may ask for one link of its chain of models.
//!
//! ```text
//! a call for "best" over [p, q]  =  links [a, b at r]  =  hops [a at p, a at q], [b at r]
//! ```
//!
//! The links are asked in order; the providers of one link in rotation. A call without a chain has one link: itself.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Providers;
use super::provider_rotation::Rotation;
use crate::executor::Provider;
use crate::request::{Addressed, ChainLink, Request};
use crate::services::Services;

/// One provider of one link.
pub(super) struct Hop {
    pub(super) provider: Arc<Provider>,
    /// The number of the link in the chain.
    link_number: usize,
    /// `None`: the call's own request.
    link: Option<Arc<ChainLink>>,
    /// The request as the link asks it, once that is needed.
    request: OnceCell<Box<Request>>,
}

/// The hops of a call, in the order in which they are asked.
pub(super) type Hops = SmallVec<[Hop; 2]>;

/// The hops of a call over some providers, in the order in which these were named.
pub(super) fn hops(services: &Services, providers: Providers, request: &Request) -> Hops {
    let named = services.chains.get(&request.model);
    let links = request.links();
    if named.is_none() && links.is_empty() {
        return providers.into_iter().map(Hop::own).collect();
    }
    let own = match named {
        Some(_) => Hops::new(),
        None => providers.iter().cloned().map(Hop::own).collect(),
    };
    let first = usize::from(named.is_none());
    let links = named.iter().flat_map(|links| links.iter()).chain(links);
    let linked = links.enumerate().flat_map(|(number, link)| {
        let asked: Providers = match &link.provider {
            Some(provider) => [services.executors.provider(provider)]
                .into_iter()
                .collect(),
            None => providers.clone(),
        };
        asked.into_iter().map(move |provider| Hop {
            provider,
            link_number: first + number,
            link: Some(Arc::clone(link)),
            request: OnceCell::new(),
        })
    });
    own.into_iter().chain(linked).collect()
}

/// Lets each link begin with the provider whose turn it is.
pub(super) fn rotate(hops: &mut Hops, rotation: &Rotation, request: &Request) {
    for of_link in hops.chunk_by_mut(|one, other| one.link_number == other.link_number) {
        let model = of_link.first().and_then(|hop| hop.link.as_deref());
        let model = model.map_or(&request.model, |link| &link.model);
        let names = of_link.iter().map(|hop| &*hop.provider.name);
        let start = rotation.advance(model, names);
        of_link.rotate_left(start);
    }
}

impl Hop {
    fn own(provider: Arc<Provider>) -> Self {
        Self {
            provider,
            link_number: 0,
            link: None,
            request: OnceCell::new(),
        }
    }

    pub(super) fn is_of_link_of(&self, other: &Self) -> bool {
        self.link_number == other.link_number
    }

    /// The call's request as its provider is asked it for this link.
    pub(super) fn request<'a>(&'a self, call: &'a Request) -> Addressed<'a> {
        match &self.link {
            None => call.addressed_to(&self.provider.name),
            Some(link) => {
                let request = || Box::new(link.request(call, &self.provider.name));
                Addressed::Borrowed(self.request.get_or_init(request))
            }
        }
    }

    /// Whether it is asked with the same payload as the call, the model's name in it aside.
    pub(super) fn shares_payload(&self, call: &Request) -> bool {
        let own = self.link.as_ref().and_then(|link| link.payload.as_ref());
        own.is_none() && call.payload_for(&self.provider.name).is_none()
    }
}
