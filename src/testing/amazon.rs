//! Amazon event streams, as a server writes them.

use serde_json::Value;

use super::Reply;

/// The bytes of an [Amazon event stream](https://smithy.io/2.0/aws/amazon-eventstream.html) with these events, each a name and a payload. A
/// name that ends in `Exception` makes it an exception; the empty name is none.
///
/// ```
/// use credpool::testing::amazon_events;
///
/// let stream = amazon_events([("messageStop", r#"{"stopReason":"end_turn"}"#)]);
/// assert_eq!(stream[..4], u32::try_from(stream.len()).unwrap().to_be_bytes());
/// ```
pub fn amazon_events<N: AsRef<str>, E: AsRef<[u8]>>(
    events: impl IntoIterator<Item = (N, E)>,
) -> Vec<u8> {
    let frames = events
        .into_iter()
        .map(|(name, payload)| event(name.as_ref(), payload.as_ref()));
    frames.collect::<Vec<_>>().concat()
}

impl Reply {
    /// An answer that is an Amazon event stream, chunked, one chunk for each event; see [`amazon_events`].
    ///
    /// ```
    /// use credpool::testing::Reply;
    ///
    /// let busy = Reply::amazon_events([("throttlingException", r#"{"message":"Too many requests."}"#)]);
    /// # let _ = busy;
    /// ```
    pub fn amazon_events<N: AsRef<str>, E: AsRef<[u8]>>(
        events: impl IntoIterator<Item = (N, E)>,
    ) -> Self {
        Self::new(200)
            .header("content-type", AMAZON_EVENT_STREAM)
            .body(amazon_events(events))
            .chunked()
    }
}

/// Where the frames of a stream end, as far as it is one.
pub(super) fn frame_ends(stream: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut end = 0;
    while let Some(length) = stream.get(end..).and_then(<[u8]>::first_chunk) {
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > stream.len() - end {
            break;
        }
        end += length;
        ends.push(end);
    }
    ends
}

pub(super) const AMAZON_EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let (message, kind) = if name.ends_with("Exception") {
        ("exception", ":exception-type")
    } else {
        ("event", ":event-type")
    };
    let mut headers = Vec::new();
    if !name.is_empty() {
        text(&mut headers, kind, name);
    }
    let is_json = serde_json::from_slice::<Value>(payload).is_ok();
    if is_json {
        text(&mut headers, ":content-type", "application/json");
    }
    text(&mut headers, ":message-type", message);
    frame(&headers, payload)
}

fn text(headers: &mut Vec<u8>, name: &str, value: &str) {
    headers.extend(u8::try_from(name.len()));
    headers.extend(name.bytes());
    headers.push(7);
    headers.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
    headers.extend(value.bytes());
}

fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
    let mut frame = Vec::new();
    frame.extend(number(headers.len() + payload.len() + 16));
    frame.extend(number(headers.len()));
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}
