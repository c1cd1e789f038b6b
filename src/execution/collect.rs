//! What a program mostly needs of a stream: its texts ([`ChunkStream::texts`]), or the whole reply ([`ChunkStream::collect_response`]).

use std::iter::FusedIterator;

use super::stream::ChunkStream;
use crate::auth::Metadata;
use crate::error::Error;
use crate::request::{Response, StreamChunk, ToolCall};

impl ChunkStream {
    /// The pieces of the reply's text, as they arrive, without what else comes: reasoning, tool calls, usage.
    ///
    /// Iterating blocks. An error is the last item, as of the stream itself: a text is whole only if none came. Dropping the iterator
    /// drops the stream.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), credpool::Error> {
    /// # let manager = credpool::Manager::builder().build()?;
    /// # let (request, options) = (credpool::Request::new("m", "{}"), credpool::Options::new());
    /// for text in manager.execute_stream(["openai"], &request, &options)?.texts() {
    ///     print!("{}", text?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn texts(self) -> impl FusedIterator<Item = Result<String, Error>> + Send {
        self.filter_map(|chunk| chunk.map(|chunk| chunk.text).transpose())
    }

    /// Reads the stream to its end and returns the reply as that of a plain call, with its text, its reasoning, its tool calls, the reason
    /// of its end, the last usage that came, head and limits. Blocks until then.
    ///
    /// The payload holds the events as a stream of events has them, with `event:` and `data:` lines: without comments, ids and a final
    /// `[DONE]`. All of it is held in memory, however long it is. Chunks that were read before are not in it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), credpool::Error> {
    /// # let manager = credpool::Manager::builder().build()?;
    /// # let (request, options) = (credpool::Request::new("m", "{}"), credpool::Options::new());
    /// let stream = manager.execute_stream(["openai"], &request, &options)?;
    /// let response = stream.collect_response()?;
    /// println!("{}", response.reply_text.unwrap_or_default());
    /// assert_ne!(response.finish_reason.as_deref(), Some("length"), "the reply was cut short");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// That with which the stream ends; what had come of the reply is lost then.
    pub fn collect_response(mut self) -> Result<Response, Error> {
        let mut response = Response::default();
        let (mut events, mut tool_calls) = (Vec::new(), Vec::new());
        for chunk in self.by_ref() {
            let chunk = chunk?;
            push_event(&mut events, &chunk);
            push_text(&mut response.reply_text, chunk.text);
            push_text(&mut response.reasoning_text, chunk.reasoning);
            tool_calls.extend(chunk.tool_calls);
            response.finish_reason = chunk.finish_reason.or(response.finish_reason);
            response.usage = chunk.usage.or(response.usage);
            response.rate_limits = response.rate_limits.or(chunk.rate_limits);
        }
        response.tool_calls = ToolCall::join(tool_calls);
        response.payload = events.into();
        response.head.clone_from(&self.head);
        let request_id = self.head().and_then(|head| head.request_id());
        response.metadata = request_id.map(|id| Metadata::from_iter([("request_id", id)]));
        response.provider = self.provider.clone();
        response.auth_id = self.auth_id.clone();
        response.sent_as.clone_from(&self.sent_as);
        response.attempts = self.attempts;
        Ok(response)
    }
}

fn push_text(text: &mut Option<String>, piece: Option<String>) {
    match (text, piece) {
        (Some(text), Some(piece)) => text.push_str(&piece),
        (text @ None, piece) => *text = piece,
        (Some(_), None) => {}
    }
}

fn push_event(events: &mut Vec<u8>, chunk: &StreamChunk) {
    let mut line = |name: &str, value: &[u8]| {
        events.extend_from_slice(name.as_bytes());
        events.extend_from_slice(value);
        events.push(b'\n');
    };
    if let Some(event) = &chunk.event {
        line("event: ", event.as_bytes());
    }
    for data in chunk.payload.split(|byte| *byte == b'\n') {
        line("data: ", data);
    }
    events.push(b'\n');
}
