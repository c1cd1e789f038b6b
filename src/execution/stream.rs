use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorCode};
use crate::request::StreamChunk;

/// The chunks of an answer, as they arrive. An iterator that blocks; its first error is its last item.
///
/// The stream ended well only if it ends without an error: whatever cuts it short, a cancel included, shows as one. Dropping
/// it early ends the work upstream and changes nobody's state.
///
/// ```no_run
/// # fn main() -> Result<(), credpool::Error> {
/// # let manager = credpool::Manager::builder().build()?;
/// # let (request, options) = (credpool::Request::new("m", "{}"), credpool::Options::new());
/// for chunk in manager.execute_stream(["openai"], &request, &options)? {
///     print!("{}", chunk?.text.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
pub struct ChunkStream {
    /// What has been handed over and is still to be read.
    pub(super) batch: Batch,
    pub(super) batches: Receiver<Batch>,
    pub(super) ending: Arc<Ending>,
    pub(super) cancel: CancelToken,
    pub(super) ended: bool,
    pub(super) provider: Arc<str>,
    pub(super) auth_id: Arc<str>,
    pub(super) attempts: u32,
}

/// Chunks that came together.
pub(super) type Batch = VecDeque<StreamChunk>;

/// How the worker says that it has sent its last chunk. Set before the channel closes.
pub(super) type Ending = OnceLock<Result<(), Error>>;

/// What a stream has to say at the moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A chunk.
    Chunk(StreamChunk),
    /// The stream broke off: its last word.
    Failed(Error),
    /// The stream is complete.
    Ended,
    /// Nothing yet.
    Pending,
}

impl ChunkStream {
    /// The provider that serves.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The credential that serves.
    pub fn auth_id(&self) -> &str {
        &self.auth_id
    }

    /// How many attempts it took to open the stream.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Ends the stream. Chunks that have arrived can still be read; then comes the error `cancelled`.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// What is there now, without waiting.
    pub fn try_recv(&mut self) -> StreamEvent {
        if self.ended {
            return StreamEvent::Ended;
        }
        if let Some(chunk) = self.batch.pop_front() {
            return StreamEvent::Chunk(chunk);
        }
        match self.batches.try_recv() {
            Ok(batch) => self.begin(batch),
            Err(TryRecvError::Empty) => StreamEvent::Pending,
            Err(TryRecvError::Disconnected) => self.end(),
        }
    }

    /// What comes next, waiting for it.
    pub fn recv(&mut self) -> StreamEvent {
        if self.ended {
            return StreamEvent::Ended;
        }
        if let Some(chunk) = self.batch.pop_front() {
            return StreamEvent::Chunk(chunk);
        }
        match self.batches.recv() {
            Ok(batch) => self.begin(batch),
            Err(_) => self.end(),
        }
    }

    /// What comes next, waiting at most `timeout`; [`StreamEvent::Pending`] after that.
    pub fn recv_timeout(&mut self, timeout: Duration) -> StreamEvent {
        if self.ended {
            return StreamEvent::Ended;
        }
        if let Some(chunk) = self.batch.pop_front() {
            return StreamEvent::Chunk(chunk);
        }
        match self.batches.recv_timeout(timeout) {
            Ok(batch) => self.begin(batch),
            Err(RecvTimeoutError::Timeout) => StreamEvent::Pending,
            Err(RecvTimeoutError::Disconnected) => self.end(),
        }
    }

    fn begin(&mut self, batch: Batch) -> StreamEvent {
        self.batch = batch;
        // No batch is empty.
        self.batch
            .pop_front()
            .map_or(StreamEvent::Pending, StreamEvent::Chunk)
    }

    fn end(&mut self) -> StreamEvent {
        self.ended = true;
        match self.ending.get() {
            Some(Ok(())) => StreamEvent::Ended,
            Some(Err(error)) => StreamEvent::Failed(error.clone()),
            None => StreamEvent::Failed(Error::new(
                ErrorCode::StreamInterrupted,
                "the stream's worker is gone",
            )),
        }
    }
}

impl Iterator for ChunkStream {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.recv() {
            StreamEvent::Chunk(chunk) => Some(Ok(chunk)),
            StreamEvent::Failed(error) => Some(Err(error)),
            StreamEvent::Ended | StreamEvent::Pending => None,
        }
    }
}

impl std::iter::FusedIterator for ChunkStream {}

impl Drop for ChunkStream {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel.cancel();
        }
    }
}

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkStream")
            .field("provider", &self.provider)
            .field("auth_id", &self.auth_id)
            .field("waiting", &(self.batch.len() + self.batches.len()))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
