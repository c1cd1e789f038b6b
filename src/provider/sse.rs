use std::io::{ErrorKind, Read};

use bytes::Bytes;

use crate::error::{Error, ErrorCode};
use crate::json_input::{BYTE_ORDER_MARK, without_mark};

/// Reads server-sent events from a byte stream, one blocking step at a time.
///
/// It follows the [WHATWG rules](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation):
/// lines end in LF, CR or CRLF wherever the reads happen to cut them; a byte order mark at the start, comments, `id` and
/// `retry` are ignored; several `data` lines are joined by LF; an event that the end of input cuts off is not delivered;
/// invalid UTF-8 is replaced. An event is delivered as soon as its blank line is there.
///
/// Memory is bounded: 4 KiB to read into, and one event of at most [`with_limit`](Self::with_limit) bytes.
///
/// As an iterator it ends at the end of input or after its first error: code `stream_malformed` for an event over the
/// limit, `stream_stalled` when a read timed out, `stream_truncated` when the reader says that its input was cut off
/// (`UnexpectedEof`), `stream_interrupted` for any other failure of it.
///
/// ```
/// use credpool::provider::SseReader;
///
/// let input = &b": hello\nevent: ping\ndata: 1\ndata: 2\n\ndata: 3\n\ndata: cut off"[..];
/// let events: Vec<_> = SseReader::new(input).collect::<Result<_, _>>()?;
/// assert_eq!(events.len(), 2);
/// assert_eq!(events[0].event.as_deref(), Some("ping"));
/// assert_eq!(&events[0].data[..], b"1\n2");
/// assert_eq!(events[1].event, None);
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct SseReader<R> {
    reader: R,
    limit: usize,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The start of a line whose end has not been read yet.
    line: Vec<u8>,
    pending: Pending,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has been read yet: a byte order mark may come.
    at_start: bool,
    ended: bool,
}

/// One event.
///
/// ```
/// let mut reader = credpool::provider::SseReader::new(&b"data: [DONE]\n\n"[..]);
/// let event = reader.next_event()?.unwrap();
/// assert_eq!(event.data, "[DONE]");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent {
    /// The event's name; `None` for the default, `message`.
    pub event: Option<String>,
    /// The `data` lines, joined by LF. Always valid UTF-8.
    pub data: Bytes,
}

