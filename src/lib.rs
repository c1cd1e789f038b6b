//! Pools of credentials for LLM APIs, for synchronous Rust.

mod auth;
mod cancel;
mod clock;
mod error;
mod execution;
mod executor;
mod hook;
mod manager;
mod outcome;
mod policy;
pub mod provider;
mod refresh;
mod registry;
mod request;
mod runtime;
mod selection;
mod services;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

pub use manager::{Builder, LoadReport, Manager};

pub use request::{Format, Message, Options, Request, Response, StreamChunk, Timeouts, Usage};

pub use execution::{CallHandle, ChunkStream, StreamEvent};

pub use selection::{Affinity, Blocked, Candidate, Candidates, RoundRobin, Selector, conversation};

pub use executor::{Attempt, ChunkSource, ProviderExecutor, RequestPreparer};

pub use transport::TransportProvider;

pub use policy::{FailurePolicy, Rule, StreamCommit, Verdict};

pub use outcome::{Outcome, OutcomeKind};

pub use hook::{Hook, NoopHook};

pub use auth::{
    AccountInfo, AccountKind, Attributes, Auth, AuthRuntime, Expiry, Metadata, ModelState,
    OAuthTokens, QuotaState, RefreshEvaluator, Secret, Status, TokenStorage,
};

pub use refresh::{provider_refresh_lead, register_refresh_lead_provider, should_refresh};

pub use store::{FileStore, Listing, MemoryStore, Skipped, Store};

pub use cancel::{CancelToken, Never, OnCancel};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorCode};
