//! [`RawAnswer`]: what an executor gives for a raw call: a head, and a body that is still to be read.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use crate::head::ResponseHead;
use crate::limits::RateLimits;
use crate::request::Usage;

/// The answer to a raw call. See [`ProviderExecutor::execute_raw`](crate::ProviderExecutor::execute_raw).
///
/// ```
/// use credpool::{RawAnswer, ResponseHead};
///
/// let answer = RawAnswer::new(ResponseHead::new(http::StatusCode::OK), &b"pong"[..]);
/// assert_eq!(answer.head.status, 200);
/// ```
#[non_exhaustive]
pub struct RawAnswer {
    /// Status and headers.
    pub head: ResponseHead,
    /// What is read of the body, by the caller.
    pub body: Box<dyn ReadAnswer>,
    /// What the head says of limits.
    pub rate_limits: Option<Arc<RateLimits>>,
}

/// The body of an answer. A failed read returns an [`io::Error`] around an [`Error`](crate::Error) where there is more to say than its kind.
///
/// ```
/// use std::io::{self, Read};
///
/// use credpool::{ReadAnswer, Usage};
///
/// /// A body whose tokens are known when it is read to its end.
/// struct Metered<R> {
///     body: R,
///     usage: Option<Usage>,
/// }
/// impl<R: Read> Read for Metered<R> {
///     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
///         let count = self.body.read(buffer)?;
///         if count == 0 {
///             self.usage = Some(Usage::new(1, 2));
///         }
///         Ok(count)
///     }
/// }
/// impl<R: Read + Send> ReadAnswer for Metered<R> {
///     fn usage(&self) -> Option<Usage> {
///         self.usage.clone()
///     }
/// }
/// ```
pub trait ReadAnswer: Read + Send {
    /// The tokens used, as far as what was read so far tells. None by default.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// Whether all of it was read, where that is known before a read returns nothing: by an announced length. By default it is not.
    fn is_ended(&self) -> bool {
        false
    }
}

impl RawAnswer {
    /// An answer.
    pub fn new(head: ResponseHead, body: impl ReadAnswer + 'static) -> Self {
        Self {
            head,
            body: Box::new(body),
            rate_limits: None,
        }
    }

    /// Adds what the head says of limits.
    pub fn with_rate_limits(mut self, limits: impl Into<Arc<RateLimits>>) -> Self {
        self.rate_limits = Some(limits.into());
        self
    }
}

impl ReadAnswer for super::Body {
    fn is_ended(&self) -> bool {
        super::Body::is_ended(self)
    }
}

impl ReadAnswer for io::Empty {}
impl ReadAnswer for io::Cursor<Bytes> {}
impl ReadAnswer for io::Cursor<Vec<u8>> {}
impl ReadAnswer for &[u8] {}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAnswer")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
