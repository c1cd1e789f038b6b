//! The table: vendors and servers that are compatible with OpenAI's API, with the page of each.

use super::{CompatibleVendor, KeyPlacement};
use crate::provider::http::Dialect;

/// When the pages, or copies of them, were looked at.
const DAY: &str = "2026-11-27";

/// OpenRouter: many vendors' models behind one API.
pub const OPENROUTER: CompatibleVendor =
    CompatibleVendor::new("openrouter", "https://openrouter.ai/api/v1")
        .with_page("https://openrouter.ai/docs/quickstart", DAY);

/// Groq.
pub const GROQ: CompatibleVendor = CompatibleVendor::new("groq", "https://api.groq.com/openai/v1")
    .with_page("https://console.groq.com/docs/openai", DAY);

/// Mistral.
pub const MISTRAL: CompatibleVendor = CompatibleVendor::new("mistral", "https://api.mistral.ai/v1")
    .with_dialect(
        Dialect::new()
            .with_errors(&[("rate_limited", "rate_limit_exceeded")])
            .with_ends(&[("model_length", "length")]),
    )
    .with_page("https://docs.mistral.ai/resources/migration-guides", DAY);

/// DeepSeek.
pub const DEEPSEEK: CompatibleVendor =
    CompatibleVendor::new("deepseek", "https://api.deepseek.com")
        .with_dialect(Dialect::new().with_ends(&[("insufficient_system_resource", "error")]))
        .with_page("https://api-docs.deepseek.com", DAY);

/// xAI.
pub const XAI: CompatibleVendor = CompatibleVendor::new("xai", "https://api.x.ai/v1")
    .with_page(
        "https://docs.x.ai/developers/model-capabilities/text/comparison",
        DAY,
    )
    .with_note("the vendor recommends its Responses API (`alt`: `responses`)");

/// Together.
pub const TOGETHER: CompatibleVendor =
    CompatibleVendor::new("together", "https://api.together.ai/v1")
        // Type `credit_limit` comes with a 402 where no money is left, and with a 429 where an account that has paid nothing yet is too
        // fast: it means neither.
        .with_dialect(
            Dialect::new()
                .with_errors(&[("rate_limit", "rate_limit_exceeded")])
                .with_ends(&[("eos", "stop")]),
        )
        .with_page(
            "https://docs.together.ai/docs/inference/openai-compatibility",
            DAY,
        );

/// Fireworks.
pub const FIREWORKS: CompatibleVendor =
    CompatibleVendor::new("fireworks", "https://api.fireworks.ai/inference/v1").with_page(
        "https://docs.fireworks.ai/api-reference/post-chatcompletions",
        DAY,
    );

/// Cerebras.
pub const CEREBRAS: CompatibleVendor =
    CompatibleVendor::new("cerebras", "https://api.cerebras.ai/v1")
        .with_dialect(Dialect::new().with_errors(&[
            ("token_quota_exceeded", "rate_limit_exceeded"),
            ("request_quota_exceeded", "rate_limit_exceeded"),
            ("queue_exceeded", "overloaded"),
        ]))
        .with_page("https://inference-docs.cerebras.ai/resources/openai", DAY);

/// Perplexity.
pub const PERPLEXITY: CompatibleVendor =
    CompatibleVendor::new("perplexity", "https://api.perplexity.ai/v1")
        .with_alt("responses")
        .with_dialect(
            Dialect::new().with_errors(&[("request_rate_limit_exceeded", "rate_limit_exceeded")]),
        )
        .with_page(
            "https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview",
            DAY,
        )
        .with_note("the Responses API alone: chat completions ended on 2026-09-27");

/// Moonshot, the vendor of Kimi.
pub const MOONSHOT: CompatibleVendor =
    CompatibleVendor::new("moonshot", "https://api.moonshot.ai/v1")
        .with_dialect(Dialect::new().with_errors(&[
            ("rate_limit_reached_error", "rate_limit_exceeded"),
            ("engine_overloaded_error", "overloaded"),
            ("exceeded_current_quota_error", "insufficient_quota"),
            ("invalid_authentication_error", "invalid_api_key"),
            ("incorrect_api_key_error", "invalid_api_key"),
            ("resource_not_found_error", "model_not_found"),
        ]))
        .with_page("https://platform.kimi.ai/docs/api/errors", DAY);

/// Z.AI, the vendor of GLM; Zhipu in China.
pub const ZAI: CompatibleVendor = CompatibleVendor::new("zai", "https://api.z.ai/api/paas/v4")
    .with_dialect(
        Dialect::new()
            // https://docs.z.ai/api-reference/api-code
            .with_errors(&[
                ("1002", "invalid_api_key"),
                ("1003", "invalid_api_key"),
                ("1004", "invalid_api_key"),
                ("1110", "account_deactivated"),
                ("1111", "account_deactivated"),
                ("1112", "account_deactivated"),
                ("1113", "insufficient_quota"),
                ("1121", "account_deactivated"),
                ("1211", "model_not_found"),
                ("1302", "rate_limit_exceeded"),
                ("1303", "rate_limit_exceeded"),
                ("1305", "rate_limit_exceeded"),
                ("1308", "usage_limit_reached"),
                ("1310", "usage_limit_reached"),
                ("1312", "overloaded"),
            ])
            .with_ends(&[
                ("sensitive", "content_filter"),
                ("model_context_window_exceeded", "length"),
                ("network_error", "error"),
            ]),
    )
    .with_page("https://docs.z.ai/guides/develop/openai/python", DAY)
    .with_note("credentials of a coding plan have their own `base_url`");

