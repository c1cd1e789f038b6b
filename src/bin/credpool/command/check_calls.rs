//! By which call a vendor is asked whether it accepts a credential: documented, and free of charge.

use credpool::provider::compatible;

/// What there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A `GET` of this path below the API's address, which is refused without a good credential.
    Get(&'static str),
    /// The same beside the API's version, which is the end of its address: the address without it, the version, the path.
    GetBeside(&'static str, &'static str, &'static str),
    /// There is none, and why.
    None(&'static str),
}

/// The call for a provider. A server that is compatible with OpenAI's API lists its models as that does, unless the table says otherwise: a
/// vendor of the library's list, or one that is not known at the address that its credential names.
pub(super) fn call_for(provider: &str, has_address: bool) -> Call {
    let mut compatible = compatible::ALL.into_iter();
    let mut rows = CALLS.iter();
    match rows.find(|(name, ..)| *name == provider) {
        Some((_, call, _)) => *call,
        None if has_address || compatible.any(|vendor| vendor.name == provider) => MODELS,
        None => Call::None("its vendor is not known, and it names no base_url"),
    }
}

const MODELS: Call = Call::Get("/models");

/// Provider, call, and the vendor's page, looked at on 2026-11-27; empty where no page of the vendor's has such a call.
const CALLS: [(&str, Call, &str); 16] = [
    (
        "openai",
        MODELS,
        "https://developers.openai.com/api/reference/cli/resources/models/methods/list",
    ),
    (
        "anthropic",
        Call::Get("/v1/models?limit=1"),
        "https://platform.claude.com/docs/en/api/models-list",
    ),
    (
        "gemini",
        Call::Get("/models?pageSize=1"),
        "https://ai.google.dev/api/rest/v1beta/models/list",
    ),
    (
        "cohere",
        Call::GetBeside("https://api.cohere.com", "/v2", "/v1/models?page_size=1"),
        "https://docs.cohere.com/reference/list-models",
    ),
    // Its list of models needs no key.
    (
        "openrouter",
        Call::Get("/key"),
        "https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key",
    ),
    (
        "deepseek",
        MODELS,
        "https://api-docs.deepseek.com/zh-cn/api/list-models",
    ),
    (
        "minimax",
        MODELS,
        "https://platform.minimax.io/docs/api-reference/models",
    ),
    (
        "azure-openai",
        MODELS,
        "https://learn.microsoft.com/en-us/azure/foundry/reference/rest/open-ai-models-list-models",
    ),
    (
        "azure-openai-dated",
        Call::None("a deployment has no call that costs nothing"),
        "https://learn.microsoft.com/en-us/rest/api/azureopenai/models/list",
    ),
    (
        "fireworks",
        Call::None("the vendor's call needs the id of the account"),
        "https://docs.fireworks.ai/api-reference/list-models",
    ),
    (
        "perplexity",
        Call::None("the vendor lists the models of another API alone"),
        "https://docs.perplexity.ai/api-reference/gateway-models-get",
    ),
    (
        "huggingface",
        Call::None("the list of models needs no token, and tells nothing of one"),
        "",
    ),
    (
        "zai",
        Call::None("the vendor documents no call that costs nothing"),
        "",
    ),
    (
        "bedrock",
        Call::None("another service lists the models, with other rights"),
        "",
    ),
    (
        "vertex",
        Call::None("another service lists the models, with other rights"),
        "",
    ),
    (
        "github-models",
        Call::None("the service ended on 2026-07-30"),
        "https://github.blog/changelog/2026-07-30-github-models-is-now-retired/",
    ),
];