/// The event that is being read.
#[derive(Default)]
struct Pending {
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl<R: Read> SseReader<R> {
    /// Reads events from `reader`, which needs no buffer of its own.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            limit: DEFAULT_EVENT_LIMIT,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            line: Vec::new(),
            pending: Pending::default(),
            after_cr: false,
            at_start: true,
            ended: false,
        }
    }

    /// Sets how many bytes one event, or one line, may have. Default: 64 MiB, for images come as one event.
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The next event; `None` at the end of input, and always after it or after an error.
    ///
    /// # Errors
    /// See the type.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, Error> {
        if self.ended {
            return Ok(None);
        }
        let next = loop {
            match self.buffered_event() {
                Ok(None) => {}
                found => break found,
            }
            match self.read_more() {
                Ok(true) => {}
                Ok(false) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        if !matches!(next, Ok(Some(_))) {
            self.ended = true;
            self.line = Vec::new();
            self.pending = Pending::default();
        }
        next
    }

    /// What the events were read from.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// The next event that has been read, without waiting for more.
    pub(super) fn buffered_event(&mut self) -> Result<Option<SseEvent>, Error> {
        while self.start < self.end {
            if std::mem::take(&mut self.after_cr) && self.buffer[self.start] == b'\n' {
                self.start += 1;
                continue;
            }
            let unread = &self.buffer[self.start..self.end];
            let Some(length) = find_line_end(unread) else {
                self.line.extend_from_slice(unread);
                self.start = self.end;
                self.check_limit(0)?;
                continue;
            };
            self.after_cr = unread[length] == b'\r';
            let line_start = self.start;
            self.start += length + 1;
            self.check_limit(length)?;
            if let Some(event) = self.take_line(line_start, length) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Waits for more, once what was read has been looked at. False at the end of input.
    pub(super) fn read_more(&mut self) -> Result<bool, Error> {
        self.start = 0;
        self.end = 0;
        self.fill()
    }

    /// How many bytes there are of an event that is not there in whole. A comment is none.
    pub(super) fn bytes_of_event(&self) -> usize {
        let is_comment = self.line.first() == Some(&b':');
        self.pending.len() + if is_comment { 0 } else { self.line.len() }
    }

    /// What the end of input has cut off: an event that lacks its blank line, or a part of one.
    pub(super) fn cut_off(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = if std::mem::take(&mut self.at_start) {
            without_mark(&line)
        } else {
            &line
        };
        self.pending.field(line);
        self.pending.dispatch()
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// Whether the input is a document and no events, by the first bytes that are not blank: those of JSON or of a web page, which
    /// mean nothing as lines of events; where a document was announced, `announced`, any but those of events. `None` while what has
    /// come may be the beginning of either. Only before the first event.
    pub(super) fn opens_document(&mut self, announced: bool) -> Option<bool> {
        let unread = &self.buffer[self.start..self.end];
        let text = without_mark(unread).trim_ascii_start();
        if text.is_empty() || BYTE_ORDER_MARK.starts_with(text) {
            return None;
        }
        if matches!(text, [b'{' | b'[' | b'<', ..]) {
            return Some(true);
        }
        if announced {
            return opens_field(text).map(|opens| !opens);
        }
        Some(false)
    }

    /// Waits for more while the beginning tells nothing yet. False at the end of input.
    pub(super) fn read_on(&mut self) -> Result<bool, Error> {
        if self.end == self.buffer.len() {
            // It is blank, but perhaps for the beginning of a field's name.
            let begun = self.buffer.trim_ascii_start().len();
            self.buffer.copy_within(self.end - begun.., 0);
            self.at_start = false;
            self.end = begun;
        }
        self.start = 0;
        self.fill()
    }

    /// The document that the input is, without a byte order mark; at most `limit` bytes of it.
    pub(super) fn into_document(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut document = Vec::new();
        loop {
            document.extend_from_slice(&self.buffer[self.start..self.end]);
            if document.len() >= limit || !self.read_more()? {
                break;
            }
        }
        document.truncate(limit);
        Ok(document)
    }

    /// Works on the line whose last `length` bytes are in the buffer at `start`; an event when it is the blank one.
    fn take_line(&mut self, start: usize, length: usize) -> Option<SseEvent> {
        let tail = &self.buffer[start..start + length];
        let line = if self.line.is_empty() {
            tail
        } else {
            self.line.extend_from_slice(tail);
            &self.line[..]
        };
        let line = if std::mem::take(&mut self.at_start) {
            without_mark(line)
        } else {
            line
        };
        let event = if line.is_empty() {
            self.pending.dispatch()
        } else {
            self.pending.field(line);
            None
        };
        if self.line.capacity() > BUFFER {
            self.line = Vec::new();
        } else {
            self.line.clear();
        }
        event
    }

    fn check_limit(&self, more: usize) -> Result<(), Error> {
        if self.pending.len() + self.line.len() + more <= self.limit {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::StreamMalformed,
            format!(
                "an event of the stream has more than {} bytes, which is the limit of this side: raise event_limit of the call's \
                 options, or of the executor",
                self.limit
            ),
        ))
    }

    /// Reads more behind what is there; false at the end of input.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

/// What a failed read means for the stream. A [`Body`](crate::Body) says it itself.
fn broken(error: std::io::Error) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::new(
            ErrorCode::StreamStalled,
            "the stream fell silent for longer than its limit",
        ),
        ErrorKind::UnexpectedEof => Error::new(
            ErrorCode::StreamTruncated,
            "the connection was closed before the stream's end",
        ),
        kind => Error::new(
            ErrorCode::StreamInterrupted,
            format!("the stream broke off: {kind}"),
        ),
    }
}

impl<R: Read> Iterator for SseReader<R> {
    type Item = Result<SseEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

impl<R> std::fmt::Debug for SseReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SseReader")
            .field("limit", &self.limit)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.event.len() + self.data.len()
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            // A comment has the empty name; `id` and `retry` serve reconnection, which no provider offers.
            _ => {}
        }
    }

    /// What has come together, unless it has no data; the next event starts empty.
    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.has_data.then(|| SseEvent {
            event: (!self.event.is_empty())
                .then(|| String::from_utf8_lossy(&self.event).into_owned()),
            data: self.take_data(),
        });
        self.event.clear();
        self.data.clear();
        self.has_data = false;
        event
    }

    fn take_data(&mut self) -> Bytes {
        if std::str::from_utf8(&self.data).is_err() {
            return String::from_utf8_lossy(&self.data).into_owned().into();
        }
        if self.data.capacity() > BUFFER {
            std::mem::take(&mut self.data).into()
        } else {
            Bytes::copy_from_slice(&self.data)
        }
    }
}

/// Whether a text begins with a field of an event. `None` where it may do so once more of it has come.
fn opens_field(text: &[u8]) -> Option<bool> {
    let names: [&[u8]; 5] = [b"", b"data", b"event", b"id", b"retry"];
    let end = text
        .iter()
        .position(|byte| matches!(byte, b':' | b'\r' | b'\n'));
    match end {
        Some(end) => Some(names.contains(&&text[..end])),
        None if names.iter().any(|name| name.starts_with(text)) => None,
        None => Some(false),
    }
}

/// Where the first CR or LF is, looking at eight bytes at a time.
fn find_line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // A byte of `word ^ pattern` is zero where the bytes are equal; the expression is zero when no byte is.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let (words, _) = bytes.as_chunks::<8>();
    let whole = words
        .iter()
        .position(|word| {
            let word = u64::from_ne_bytes(*word);
            has_zero(word ^ (ONES * u64::from(b'\n'))) | has_zero(word ^ (ONES * u64::from(b'\r')))
                != 0
        })
        .unwrap_or(words.len())
        * 8;
    bytes[whole..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map(|at| whole + at)
}

