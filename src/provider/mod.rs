//! Executors for real APIs, and the parts that executors of your own can use: [`SseReader`] and [`refresh_grant`].
//!
//! [`OpenAi`] serves the chat completions API of OpenAI and of everything that is compatible with it. The files beside it
//! hold what such an executor is made of: `http` sends a request and turns what goes wrong into errors without secrets,
//! `key` puts a credential into a header, `problem` reads JSON error bodies, `retry_after` reads the server's hints.

mod http;
mod key;
mod oauth;
mod openai;
mod problem;
mod retry_after;
mod sse;

pub use oauth::refresh_grant;
pub use openai::OpenAi;
pub use sse::{SseEvent, SseReader};
