//! Guide: how to use the crate, by subject. Documentation alone, no items.
//!
//! | page | answers |
//! |---|---|
//! | [`errors_and_cooldowns`] | what an error does to its credential and to its call; circuit breaker, back-off, retry budget |
//! | [`selecting`] | which credential serves: selectors, priorities, limits, sticky sessions; what a selection costs |
//! | [`models`] | which models a credential serves, aliases, chains of models; what can be asked |
//! | [`tokens_and_stores`] | kinds of credentials, refreshes, what is durable and when; a store of your own |
//! | [`logins`] | how a credential gets its first token: a person's login, the identity of a workload |
//! | [`fleets`] | several processes with one store; logs, health and events; shutdown |
//! | [`command`] | the command `credpool`: which credentials are unavailable, why, until when, and what to do; its documents and exit codes |
//! | [`observing`] | what a manager counts, metrics by the OpenTelemetry conventions, a log of outcomes |
//! | [`streams`] | iterating, cancelling, failover, when a stream is complete; what each fault looks like |
//! | [`providers`] | OpenAI, Anthropic, Gemini, Vertex AI, Bedrock, Cohere, compatible vendors and servers; connections, certificates, proxies; an executor of your own |
//! | [`testing`] | loopback upstreams, scripted executors, a manual clock, the policy as a pure function |
//! | [`coming_from_go`] | the names of the Go package that the interface follows |
//! | [`glossary`] | the terms of this documentation |

#[doc = include_str!("coming_from_go.md")]
pub mod coming_from_go {}

#[doc = include_str!("command.md")]
pub mod command {}

#[doc = include_str!("errors_and_cooldowns.md")]
pub mod errors_and_cooldowns {}

#[doc = include_str!("fleets.md")]
pub mod fleets {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("logins.md")]
pub mod logins {}

#[doc = include_str!("models.md")]
pub mod models {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[doc = include_str!("providers.md")]
pub mod providers {}

#[doc = include_str!("selecting.md")]
pub mod selecting {}

#[doc = include_str!("streams.md")]
pub mod streams {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("tokens_and_stores.md")]
pub mod tokens_and_stores {}
