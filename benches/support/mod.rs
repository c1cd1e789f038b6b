//! What the benches share.

use credpool::{
    Attempt, Auth, ChunkSource, Error, Options, ProviderExecutor, Request, Response, StreamChunk,
};

/// How many chunks a stream has.
pub(crate) const CHUNKS: usize = 20_000;

/// Serves the provider `p` at once and with nothing, or refuses every call with a 429.
pub(crate) struct Nothing {
    pub(crate) fails: bool,
}

impl ProviderExecutor for Nothing {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        if self.fails {
            Err(Error::upstream(429, "slow down"))
        } else {
            Ok(Response::default())
        }
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        let chunk = || Ok(StreamChunk::new("x"));
        Ok(Box::new(std::iter::repeat_with(chunk).take(CHUNKS)))
    }
}
