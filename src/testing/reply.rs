//! [`Reply`]: an answer of a loopback server, and its faults.

use bytes::Bytes;

use super::Gate;
use super::amazon::{AMAZON_EVENT_STREAM, frame_ends};

/// An answer of an [`Upstream`](super::Upstream), and what goes wrong with it.
///
/// ```
/// use credpool::testing::Reply;
///
/// let limited = Reply::json(429, r#"{"error":{"code":"rate_limit_exceeded"}}"#).header("retry-after", "7");
/// let cut = Reply::sse(["{}", "{}", "[DONE]"]).cut_after(15);
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) framing: Framing,
    pub(super) piece: Option<usize>,
    /// Where the answer stalls, in bytes of the body; before the head for `None`.
    pub(super) stalls: Vec<(Option<usize>, Gate)>,
    /// A gate before each piece.
    pub(super) drip: Option<Gate>,
    pub(super) end: End,
}

/// How the client learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    Close,
}

/// How the answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// The connection is reset after so many bytes of the body; before the head for `None`.
    Reset(Option<usize>),
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            framing: Framing::Length,
            piece: None,
            stalls: Vec::new(),
            drip: None,
            end: End::Whole,
        }
    }

    /// An answer with a JSON body.
    ///
    /// ```
    /// let ok = credpool::testing::Reply::json(200, r#"{"answer":42}"#);
    /// let same = credpool::testing::Reply::json(200, serde_json::json!({"answer": 42}).to_string());
    /// ```
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status)
            .header("content-type", "application/json")
            .body(body)
    }

    /// An answer that is a stream of server-sent events, chunked, one chunk per event, each with the given data.
    pub fn sse<E: AsRef<str>>(events: impl IntoIterator<Item = E>) -> Self {
        Self::named_sse(events.into_iter().map(|event| ("", event)))
    }

    /// An answer that is a stream of server-sent events with names, as [`sse`](Self::sse) otherwise. The empty name is none.
    ///
    /// ```
    /// use credpool::testing::Reply;
    ///
    /// let stream = Reply::named_sse([("ping", r#"{"type":"ping"}"#), ("", "{}")]);
    /// ```
    pub fn named_sse<N: AsRef<str>, E: AsRef<str>>(
        events: impl IntoIterator<Item = (N, E)>,
    ) -> Self {
        let mut body = String::new();
        for (name, data) in events {
            if !name.as_ref().is_empty() {
                body.push_str("event: ");
                body.push_str(name.as_ref());
                body.push('\n');
            }
            for line in data.as_ref().split('\n') {
                body.push_str("data: ");
                body.push_str(line);
                body.push('\n');
            }
            body.push('\n');
        }
        Self::new(200)
            .header("content-type", "text/event-stream")
            .body(body)
            .chunked()
    }

    /// Adds a header. `content-length`, `transfer-encoding` and `connection` come from how the body is framed.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    ///
    /// ```
    /// use credpool::testing::Reply;
    ///
    /// let html = Reply::new(502).header("content-type", "text/html").body("<html>").content_length();
    /// let slow = Reply::new(200).body("hello").in_pieces(2).close_delimited();
    /// let plain = Reply::new(200).body("hello").chunked();
    /// ```
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// How many bytes the body has.
    ///
    /// ```
    /// assert_eq!(credpool::testing::Reply::json(200, "{}").size(), 2);
    /// ```
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Sends the body in chunks.
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Announces the body's length: the default.
    pub fn content_length(mut self) -> Self {
        self.framing = Framing::Length;
        self
    }

    /// Ends the body by closing the connection, so that a client cannot tell a cut.
    pub fn close_delimited(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Writes the body in pieces of at most `size` bytes; chunked bodies have a chunk for each. By default a chunked body
    /// is cut after each event, any other body is one piece.
    pub fn in_pieces(mut self, size: usize) -> Self {
        self.piece = Some(size.max(1));
        self
    }

    /// Waits at `gate` before each piece of the body: the test lets it drip with [`Gate::step`].
    pub fn drip(mut self, gate: &Gate) -> Self {
        self.drip = Some(gate.clone());
        self
    }

    /// Waits at `gate` before anything is sent.
    pub fn stall_before_head(mut self, gate: &Gate) -> Self {
        self.stalls.push((None, gate.clone()));
        self
    }

    /// Waits at `gate` once `bytes` bytes of the body are sent; with 0, between head and body.
    ///
    /// ```
    /// use credpool::testing::{Gate, Reply};
    ///
    /// let gate = Gate::new();
    /// let silent = Reply::sse(["one", "two"]).stall_after(10, &gate);
    /// let cut = Reply::json(200, r#"{"a": 1}"#).cut_after(4);
    /// let reset = Reply::json(200, r#"{"a": 1}"#).reset_after(4);
    /// let gone = Reply::new(200).reset();
    /// ```
    pub fn stall_after(mut self, bytes: usize, gate: &Gate) -> Self {
        self.stalls.push((Some(bytes), gate.clone()));
        self
    }

    /// Closes the connection once `bytes` bytes of the body are sent, however many were announced.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    /// Resets the connection once `bytes` bytes of the body are sent. (A reset may overtake the last bytes.)
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.end = End::Reset(Some(bytes));
        self
    }

    /// Resets the connection before anything is sent.
    pub fn reset(mut self) -> Self {
        self.end = End::Reset(None);
        self
    }

    fn is_amazon_stream(&self) -> bool {
        let mut values = self.headers.iter().map(|(_, value)| value);
        values.any(|value| value == AMAZON_EVENT_STREAM)
    }

    /// The pieces of the body that are sent, each with the gates before it.
    pub(super) fn pieces(&self) -> Vec<(Vec<Gate>, Bytes)> {
        let end = match self.end {
            End::Cut(bytes) | End::Reset(Some(bytes)) => bytes.min(self.body.len()),
            End::Whole | End::Reset(None) => self.body.len(),
        };
        let mut borders = vec![0, end];
        borders.extend(self.stalls.iter().filter_map(|(at, _)| *at));
        match self.piece {
            Some(size) => borders.extend((0..end).step_by(size)),
            None if self.framing == Framing::Chunked => {
                borders.extend((2..end).filter(|at| self.body[..*at].ends_with(b"\n\n")));
                if self.is_amazon_stream() {
                    borders.extend(frame_ends(&self.body));
                }
            }
            None => {}
        }
        borders.retain(|at| *at <= end);
        borders.sort_unstable();
        borders.dedup();
        // The last border has no bytes behind it, but may have a gate.
        let ends = borders.iter().skip(1).copied().chain([end]);
        borders
            .iter()
            .zip(ends)
            .map(|(from, to)| {
                let stalls = self.stalls.iter().filter(|(at, _)| *at == Some(*from));
                let drip = self.drip.iter().filter(|_| from < &to);
                let gates = stalls.map(|(_, gate)| gate).chain(drip).cloned();
                (gates.collect(), self.body.slice(*from..to))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(reply: &Reply) -> Vec<(usize, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let pieces = reply.pieces();
        pieces
            .iter()
            .map(|(gates, bytes)| (gates.len(), text(bytes)))
            .collect()
    }

    #[test]
    fn pieces_are_cut_where_something_happens() {
        let gate = Gate::new();
        let reply = Reply::new(200).body("abcdef");
        let of = |pieces: &[(usize, &str)]| -> Vec<(usize, String)> {
            pieces
                .iter()
                .map(|(gates, text)| (*gates, (*text).to_owned()))
                .collect()
        };
        assert_eq!(texts(&reply), of(&[(0, "abcdef"), (0, "")]));
        assert_eq!(
            texts(&reply.clone().stall_after(6, &gate)),
            of(&[(0, "abcdef"), (1, "")])
        );
        assert_eq!(
            texts(
                &reply
                    .clone()
                    .in_pieces(4)
                    .stall_after(1, &gate)
                    .cut_after(5)
            ),
            of(&[(0, "a"), (1, "bcd"), (0, "e"), (0, "")])
        );
        assert_eq!(
            texts(&reply.in_pieces(3).drip(&gate)),
            of(&[(1, "abc"), (1, "def"), (0, "")])
        );
        assert_eq!(
            texts(&Reply::sse(["1", "2"])),
            of(&[(0, "data: 1\n\n"), (0, "data: 2\n\n"), (0, "")])
        );
    }
}
