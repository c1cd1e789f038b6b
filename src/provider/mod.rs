//! Executors for real APIs, and the parts that executors of your own can use: [`SseReader`] and [`refresh_grant`].
//!
//! [`OpenAi`] serves the chat completions API of OpenAI and of everything that is compatible with it. The files beside it
//! hold what such an executor is made of: `call` sends a payload and reads what comes back, with `head` for the headers and
//! `exchange` for errors without secrets; `stream` tells a whole stream from a cut one; `key` puts a credential into a header,
//! `problem` reads JSON error bodies, `retry_after` reads the server's hints.

mod call;
#[cfg(feature = "estimate")]
mod estimate;
mod exchange;
mod head;
mod key;
mod oauth;
mod openai;
mod payload;
mod problem;
mod retry_after;
mod sse;
mod stream;
mod url;

pub use oauth::refresh_grant;
pub use openai::OpenAi;
pub use sse::{SseEvent, SseReader};
