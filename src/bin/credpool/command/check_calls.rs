//! By which call a vendor is asked whether it accepts a credential: documented, and free of charge.

use credpool::ProviderExecutor;

/// What there is to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A `GET` of this path, which is refused without a good credential.
    Get(String),
    /// There is none, and why.
    None(&'static str),
}

/// The call for a provider's credentials: the vendor's list of models, unless the table says otherwise. A vendor that is not known is taken
/// for one that is compatible with OpenAI's API, if its credential names where it is.
pub(super) fn call_for(provider: &str, vendor: &dyn ProviderExecutor, is_placed: bool) -> Call {
    let row = OTHERS.iter().find(|(name, ..)| *name == provider);
    match (row, vendor.models_path()) {
        (Some((_, Ok(path), _)), _) => Call::Get((*path).to_owned()),
        (Some((_, Err(why), _)), _) => Call::None(why),
        (None, _) if !is_placed => Call::None("its vendor is not known, and it names no base_url"),
        (None, Some(path)) => Call::Get(path.to_owned()),
        (None, None) => Call::None("another service lists the models, with other rights"),
    }
}

/// Vendors whose list of models tells nothing of a credential, or cannot be had with it alone: another call, or why there is none, and the
/// vendor's page, looked at on 2026-11-27; empty where no page of the vendor's has such a call.
const OTHERS: [(&str, Result<&str, &str>, &str); 7] = [
    // Its list of models needs no key.
    (
        "openrouter",
        Ok("/key"),
        "https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key",
    ),
    (
        "azure-openai-dated",
        Err("a deployment has no call that costs nothing"),
        "https://learn.microsoft.com/en-us/rest/api/azureopenai/models/list",
    ),
    (
        "fireworks",
        Err("the vendor's call needs the id of the account"),
        "https://docs.fireworks.ai/api-reference/list-models",
    ),
    (
        "perplexity",
        Err("the vendor lists the models of another API alone"),
        "https://docs.perplexity.ai/api-reference/gateway-models-get",
    ),
    (
        "huggingface",
        Err("the list of models needs no token, and tells nothing of one"),
        "",
    ),
    (
        "zai",
        Err("the vendor documents no call that costs nothing"),
        "",
    ),
    (
        "github-models",
        Err("the service ended on 2026-07-30"),
        "https://github.blog/changelog/2026-07-30-github-models-is-now-retired/",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::{executor, is_known};

    #[test]
    fn each_vendor_is_asked_by_its_own_call() {
        let call = |provider: &str, has_address: bool| {
            let is_placed = is_known(provider) || has_address;
            match call_for(provider, &*executor(provider), is_placed) {
                Call::Get(path) => path.split('?').next().map(str::to_owned),
                Call::None(_) => None,
            }
        };
        for (provider, path) in [
            ("openai", Some("/models")),
            ("anthropic", Some("/v1/models")),
            ("gemini", Some("/models")),
            ("groq", Some("/models")),
            ("openrouter", Some("/key")),
            ("huggingface", None),
            ("vertex", None),
            ("bedrock", None),
            ("my-llm", None),
        ] {
            assert_eq!(call(provider, false).as_deref(), path, "{provider}");
        }
        assert_eq!(call("my-llm", true).as_deref(), Some("/models"));
    }

    #[test]
    fn the_table_names_vendors_that_there_are() {
        for (provider, ..) in OTHERS {
            assert!(is_known(provider), "{provider}");
        }
    }
}
