pub(super) mod event;
mod lines;

use std::io::Read;

use self::event::Pending;
pub use self::event::SseEvent;
use self::lines::{find_line_end, opens_field};
use super::events::{EventReader, read_into, too_large};
use super::exchange::GZIP;
use crate::error::Error;
use crate::json::{BYTE_ORDER_MARK, without_mark};

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
    ///
    /// ```
    /// use credpool::provider::SseReader;
    ///
    /// let input = &b"data: a long event\n\n"[..];
    /// assert!(SseReader::new(input).with_limit(4).next_event().is_err());
    /// ```
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
        let next = self.awaited_event();
        if !matches!(next, Ok(Some(_))) {
            self.ended = true;
            self.line = Vec::new();
            self.pending = Pending::default();
        }
        next
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
        Err(too_large(self.limit))
    }

    /// Reads more behind what is there; false at the end of input.
    fn fill(&mut self) -> Result<bool, Error> {
        let read = read_into(&mut self.reader, &mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read > 0)
    }
}

impl<R: Read> EventReader for SseReader<R> {
    type Source = R;

    fn buffered_event(&mut self) -> Result<Option<SseEvent>, Error> {
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

    fn read_more(&mut self) -> Result<bool, Error> {
        self.start = 0;
        self.end = 0;
        self.fill()
    }

    /// A comment is none.
    fn bytes_of_event(&self) -> usize {
        let is_comment = self.line.first() == Some(&b':');
        self.pending.len() + if is_comment { 0 } else { self.line.len() }
    }

    /// An event that lacks its blank line, or a part of one.
    fn cut_off(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = if std::mem::take(&mut self.at_start) {
            without_mark(&line)
        } else {
            &line
        };
        self.pending.field(line);
        self.pending.dispatch()
    }

    fn source(&self) -> &R {
        &self.reader
    }

    /// JSON, a web page and a compressed body mean nothing as lines of events.
    fn opens_document(&mut self, announced: bool) -> Option<bool> {
        let unread = &self.buffer[self.start..self.end];
        let text = without_mark(unread).trim_ascii_start();
        // Of no text, too.
        if BYTE_ORDER_MARK.starts_with(text) || GZIP.starts_with(text) {
            return None;
        }
        if matches!(text, [b'{' | b'[' | b'<', ..]) || text.starts_with(GZIP) {
            return Some(true);
        }
        if announced {
            return opens_field(text).map(|opens| !opens);
        }
        Some(false)
    }

    fn read_on(&mut self) -> Result<bool, Error> {
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

    fn into_document(mut self, limit: usize) -> Result<Vec<u8>, Error> {
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

    fn into_source(self) -> R {
        self.reader
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

const BUFFER: usize = 4 * 1024;
/// As large as a plain answer may be.
pub(crate) const DEFAULT_EVENT_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
