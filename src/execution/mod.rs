//! How a call travels: the attempt loop, what executors see, streams.

mod attempt;
mod executor;

pub use attempt::Attempt;
pub use executor::{ChunkSource, ProviderExecutor, RequestPreparer};
