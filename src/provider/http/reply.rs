//! [`ReplyReader`]: how the plain replies of an API are read.

use serde_json::Value;

use super::error_body::ReportedError;
use crate::request::{ToolCall, Usage};

/// What is taken out of a plain reply: it becomes the members of the [`Response`](crate::Response). See [`ReplyReader`].
///
/// ```
/// use credpool::provider::http::{Reply, ReplyReader};
/// use serde_json::Value;
///
/// fn read(answer: &Value) -> Reply {
///     Reply {
///         text: answer["text"].as_str().map(str::to_owned),
///         ..Reply::default()
///     }
/// }
///
/// const READER: ReplyReader = ReplyReader::new(read);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The text, where there is any.
    pub text: Option<String>,
    /// The text of the reasoning, where the vendor shows it.
    pub reasoning: Option<String>,
    /// The tool calls that it asks for.
    pub tool_calls: Vec<ToolCall>,
    /// Why the reply ended, in the vendor's own word.
    pub finish_reason: Option<String>,
    /// The tokens that it cost, where it says so.
    pub usage: Option<Usage>,
}

/// How the plain replies of an API are read.
///
/// ```
/// use credpool::Usage;
/// use credpool::provider::http::{Reply, ReplyReader, ReportedError};
/// use serde_json::Value;
///
/// fn read(json: &Value) -> Reply {
///     let count = |name| json.pointer(name).and_then(Value::as_u64);
///     Reply {
///         text: json["text"].as_str().map(str::to_owned),
///         usage: count("/tokens/in").zip(count("/tokens/out")).map(|(input, output)| Usage::new(input, output)),
///         ..Reply::default()
///     }
/// }
///
/// fn failure(json: &Value) -> Option<ReportedError> {
///     json.get("text").is_none().then(|| ReportedError::of_no_reply(json))
/// }
///
/// const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);
/// # let _ = REPLIES;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplyReader {
    pub(crate) fast_path: fn(&[u8]) -> Option<Reply>,
    pub(crate) failure: fn(&Value) -> Option<ReportedError>,
    pub(crate) read: fn(&Value) -> Reply,
}

impl ReplyReader {
    /// A reader of whole replies. A JSON `error` in one is an error in any case.
    pub const fn new(read: fn(&Value) -> Reply) -> Self {
        Self {
            fast_path: |_| None,
            failure: |_| None,
            read,
        }
    }

    /// Finds an error that a reply tells elsewhere than where errors mostly stand. None by default.
    pub const fn with_failure(mut self, failure: fn(&Value) -> Option<ReportedError>) -> Self {
        self.failure = failure;
        self
    }

    /// Takes what is needed straight out of the bytes of the ordinary reply, which is several times cheaper; `None` for each reply that must
    /// be read in full. None by default.
    ///
    /// ```
    /// use credpool::provider::http::{Reply, ReplyReader};
    ///
    /// /// Reads the usual answer without a tree of values; anything else is left to the reader.
    /// fn fast(answer: &[u8]) -> Option<Reply> {
    ///     #[derive(serde::Deserialize)]
    ///     #[serde(deny_unknown_fields)]
    ///     struct Plain {
    ///         text: String,
    ///     }
    ///     let plain: Plain = serde_json::from_slice(answer).ok()?;
    ///     Some(Reply { text: Some(plain.text), ..Reply::default() })
    /// }
    ///
    /// const READER: ReplyReader = ReplyReader::new(|_| Reply::default()).with_fast_path(fast);
    /// ```
    pub const fn with_fast_path(mut self, fast_path: fn(&[u8]) -> Option<Reply>) -> Self {
        self.fast_path = fast_path;
        self
    }
}
