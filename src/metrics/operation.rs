//! What the conventions call providers and operations.

use metrics::SharedString;

use crate::observe::{Operation, Outcome};

/// The value of `gen_ai.provider.name`: the conventions' where they have one, else the provider's name.
pub(super) fn provider_name(provider: &str) -> SharedString {
    let known = PROVIDERS.iter().find(|(own, _)| *own == provider);
    known.map_or_else(
        || SharedString::from_owned(provider.to_owned()),
        |(_, name)| SharedString::const_str(name),
    )
}

/// Where the names differ; `openai`, `anthropic`, `cohere`, `deepseek`, `groq` and `perplexity` do not.
const PROVIDERS: &[(&str, &str)] = &[
    ("gemini", "gcp.gemini"),
    ("vertex", "gcp.vertex_ai"),
    ("bedrock", "aws.bedrock"),
    ("azure-openai", "azure.ai.openai"),
    ("azure-openai-dated", "azure.ai.openai"),
    ("mistral", "mistral_ai"),
    ("moonshot", "moonshot_ai"),
    ("xai", "x_ai"),
];

/// The value of `gen_ai.operation.name`. Counts and raw calls have names of this crate's own: of a raw call it is not known what it does.
pub(super) fn operation_name(outcome: &Outcome<'_>) -> &'static str {
    match outcome.operation {
        Operation::Count => "count_tokens",
        Operation::Raw => "raw",
        Operation::Execute | Operation::Stream => match outcome.provider {
            "gemini" => "generate_content",
            "vertex" if outcome.model.starts_with("gemini") => "generate_content",
            _ => "chat",
        },
    }
}