const BUFFER: usize = 4 * 1024;
/// As large as a plain answer may be.
pub(super) const DEFAULT_EVENT_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io;

    /// Gives its pieces one read at a time.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.retain(|piece| !piece.is_empty());
            let Some(piece) = self.0.first_mut() else {
                return Ok(0);
            };
            let length = piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&piece[..length]);
            piece.drain(..length);
            Ok(length)
        }
    }

    fn events(input: &[u8]) -> Vec<(Option<String>, String)> {
        SseReader::new(input)
            .map(|event| {
                let event = event.unwrap();
                (event.event, String::from_utf8(event.data.to_vec()).unwrap())
            })
            .collect()
    }

    fn data(input: &[u8]) -> Vec<String> {
        events(input).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(
            data(b"data: YHOO\ndata: +2\ndata: 10\n\n"),
            ["YHOO\n+2\n10"]
        );
        let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(data(four), ["first event", "second event", " third event"]);
        assert_eq!(data(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
        assert_eq!(data(b"data:test\n\ndata: test\n\n"), ["test", "test"]);
    }

    #[test]
    fn every_line_end_counts_and_mixes() {
        assert_eq!(
            data(b"data: a\r\n\r\ndata: b\r\rdata: c\n\r\n"),
            ["a", "b", "c"]
        );
        assert_eq!(data(b"data: a\r\n\n"), ["a"]);
    }

    #[test]
    fn names_belong_to_one_event_and_need_data() {
        let got = events(b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\nevent: c\n\ndata: 3\n\n");
        let name = |event: &(Option<String>, String)| event.0.clone();
        assert_eq!(
            got.iter().map(name).collect::<Vec<_>>(),
            [Some("b".into()), None, None]
        );
    }

    #[test]
    fn a_byte_order_mark_is_dropped_once() {
        assert_eq!(
            data(b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n"),
            ["a"]
        );
    }

    #[test]
    fn invalid_text_is_replaced() {
        assert_eq!(data(b"data: a\xFFb\n\n"), ["a\u{FFFD}b"]);
    }

    #[test]
    fn the_limit_is_a_limit_and_the_error_is_the_last_item() {
        let fits = b"data: 12345678\n\n";
        assert_eq!(
            SseReader::new(&fits[..]).with_limit(14).flatten().count(),
            1
        );
        for input in [
            &fits[..],
            b": a comment without end",
            b"data: 1234\ndata: 567\ndata: 8\n\n",
        ] {
            let mut reader = SseReader::new(input).with_limit(13);
            let error = reader.next_event().unwrap_err();
            assert_eq!(*error.code(), ErrorCode::StreamMalformed);
            assert_eq!(reader.next_event().unwrap(), None);
        }
    }

    #[test]
    fn comments_take_no_room() {
        let input = ": keep-alive\n".repeat(100) + "data: x\n\n";
        let mut reader = SseReader::new(input.as_bytes()).with_limit(20);
        assert_eq!(reader.next_event().unwrap().unwrap().data, "x");
    }

    #[test]
    fn an_event_comes_before_the_next_read() {
        struct Once(bool);
        impl Read for Once {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(
                    !std::mem::replace(&mut self.0, true),
                    "read on before the event"
                );
                buffer[..9].copy_from_slice(b"data: 1\r\r");
                Ok(9)
            }
        }
        let mut reader = SseReader::new(Once(false));
        assert_eq!(reader.next_event().unwrap().unwrap().data, "1");
    }

    #[test]
    fn a_failed_read_says_whether_it_was_silence() {
        struct Failing(ErrorKind);
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
        }
        let code = |kind| {
            SseReader::new(Failing(kind))
                .next_event()
                .unwrap_err()
                .code()
                .clone()
        };
        assert_eq!(code(ErrorKind::TimedOut), ErrorCode::StreamStalled);
        assert_eq!(
            code(ErrorKind::ConnectionReset),
            ErrorCode::StreamInterrupted
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "data: a", "data:b", "data", "event: x", ": c", "id: 1", "é", "\r", "\n", "\r\n", "\n\n", "\u{FEFF}", " ", ":",
                    "a line that is longer than one word of the search",
                ]),
                0..60,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let input = parts.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| input[cut[0]..cut[1]].to_vec()).collect();
            let whole: Vec<_> = SseReader::new(&input[..]).collect::<Result<_, _>>().unwrap();
            let split: Vec<_> = SseReader::new(Pieces(pieces)).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(whole, split);
        }

        #[test]
        fn a_line_end_is_found_where_it_is(bytes in prop::collection::vec(prop::sample::select(vec![b'\n', b'\r', b'a', 0x8A, 0x8D, 0xFF, 0x0B, 0x0C, 0x0E, 9]), 0..40)) {
            let plain = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            prop_assert_eq!(find_line_end(&bytes), plain);
        }
    }
}
