//! [`ChunkStream`]: the caller's end of a stream, an iterator that blocks.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, select};

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorCode};
use crate::head::ResponseHead;
use crate::request::StreamChunk;
use crate::runtime::Process;

/// The chunks of an answer, as they arrive. An iterator that blocks; its first error is its last item.
///
/// The stream ended well only if it ends without an error: whatever cuts it short, a cancel included, shows as one. Dropping
/// the stream early ends the work upstream and changes no credential's state.
///
/// [`texts`](Self::texts) gives the texts alone, [`collect_response`](Self::collect_response) the whole reply.
///
/// The end is no chunk: a gateway that passes a chat on adds its own `data: [DONE]`, and none to a response, whose last event is its end.
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
#[doc(alias = "backpressure")]
pub struct ChunkStream {
    /// Boxed, because a bounded channel allocates every slot when it is made.
    pub(super) chunks: Receiver<Box<StreamChunk>>,
    pub(super) ending: Arc<Completion>,
    pub(super) cancel: CancelToken,
    pub(super) stopping: CancelToken,
    pub(super) late: Receiver<Instant>,
    pub(super) is_late: bool,
    /// How it ended, once that has been said.
    pub(super) end: Option<StreamEvent>,
    /// The iterator has given its last item.
    pub(super) fused: bool,
    pub(super) provider: Arc<str>,
    pub(super) auth_id: Arc<str>,
    pub(super) sent_as: Option<Arc<str>>,
    pub(super) attempts: u32,
    /// Of the first chunk that has one.
    pub(super) head: Option<Arc<ResponseHead>>,
    pub(super) process: Process,
}

/// How the stream ended. Set once the worker has sent the last chunk, and before it drops its end of the channel.
pub(super) type Completion = OnceLock<Result<(), Error>>;

