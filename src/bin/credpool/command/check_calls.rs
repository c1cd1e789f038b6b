//! By which call a vendor is asked whether it accepts a credential: documented, and free of charge.

/// What there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A `GET` of this path below the API's address, which is refused without a good credential.
    Get(&'static str),
    /// There is none, and why.
    None(&'static str),
}

/// The call for a provider. A server that is not known is one that is compatible with OpenAI's, and lists its models as that does, if its
/// credential names where it is.
pub(super) fn call_for(provider: &str, has_address: bool) -> Call {
    let row = CALLS.iter().find(|(name, ..)| *name == provider);
    match row {
        Some((_, call, _)) => *call,
        None if has_address => MODELS,
        None => Call::None("its vendor is not known, and it names no base_url"),
    }
}

const MODELS: Call = Call::Get("/models");

/// Provider, call, and the vendor's page, looked at on 2026-11-27.
const CALLS: [(&str, Call, &str); 25] = [
    (
        "openai",
        MODELS,
        "https://platform.openai.com/docs/api-reference/models/list",
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
        Call::Get("/v1/models?page_size=1"),
        "https://docs.cohere.com/reference/list-models",
    ),
    // Its list of models is public.
    (
        "openrouter",
        Call::Get("/key"),
        "https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key",
    ),
    (
        "groq",
        MODELS,
        "https://console.groq.com/docs/api-reference",
    ),
    ("mistral", MODELS, "https://docs.mistral.ai/api"),
    (
        "deepseek",
        MODELS,
        "https://api-docs.deepseek.com/api/list-models",
    ),
    ("xai", MODELS, "https://docs.x.ai/docs/api-reference"),
    (
        "together",
        MODELS,
        "https://docs.together.ai/reference/models",
    ),
    ("fireworks", MODELS, ""),
    (
        "cerebras",
        MODELS,
        "https://inference-docs.cerebras.ai/api-reference/models",
    ),
    (
        "moonshot",
        MODELS,
        "https://platform.kimi.ai/docs/api/list-models",
    ),
    (
        "minimax",
        MODELS,
        "https://platform.minimax.io/docs/api-reference/models",
    ),
    (
        "azure-openai",
        MODELS,
        "https://learn.microsoft.com/rest/api/microsoft-foundry/azureopenai/models",
    ),
    (
        "ollama",
        MODELS,
        "https://docs.ollama.com/api/openai-compatibility",
    ),
    (
        "vllm",
        MODELS,
        "https://docs.vllm.ai/en/stable/serving/openai_compatible_server",
    ),
    (
        "llama-cpp",
        MODELS,
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    (
        "azure-openai-dated",
        Call::None("a deployment has no call that costs nothing"),
        "",
    ),
    (
        "bedrock",
        Call::None("models are listed by another service, with other rights"),
        "",
    ),
    (
        "vertex",
        Call::None("models are listed by another service, with other rights"),
        "",
    ),
    (
        "perplexity",
        Call::None("the vendor documents no call that costs nothing"),
        "",
    ),
    (
        "zai",
        Call::None("the vendor documents no call that costs nothing"),
        "",
    ),
    (
        "huggingface",
        Call::None("the list of models needs no token, and tells nothing of one"),
        "",
    ),
    (
        "github-models",
        Call::None("the service ended on 2026-07-30"),
        "",
    ),
];
