//! The executors by which tokens are refreshed and vendors are asked.

use std::borrow::Cow;

use credpool::provider::compatible::{self, CompatibleVendor};
use credpool::provider::{Anthropic, Bedrock, Cohere, Gemini, OpenAi, Vertex};
use credpool::{Attempt, Auth, Error, Manager, Options, ProviderExecutor, Request, Response};

/// The executor for a provider. One that is not known is taken for a server that is compatible with OpenAI's, at the address that its
/// credentials name.
pub(crate) fn executor(provider: &str) -> Box<dyn ProviderExecutor> {
    known(provider).unwrap_or_else(|| Box::new(unknown(provider).executor()))
}

/// Whether a provider's vendor is known, and with it the address.
pub(crate) fn is_known(provider: &str) -> bool {
    known(provider).is_some()
}

fn known(provider: &str) -> Option<Box<dyn ProviderExecutor>> {
    let own = OWN.iter().find(|(name, _)| *name == provider);
    let mut compatible = compatible::ALL.into_iter();
    own.map(|(_, executor)| executor()).or_else(|| {
        let vendor = compatible.find(|vendor| vendor.name == provider)?;
        Some(Box::new(vendor.executor()))
    })
}

type New = fn() -> Box<dyn ProviderExecutor>;

/// Vendors with an API of their own.
const OWN: [(&str, New); 6] = [
    ("openai", || Box::new(OpenAi::new())),
    ("anthropic", || Box::new(Anthropic::new())),
    ("gemini", || Box::new(Gemini::new())),
    ("vertex", || Box::new(Vertex::new())),
    ("bedrock", || Box::new(Bedrock::new())),
    ("cohere", || Box::new(Cohere::new())),
];

/// Registers what refreshes the tokens of a provider.
pub(crate) fn register(manager: &Manager, provider: &str) {
    manager.register_executor(Refresher(executor(provider)));
}

struct Refresher(Box<dyn ProviderExecutor>);

impl ProviderExecutor for Refresher {
    fn identifier(&self) -> &str {
        self.0.identifier()
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        self.0.execute(attempt, auth, request, options)
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        self.0.refresh(attempt, auth)
    }
}

fn unknown(provider: &str) -> CompatibleVendor {
    let mut vendor = CompatibleVendor::of_accounts("", "the attribute `base_url`");
    vendor.name = Cow::Owned(provider.to_owned());
    vendor
}
