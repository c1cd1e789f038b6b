//! One HTTP/1.1 connection of a client: requests in, answers out, and a look at whether the client is still there.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use credpool::{CancelToken, RequestBody};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response};

pub(crate) struct Client {
    stream: TcpStream,
    /// None once the last request is read.
    reader: Option<BufReader<TcpStream>>,
    /// Whether the answer under way has no body.
    is_head: bool,
}

/// The body of a request, as its head frames it.
struct Body {
    reader: BufReader<TcpStream>,
    /// What is left: of the body, or of its present chunk.
    left: u64,
    has_chunks: bool,
}

/// Cancels a call when its client has gone. Until it is dropped.
pub(crate) struct Watch(Arc<AtomicBool>);

impl Client {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MOST_IDLE))?;
        Ok(Self {
            reader: Some(BufReader::new(stream.try_clone()?)),
            stream,
            is_head: false,
        })
    }

    /// The next request; none at the end of the connection. What does not fit into memory is read while it is sent on.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request<RequestBody>>> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(None);
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = reader
                .by_ref()
                .take(MOST_HEAD)
                .read_until(b'\n', &mut head)?;
            if read == 0 || head.len() as u64 > MOST_HEAD {
                return Ok(None);
            }
        }
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Request::new(&mut fields);
        parsed.parse(&head).map_err(io::Error::other)?;
        let mut request = Request::builder()
            .method(parsed.method.unwrap_or_default())
            .uri(parsed.path.unwrap_or_default());
        for field in parsed.headers.iter() {
            request = request.header(field.name, field.value);
        }
        let request = request.body(()).map_err(io::Error::other)?;
        self.is_head = request.method() == Method::HEAD;
        if request.headers().contains_key(EXPECT) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let field = |name| request.headers().get(name)?.to_str().ok();
        let length = field(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let length = length.unwrap_or(0);
        let is_last = field(CONNECTION).is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut body = Body {
            reader,
            left: length,
            has_chunks: field(TRANSFER_ENCODING).is_some(),
        };
        // What says that it is larger is passed on from its first byte.
        let most = if length < MOST_HELD { MOST_HELD } else { 0 };
        let mut held = Vec::new();
        (&mut body).take(most).read_to_end(&mut held)?;
        if (held.len() as u64) < most {
            self.reader = Some(body.reader).filter(|_| !is_last);
            return Ok(Some(request.map(|()| Bytes::from(held).into())));
        }
        let upload = RequestBody::once(Cursor::new(held).chain(body));
        let upload = match length {
            0 => upload,
            length => upload.with_length(length),
        };
        Ok(Some(request.map(|()| upload)))
    }

    pub(crate) fn say(&mut self, mut answer: Response<Bytes>) -> io::Result<()> {
        let length = answer.body().len().into();
        answer.headers_mut().insert(CONTENT_LENGTH, length);
        self.answer(answer.map(Cursor::new), |_| Bytes::new())
    }

    /// Answers with a body that is read as it comes. An error in its midst is what `last` makes of it.
    pub(crate) fn answer(
        &mut self,
        answer: Response<impl Read>,
        last: impl FnOnce(io::Error) -> Bytes,
    ) -> io::Result<()> {
        let (mut head, mut body) = answer.into_parts();
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        let has_body = !self.is_head && head.status != 204 && head.status != 304;
        let has_chunks = has_body && !head.headers.contains_key(CONTENT_LENGTH);
        if has_chunks {
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(TRANSFER_ENCODING, chunked);
        }
        if self.reader.is_none() {
            let close = HeaderValue::from_static("close");
            head.headers.insert(CONNECTION, close);
        }
        let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        self.stream.write_all(&[&text[..], b"\r\n"].concat())?;
        let mut write = |piece: &[u8]| match piece.len() {
            size if size == 0 || !has_body => Ok(()),
            _ if !has_chunks => self.stream.write_all(piece),
            size => {
                let size = format!("{size:x}\r\n").into_bytes();
                self.stream.write_all(&[&size, piece, b"\r\n"].concat())
            }
        };
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => write(&buffer[..count])?,
                Err(error) => {
                    write(&last(error))?;
                    // Without its end the client knows that the answer is cut.
                    return Err(io::Error::other("the upstream's answer was cut"));
                }
            }
        }
        if has_chunks {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    /// Watches whether the client closes the connection.
    pub(crate) fn watch(&self, cancel: &CancelToken) -> io::Result<Watch> {
        let stream = self.stream.try_clone()?;
        let watch = Watch(Arc::default());
        let (is_over, cancel) = (Arc::clone(&watch.0), cancel.clone());
        thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                match stream.peek(&mut [0]) {
                    // More of an upload, or the next request, ahead of its time.
                    Ok(1..) => thread::sleep(Duration::from_millis(20)),
                    Err(error) if [WouldBlock, TimedOut].contains(&error.kind()) => {}
                    _ => return cancel.cancel(),
                }
            }
        });
        Ok(watch)
    }

    /// Closes the connection, but not before the client could read the answer to an upload that was not read to its end.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        io::copy(&mut self.stream, &mut io::sink())?;
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.has_chunks {
            let size = self.line()?;
            let size = size.split(';').next().unwrap_or_default();
            self.left = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            self.has_chunks = self.left > 0;
            if !self.has_chunks {
                // Trailers.
                while !self.line()?.trim().is_empty() {}
            }
        }
        let count = self.reader.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        if count > 0 && self.left == 0 && self.has_chunks {
            self.line()?;
        }
        Ok(count)
    }
}

impl Body {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.by_ref().take(MOST_HEAD).read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

const MOST_HEAD: u64 = 64 * 1024;
/// As much as a message to Anthropic may have. It can be sent to another credential after a failure.
const MOST_HELD: u64 = 32 << 20;
const MOST_IDLE: Duration = Duration::from_secs(120);
