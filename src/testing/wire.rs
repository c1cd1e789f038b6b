//! HTTP/1.1 from the server's side, as much as tests need.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::reply::{End, Framing, Reply};

/// A request that an [`Upstream`](super::Upstream) got.
///
/// `Debug` prints neither the value of `authorization` nor the body.
///
/// ```
/// use credpool::testing::{ReceivedRequest, Reply};
///
/// fn only_for_team_a(request: &ReceivedRequest) -> Reply {
///     match request.bearer() {
///         Some("key-a") => Reply::json(200, request.json()["question"].to_string()),
///         _ => Reply::new(401),
///     }
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// `GET`, `POST`…
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark; empty where there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl ReceivedRequest {
    /// The value of a header, where it is there and is text.
    ///
    /// ```
    /// use credpool::testing::{Reply, Upstream};
    ///
    /// let upstream = Upstream::start(|request| match request.header("x-api-key") {
    ///     Some("sk-1") => Reply::json(200, "{}"),
    ///     _ => Reply::json(401, "{}"),
    /// });
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bearer token, where there is one.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// One connection, and whether the last byte of the request is still unread.
///
/// A socket that closes with unread bytes resets the connection instead of ending it: that is how a reset is made here. So
/// the last byte of a request is looked at, and taken only when the answer is not to be a reset.
pub(super) struct Wire {
    stream: TcpStream,
    last_byte_unread: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            last_byte_unread: false,
        })
    }

    /// Reads the next request; `None` when the client has closed.
    pub(super) fn read_request(&mut self) -> io::Result<Option<ReceivedRequest>> {
        self.take_last_byte()?;
        let Some(head) = self.read_head()? else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        let method = first.next().unwrap_or_default().to_owned();
        let target = first.next().ok_or_else(malformed)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            let name = HeaderName::try_from(name).map_err(|_| malformed())?;
            let mut value = HeaderValue::try_from(value.trim()).map_err(|_| malformed())?;
            value.set_sensitive(name == http::header::AUTHORIZATION);
            headers.append(name, value);
        }
        let body = self.read_body(&headers)?;
        Ok(Some(ReceivedRequest {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
        }))
    }

    /// Reads up to the blank line, whose LF stays unread.
    fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = Vec::new();
        let mut seen = [0; 4096];
        loop {
            let more = self.stream.peek(&mut seen)?;
            if more == 0 {
                return if head.is_empty() {
                    Ok(None)
                } else {
                    Err(malformed())
                };
            }
            let before = head.len();
            head.extend_from_slice(&seen[..more]);
            let from = before.saturating_sub(BLANK_LINE.len() - 1);
            let blank = head[from..]
                .windows(BLANK_LINE.len())
                .position(|window| window == BLANK_LINE);
            if let Some(blank) = blank {
                head.truncate(from + blank + BLANK_LINE.len());
                self.stream
                    .read_exact(&mut seen[..head.len() - before - 1])?;
                self.last_byte_unread = true;
                return Ok(Some(head));
            }
            if head.len() > LARGEST_HEAD {
                return Err(malformed());
            }
            self.stream.read_exact(&mut seen[..more])?;
        }
    }

    fn read_body(&mut self, headers: &HeaderMap) -> io::Result<Bytes> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text("transfer-encoding").is_some() {
            self.take_last_byte()?;
            return self.read_chunks().map(Bytes::from);
        }
        let length = match text("content-length") {
            Some(length) => length.parse().map_err(|_| malformed())?,
            None => 0,
        };
        if length == 0 {
            return Ok(Bytes::new());
        }
        if length > LARGEST_BODY {
            return Err(malformed());
        }
        self.take_last_byte()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body[..length - 1])?;
        body[length - 1] = self.look_at_last_byte()?;
        Ok(body.into())
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.read_line()?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed())?;
            if body.len() + size > LARGEST_BODY {
                return Err(malformed());
            }
            if size == 0 {
                let mut cr = [0];
                self.stream.read_exact(&mut cr)?;
                self.look_at_last_byte()?;
                return Ok(body);
            }
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            self.read_line()?;
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") && line.len() < 64 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        String::from_utf8(line).map_err(|_| malformed())
    }

    fn look_at_last_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        if self.stream.peek(&mut byte)? == 0 {
            return Err(malformed());
        }
        self.last_byte_unread = true;
        Ok(byte[0])
    }

    fn take_last_byte(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.last_byte_unread) {
            self.stream.read_exact(&mut [0])?;
        }
        Ok(())
    }

    /// Sends the answer; `pass` waits at gates and says whether to go on. True when the connection can be used again.
    pub(super) fn answer(
        &mut self,
        reply: &Reply,
        mut pass: impl FnMut(&super::Gate, &Self) -> bool,
    ) -> io::Result<bool> {
        if !matches!(reply.end, End::Reset(_)) {
            self.take_last_byte()?;
        }
        let before_head = reply.stalls.iter().filter(|(at, _)| at.is_none());
        for (_, gate) in before_head {
            if !pass(gate, self) {
                return Ok(false);
            }
        }
        if reply.end == End::Reset(None) {
            return Ok(false);
        }
        self.stream.write_all(head(reply).as_bytes())?;
        for (gates, piece) in reply.pieces() {
            for gate in &gates {
                if !pass(gate, self) {
                    return Ok(false);
                }
            }
            if piece.is_empty() {
                continue;
            }
            if reply.framing == Framing::Chunked {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(&piece);
                chunk.extend_from_slice(b"\r\n");
                self.stream.write_all(&chunk)?;
            } else {
                self.stream.write_all(&piece)?;
            }
        }
        if reply.end != End::Whole {
            return Ok(false);
        }
        if reply.framing == Framing::Chunked {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(reply.framing != Framing::Close)
    }

    /// Whether the client has closed or lost the connection.
    pub(super) fn client_has_gone(&self) -> bool {
        if self.last_byte_unread || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let gone = match self.stream.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        gone | self.stream.set_nonblocking(false).is_err()
    }
}

fn head(reply: &Reply) -> String {
    let reason = http::StatusCode::from_u16(reply.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown");
    let framing = match reply.framing {
        Framing::Length => format!("content-length: {}", reply.body.len()),
        Framing::Chunked => "transfer-encoding: chunked".to_owned(),
        Framing::Close => "connection: close".to_owned(),
    };
    let mut lines = vec![format!("HTTP/1.1 {} {reason}", reply.status)];
    let headers = reply.headers.iter();
    lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
    lines.extend([framing, String::new(), String::new()]);
    lines.join("\r\n")
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "not a request that this server reads",
    )
}

const BLANK_LINE: &[u8] = b"\r\n\r\n";
const LARGEST_HEAD: usize = 128 * 1024;
const LARGEST_BODY: usize = 64 * 1024 * 1024;
