//! Executors for real APIs, and the parts that executors of your own can use: [`SseReader`], [`refresh_tokens`] and
//! [`refresh_grant`].
//!
//! [`OpenAi`] serves the chat completions API and the Responses API of OpenAI and of everything that is compatible with it,
//! [`Anthropic`] the Messages API, [`Gemini`] the Gemini API. The files beside them hold what such an executor is made of:
//! `call` sends a payload and reads what comes back, with `head` for the headers and `exchange` for errors without secrets;
//! `stream` tells a whole stream from a cut one, and `patience` how long one is waited for; `key` puts a credential into a header, `problem` reads JSON error bodies,
//! `limits` what servers say of their limits; `oauth` gets tokens.

mod anthropic;
#[cfg(feature = "estimate")]
mod estimate;
mod gemini;
pub mod http;
mod oauth;
mod openai;
mod rate_limits;

pub use anthropic::{Anthropic, AnthropicApi};
pub use gemini::{Gemini, GeminiApi};
pub use http::sse::{SseEvent, SseReader};
pub use oauth::{refresh_grant, refresh_tokens};
pub use openai::{OpenAi, OpenAiApi};
