//! Pools of credentials for LLM APIs, for synchronous Rust.

mod auth;
mod cancel;
mod clock;
mod error;
mod execution;
mod hook;
mod outcome;
mod request;
mod store;
mod transport;

pub use auth::{
    AccountInfo, AccountKind, Attributes, Auth, AuthRuntime, Expiry, Metadata, ModelState,
    OAuthTokens, QuotaState, RefreshEvaluator, Secret, Status, TokenStorage,
};
pub use cancel::{CancelToken, Never, OnCancel};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorCode};
pub use execution::{Attempt, ChunkSource, ProviderExecutor, RequestPreparer};
pub use hook::{Hook, NoopHook};
pub use outcome::{Outcome, Verdict};
pub use request::{Format, Message, Options, Request, Response, StreamChunk, Timeouts, Usage};
pub use store::{Listing, MemoryStore, Skipped, Store};
pub use transport::{Body, Limits, TransportProvider, cancellable_agent, check_url};
