//! What tests of programs that use this crate need (feature `testing`).
//!
//! * [`Upstream`]: an HTTP server on loopback with scripted answers, which can cut, stall or reset an answer anywhere.
//! * [`OpenAiUpstream`]: one that behaves like OpenAI, chat completions and responses, with a token endpoint, key by key.
//! * [`AnthropicUpstream`]: the same for the Messages API.
//! * [`GeminiUpstream`]: the same for the Gemini API, with a token endpoint for every grant.
//! * [`TokenServer`]: a strict token endpoint, with refresh tokens that serve once, and answers that get lost.
//! * [`ScriptedExecutor`]: an executor without any network, whose answers are written down beforehand.
//! * [`conformance`]: suites for a [`Store`](crate::Store) and a [`ProviderExecutor`](crate::ProviderExecutor) of your own.
//! * [`Attempt::for_tests`](crate::Attempt::for_tests): calls an executor without a manager.
//!
//! For time that stands still see [`ManualClock`](crate::ManualClock).
//!
//! ```
//! use credpool::provider::OpenAi;
//! use credpool::testing::{KeyBehaviour, OpenAiUpstream};
//! use credpool::{Attempt, Auth, Options, ProviderExecutor, Request, SystemClock};
//!
//! let upstream = OpenAiUpstream::start();
//! upstream.set_key("key-1", KeyBehaviour::Serve);
//!
//! let auth = Auth::api_key("openai", "key-1").with_attribute("base_url", upstream.base_url());
//! let payload = r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hello"}]}"#;
//! let response = OpenAi::new().execute(
//!     &Attempt::for_tests(SystemClock),
//!     &auth,
//!     &Request::new("gpt-5", payload),
//!     &Options::new(),
//! )?;
//! assert_eq!(response.reply_text.as_deref(), Some("You said: Hello"));
//! # Ok::<(), credpool::Error>(())
//! ```

mod amazon;
mod anthropic;
mod attempt;
mod audit;
pub mod conformance;
mod due;
mod executor;
mod form;
mod gate;
mod gemini;
mod keys;
mod openai;
mod pick;
mod reply;
mod responses;
mod token_server;
mod tokens;
mod upstream;
mod wire;

pub use amazon::amazon_events;
pub use anthropic::AnthropicUpstream;
pub use audit::audit;
pub use executor::{Call, CallKind, ScriptedExecutor};
pub use gate::Gate;
pub use gemini::GeminiUpstream;
pub use keys::KeyBehaviour;
pub use openai::OpenAiUpstream;
pub use pick::pick;
pub use reply::Reply;
pub use token_server::{LostAnswer, TokenServer};
pub use tokens::service_account_file;
pub use upstream::Upstream;
pub use wire::ReceivedRequest;

/// What the bench measures; of no other use.
#[doc(hidden)]
pub use due::DueTimes;
