//! Pools of credentials for LLM APIs, for synchronous Rust.
//!
//! A [`Manager`] holds credentials ([`Auth`]) and the executors that call their providers. A program passes a [`Request`] and
//! blocks, or iterates a [`ChunkStream`]. The manager selects a credential, fails over when a credential is rate limited or broken,
//! records cooldowns (a circuit breaker for each credential and model), refreshes tokens in the background, saves records in a
//! [`Store`] and reports to a [`Hook`]. No async runtime: the caller's thread makes the call.
//!
//! ```text
//!  caller's thread                                              beside it
//!  Manager::execute / execute_count / execute_stream            refresher: sleeps until the next token is due,
//!    │  providers, beginning with another one each time           └─► refresh worker ─► executor ─► store, then registry
//!    ▼                                                          writer: what results changed ─► store
//!  attempt loop ◄──────────────────┐                            workers: submitted calls, and one for each stream
//!    │                             │ next credential,           hook: called after every lock is released
//!    ▼                             │ next provider, or stop
//!  Selector: one ready candidate   │
//!    ▼                             │
//!  ProviderExecutor ─► upstream    │
//!    ▼                             │
//!  FailurePolicy: what it means ───┤
//!    ▼                             │
//!  registry: the record's state ───┘
//!    ▼
//!  Response, or ChunkStream
//! ```
//!
//! # Where to look
//!
//! The [`guide`] explains the crate by subject, with its [terms](guide::glossary).
//!
//! * Make calls: [`Manager`], [`Request`], [`Options`], [`Response`], [`ChunkStream`], [`Error`].
//! * Create credentials: [`Auth::api_key`], [`Auth::oauth`], [`Auth::client_credentials`], [`Auth::service_account`],
//!   [`Auth::authorized_user`], [`Auth::aws_access_key`]; read those of command-line tools: [`import`]; keep them: [`FileStore`].
//! * Call a provider: [`provider::OpenAi`], [`provider::Anthropic`], [`provider::Gemini`], [`provider::Vertex`], [`provider::Bedrock`],
//!   [`provider::Cohere`], [`provider::compatible`] (a table of vendors), [`provider::http`], or a
//!   [`ProviderExecutor`] of your own.
//! * Classify errors: [`FailurePolicy`]. Select credentials: [`Selector`], [`RoundRobin`], [`FillFirst`], [`Weighted`],
//!   [`LeastBusy`], [`LowestLatency`], [`Headroom`], [`Affinity`].
//! * Read limits: [`RateLimits`], from headers and errors. Report availability: [`Manager::explain`], [`Error::exhaustion`].
//! * Encrypt what is stored: [`Sealed`]. Use keys from mounted files: [`MountedKeys`].
//! * Share credentials among processes: [`Manager::start_hot_reload`], and the features `sqlite`, `postgres` and `redis`.
//! * Observe: [`Manager::stats`], [`Hook`], [`JsonLines`], the feature `metrics` ([guide](guide::observing)), and the `log` crate ([levels](guide::fleets#watching-it)).
//! * Test your own code: feature `testing`, with loopback upstreams and a scripted executor; [`ManualClock`].
//!
//! # What holds
//!
//! * A panic in your executor, selector, store or hook becomes an error of that call, with code `panicked`; nothing else is affected.
//! * Your code is never called with a lock held: it may call the manager back.
//! * Records are snapshots: changing a copy changes nothing until the copy is passed to [`Manager::update`].
//! * Cancelled calls and expired deadlines never affect a credential's state.
//! * A rotated token is durable before it is used. Only if the store fails, the token is used from memory and saved later. A refresh
//!   does not begin while the store cannot record its intent.
//! * An acknowledged change stays until that very field is changed; a disabled credential stays disabled until the operator enables
//!   it; an old copy of a record never brings a spent token back.
//! * No `Debug` output, error, log line or panic of this crate holds a secret. Reading one is explicit: [`Secret::expose`].
//! * After [`Manager::shutdown`], or when the last handle is dropped, every thread has ended.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod auth;
mod cancel;
mod clock;
mod error;
mod execution;
mod executor;
mod expiring;
mod failure_kind;
pub mod guide;
mod head;
mod health;
pub mod import;
mod json;
mod limits;
mod login;
mod manager;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
mod observe;
mod panic;
mod per_thread;
mod percent;
mod persistence;
mod policy;
pub mod provider;
mod proxy_url;
mod random;
mod refresh;
mod registry;
mod request;
mod resources;
mod runtime;
mod selection;
mod services;
mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod transport;

pub use login::{Login, LoginPrompt};
pub use manager::{Builder, LoadReport, Manager, Model, ModelProvider};

pub use head::ResponseHead;

pub use request::{
    ChainLink, Format, Message, Options, RawRequest, Request, RequestBody, Response, StreamChunk,
    Timeouts, ToolCall, ToolCallDelta, Usage,
};

pub use execution::{CallHandle, ChunkStream, ResponseBody, StreamEvent};

pub use selection::{
    Affinity, Blocked, Candidate, Candidates, FillFirst, Headroom, LeastBusy, LowestLatency,
    RoundRobin, Selector, Weighted, conversation,
};

pub use executor::{
    Attempt, Body, ChunkSource, ProviderExecutor, RawAnswer, ReadAnswer, RequestPreparer,
};

pub use transport::{
    Limits, NotSent, TransportProvider, agent_config, cancellable_agent, check_url,
};

pub use policy::{
    Attempts, BackOff, Cooldown, FailurePolicy, Lint, OutageDetection, Probes, RetryAfterBounds,
    RetryBudget, Rule, Scope, StreamCommit, Verdict,
};

pub use failure_kind::{CooldownSource, FailureKind};

pub use limits::{Exhausted, HintSource, LimitWindow, RateLimits};

pub use observe::{
    BudgetStats, CallStats, CooldownStats, Counts, CredentialStats, DeferredRefresh, Histogram,
    Hook, JsonLines, ModelStats, NoopHook, Operation, Outcome, OutcomeKind, RefreshEvent,
    RefreshHealth, RefreshStats, Stats, TokenState,
};

pub use auth::{
    AccountInfo, AccountKind, Attributes, Auth, AuthRuntime, Exchange, Expiry, Metadata,
    ModelState, OAuthTokens, QuotaState, RefreshEvaluator, Secret, Status, SubjectToken,
    TokenStorage,
};

pub use refresh::{provider_refresh_lead, register_refresh_lead_provider, should_refresh};

pub use persistence::StoreHealth;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use store::PostgresStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use store::RedisStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use store::SqliteStore;
pub use store::codec;
pub use store::{
    Changes, Cursor, FileStore, Intent, Listing, MemoryStore, Missing, MountedKeys, RecordLock,
    Revision, Saved, Sealed, SealingKey, Skipped, Store, StoreEntry, Unlocked,
};

pub use cancel::{CancelToken, Never, OnCancel};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Availability, CredentialReport, Error, ErrorCode, Exhaustion, Remedy};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