/// What a stream has to say at the moment.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::testing::ScriptedExecutor;
/// use credpool::{Auth, Manager, Options, Request, StreamChunk, StreamEvent};
///
/// let executor = ScriptedExecutor::new("p");
/// executor.stream(Ok(vec![Ok(StreamChunk::new("hello"))]));
/// let manager = Manager::builder().build()?;
/// manager.register_executor(executor);
/// manager.register(Auth::api_key("p", "key"))?;
/// let mut stream = manager.execute_stream(["p"], &Request::new("m", "{}"), &Options::new())?;
/// let mut chunks = 0;
/// loop {
///     match stream.recv_timeout(Duration::from_secs(1)) {
///         StreamEvent::Chunk(chunk) => chunks += chunk.payload.len(),
///         StreamEvent::Failed(error) => return Err(error),
///         StreamEvent::Ended => break,
///         // A good moment for other work.
///         _ => {}
///     }
/// }
/// assert_eq!(chunks, 5);
/// // The end stays, without waiting or with it.
/// assert!(matches!(stream.try_recv(), StreamEvent::Ended));
/// assert!(matches!(stream.recv(), StreamEvent::Ended));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "mostly a chunk, which would cost an allocation each"
)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A chunk.
    Chunk(StreamChunk),
    /// The stream failed. Final: every later call returns it again.
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

    /// The model that serves, as the vendor calls it, where that is another name than the request's.
    pub fn sent_as(&self) -> Option<&str> {
        self.sent_as.as_deref()
    }

    /// How many attempts it took to open the stream.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Status and headers of the answer, where it came over HTTP. A policy that commits streams before their first content
    /// ([`StreamCommit`](crate::StreamCommit)) knows them no sooner than the first chunk was read.
    pub fn head(&self) -> Option<&ResponseHead> {
        self.head.as_deref()
    }

    /// Ends the stream. Chunks that have arrived can still be read; then comes the error `cancelled`.
    ///
    /// ```
    /// use credpool::{ChunkStream, Error};
    ///
    /// /// The first words of a reply: the rest is not paid for.
    /// fn first(mut stream: ChunkStream) -> Option<Result<String, Error>> {
    ///     let chunk = stream.find(|chunk| chunk.as_ref().map_or(true, |chunk| chunk.text.is_some()))?;
    ///     stream.cancel();
    ///     Some(chunk.map(|chunk| chunk.text.unwrap_or_default()))
    /// }
    /// ```
    pub fn cancel(&self) {
        // The stream's connection is the parent's, too.
        if !self.process.has_forked() {
            self.cancel.cancel();
        }
    }

    /// What is there now, without waiting.
    pub fn try_recv(&mut self) -> StreamEvent {
        if let Some(end) = &self.end {
            return end.clone();
        }
        // Asked before the look at the channel: what had been sent by then has been read once that is empty.
        let has_ended = self.ending.get().is_some();
        match self.chunks.try_recv() {
            Ok(chunk) => self.arrived(*chunk),
            Err(TryRecvError::Disconnected) => self.last_word(true, || {
                Error::new(ErrorCode::StreamInterrupted, "the stream's worker is gone")
            }),
            // The source may ignore the deadline and the cancel token; the reader must not wait for it.
            Err(TryRecvError::Empty) if self.is_late => {
                let end = self.last_word(has_ended, late_in_stream);
                self.cancel.cancel();
                end
            }
            Err(TryRecvError::Empty) if self.cancel.is_cancelled() => {
                let why = why_cancelled(&self.stopping);
                self.last_word(has_ended, || why)
            }
            Err(TryRecvError::Empty) => match self.process.check() {
                Ok(()) => StreamEvent::Pending,
                Err(forked) => self.last_word(false, || forked),
            },
        }
    }

    /// What comes next, waiting for it: until there is something, or the stream is cancelled, or its call's deadline passes.
    pub fn recv(&mut self) -> StreamEvent {
        self.wait(&crossbeam_channel::never())
    }

    /// What comes next, waiting at most `timeout` by the machine's clock; [`StreamEvent::Pending`] after that.
    pub fn recv_timeout(&mut self, timeout: Duration) -> StreamEvent {
        self.wait(&crossbeam_channel::after(timeout))
    }

    fn arrived(&mut self, chunk: StreamChunk) -> StreamEvent {
        if self.head.is_none() {
            self.head.clone_from(&chunk.head);
        }
        StreamEvent::Chunk(chunk)
    }

    fn wait(&mut self, timer: &Receiver<Instant>) -> StreamEvent {
        loop {
            let now = self.try_recv();
            if !matches!(now, StreamEvent::Pending) {
                return now;
            }
            select! {
                recv(self.chunks) -> chunk => if let Ok(chunk) = chunk {
                    return self.arrived(*chunk);
                },
                recv(timer) -> _ => return StreamEvent::Pending,
                recv(self.cancel.cancelled()) -> _ => {}
                recv(self.late) -> _ => self.is_late = true,
            }
        }
    }

    /// The stream's last word: how it ended where it has, or `otherwise`.
    fn last_word(&mut self, has_ended: bool, otherwise: impl FnOnce() -> Error) -> StreamEvent {
        let end = match self.ending.get().filter(|_| has_ended) {
            Some(Ok(())) => StreamEvent::Ended,
            Some(Err(error)) => StreamEvent::Failed(error.clone()),
            None => StreamEvent::Failed(otherwise()),
        };
        self.end = Some(end.clone());
        end
    }
}

pub(super) fn late_in_stream() -> Error {
    Error::new(
        ErrorCode::DeadlineExceeded,
        "the call's deadline has passed in mid-stream",
    )
}

pub(super) fn why_cancelled(stopping: &CancelToken) -> Error {
    if stopping.is_cancelled() {
        Error::new(
            ErrorCode::ShutDown,
            "the manager was shut down in mid-stream",
        )
    } else {
        Error::new(ErrorCode::Cancelled, "the stream was cancelled")
    }
}

impl Iterator for ChunkStream {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fused {
            return None;
        }
        match self.recv() {
            StreamEvent::Chunk(chunk) => Some(Ok(chunk)),
            StreamEvent::Failed(error) => {
                self.fused = true;
                Some(Err(error))
            }
            StreamEvent::Ended | StreamEvent::Pending => {
                self.fused = true;
                None
            }
        }
    }
}

impl std::iter::FusedIterator for ChunkStream {}

impl Drop for ChunkStream {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.cancel();
        }
    }
}

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkStream")
            .field("provider", &self.provider)
            .field("auth_id", &self.auth_id)
            .field("waiting", &self.chunks.len())
            .field("ended", &self.end.is_some())
            .finish_non_exhaustive()
    }
}
