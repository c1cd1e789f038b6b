//! The executors by which tokens are refreshed and vendors are asked.

use std::borrow::Cow;

use credpool::provider::compatible::{self, CompatibleVendor};
use credpool::provider::{Anthropic, Bedrock, Cohere, Gemini, OpenAi, Vertex};
use credpool::{Attempt, Auth, Error, Manager, Options, ProviderExecutor, Request, Response};

/// The executor for a provider. One that is not known is taken for a server that is compatible with OpenAI's, at the address that its
/// credentials name.
pub(crate) fn executor(provider: &str) -> Box<dyn ProviderExecutor> {
    match provider {
        "openai" => Box::new(OpenAi::new()),
        "anthropic" => Box::new(Anthropic::new()),
        "gemini" => Box::new(Gemini::new()),
        "vertex" => Box::new(Vertex::new()),
        "bedrock" => Box::new(Bedrock::new()),
        "cohere" => Box::new(Cohere::new()),
        other => {
            let known = compatible::ALL
                .into_iter()
                .find(|vendor| vendor.name == other);
            Box::new(known.unwrap_or_else(|| unknown(other)).executor())
        }
    }
}

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
