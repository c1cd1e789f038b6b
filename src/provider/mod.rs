//! Executors for real APIs, and the parts for executors of your own: [`http`], [`SseReader`], [`refresh_tokens`], [`refresh_grant`].
//!
//! [`OpenAi`] calls the chat completions and Responses APIs of OpenAI and of compatible servers, of which [`compatible`] has a table,
//! [`Anthropic`] the Messages API, [`Gemini`] the Gemini API, [`Vertex`] Gemini and Claude in a project of Google Cloud, [`Bedrock`]
//! Amazon's Converse and InvokeModel, [`Cohere`] the API of Cohere. [`http`] has what they share. See the [guide](crate::guide::providers).

mod anthropic;
mod bedrock;
mod client_error;
mod cohere;
pub mod compatible;
#[cfg(feature = "estimate")]
mod estimate;
mod finish_reasons;
mod gemini;
pub mod http;
mod oauth;
mod openai;
mod rate_limits;
mod vertex;

pub use anthropic::{Anthropic, AnthropicApi};
pub use bedrock::{Bedrock, BedrockApi};
pub use cohere::{Cohere, CohereApi};
pub use gemini::{Gemini, GeminiApi};
pub use http::amazon::AmazonEventReader;
pub use http::sse::{SseEvent, SseReader};
pub(crate) use oauth::{Answer, Grant, Place, TokenRequest};
pub use oauth::{refresh_grant, refresh_tokens};
pub use openai::{OpenAi, OpenAiApi};
pub use vertex::{Vertex, VertexApi};