/// MiniMax.
pub const MINIMAX: CompatibleVendor = CompatibleVendor::new("minimax", "https://api.minimax.io/v1")
    // https://platform.minimax.io/docs/api-reference/errorcode
    .with_dialect(Dialect::new().with_errors(&[
        ("1002", "rate_limit_exceeded"),
        ("1004", "invalid_api_key"),
        ("1008", "insufficient_quota"),
        ("1013", "server_error"),
        ("1039", "rate_limit_exceeded"),
        ("2049", "invalid_api_key"),
        ("2056", "usage_limit_reached"),
    ]))
    .with_page(
        "https://platform.minimax.io/docs/api-reference/text-openai-api",
        DAY,
    )
    .with_note("errors may come with status 200, in `base_resp`");

/// Azure OpenAI, the API without dates (`/openai/v1`).
pub const AZURE_OPENAI: CompatibleVendor = CompatibleVendor::of_accounts(
    "azure-openai",
    "https://RESOURCE.openai.azure.com/openai/v1",
)
.with_key(KeyPlacement::Header("api-key"))
.with_dialect(AZURE)
.with_page(AZURE_PAGE, DAY)
.with_note("a login's access token (Entra ID) goes as a bearer token");

/// Azure OpenAI, the API with dates: one address for each deployment.
pub const AZURE_OPENAI_DATED: CompatibleVendor = CompatibleVendor::of_accounts(
    "azure-openai-dated",
    "https://RESOURCE.openai.azure.com/openai/deployments/DEPLOYMENT?api-version=DATE",
)
.with_key(KeyPlacement::Header("api-key"))
.with_dialect(AZURE)
.with_page(AZURE_PAGE, DAY)
.with_note("a credential serves the one model of its deployment");

const AZURE_PAGE: &str = "https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle";

const AZURE: Dialect = Dialect::new().with_errors(&[
    ("DeploymentNotFound", "model_not_found"),
    ("RateLimitReached", "rate_limit_exceeded"),
]);

/// GitHub Models, which is no longer: it answers 410.
pub const GITHUB_MODELS: CompatibleVendor =
    CompatibleVendor::new("github-models", "https://models.github.ai/inference")
        .with_dialect(
            Dialect::new()
                .with_limits(&[("x-ratelimit-timeremaining", "retry-after")])
                .with_errors(&[("RateLimitReached", "rate_limit_exceeded")]),
        )
        .with_page(
            "https://github.blog/changelog/2026-07-30-github-models-is-now-retired/",
            DAY,
        )
        .with_note("retired on 2026-07-30: it answers 410");

/// Hugging Face: the router of its inference providers.
pub const HUGGING_FACE: CompatibleVendor =
    CompatibleVendor::new("huggingface", "https://router.huggingface.co/v1")
        .with_dialect(Dialect::new().with_ends(&[("eos_token", "stop"), ("stop_sequence", "stop")]))
        .with_page(
            "https://huggingface.co/docs/inference-providers/tasks/chat-completion",
            DAY,
        );

/// Ollama, on this machine.
pub const OLLAMA: CompatibleVendor = CompatibleVendor::new("ollama", "http://localhost:11434/v1")
    .with_key(KeyPlacement::Optional)
    .with_page("https://docs.ollama.com/api/openai-compatibility", DAY);

/// vLLM, on this machine.
pub const VLLM: CompatibleVendor = CompatibleVendor::new("vllm", "http://localhost:8000/v1")
    .with_key(KeyPlacement::Optional)
    .with_dialect(
        Dialect::new()
            .with_errors(&[("NotFoundError", "model_not_found")])
            .with_ends(&[("abort", "error")]),
    )
    .with_page(
        "https://docs.vllm.ai/en/stable/serving/openai_compatible_server",
        DAY,
    );

/// llama.cpp's server, on this machine.
pub const LLAMA_CPP: CompatibleVendor =
    CompatibleVendor::new("llama-cpp", "http://localhost:8080/v1")
        .with_key(KeyPlacement::Optional)
        .with_dialect(Dialect::new().with_errors(&[
            ("exceed_context_size_error", "context_length_exceeded"),
            ("unavailable_error", "service_unavailable"),
        ]))
        .with_page(
            "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
            DAY,
        )
        // https://github.com/ggml-org/llama.cpp/pull/26508
        .with_note("later releases are to listen on port 9931 unless told otherwise");

/// The whole table.
pub const ALL: [CompatibleVendor; 19] = [
    OPENROUTER,
    GROQ,
    MISTRAL,
    DEEPSEEK,
    XAI,
    TOGETHER,
    FIREWORKS,
    CEREBRAS,
    PERPLEXITY,
    MOONSHOT,
    ZAI,
    MINIMAX,
    AZURE_OPENAI,
    AZURE_OPENAI_DATED,
    GITHUB_MODELS,
    HUGGING_FACE,
    OLLAMA,
    VLLM,
    LLAMA_CPP,
];
