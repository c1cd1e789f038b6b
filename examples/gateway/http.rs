//! One HTTP/1.1 connection of a client: requests in, answers out, and a look at whether the client is still there.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use credpool::CancelToken;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

pub(crate) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// Cancels a call when its client has gone. Until it is dropped.
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// The next request; none at the end of the connection.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request<Bytes>>> {
        self.stream.set_read_timeout(None)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if (&mut self.reader)
                .take(MOST_HEAD)
                .read_until(b'\n', &mut head)?
                == 0
            {
                return Ok(None);
            }
            if head.len() as u64 > MOST_HEAD {
                return Err(io::Error::other("the request's head is too long"));
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
        if request.headers().contains_key(EXPECT) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = self.body(request.headers())?;
        Ok(Some(request.map(|()| body)))
    }

    fn body(&mut self, headers: &HeaderMap) -> io::Result<Bytes> {
        let mut body = Vec::new();
        if !headers.contains_key(TRANSFER_ENCODING) {
            let length = headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok());
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            (&mut self.reader).take(length).read_to_end(&mut body)?;
            return Ok(body.into());
        }
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            (&mut self.reader).take(size).read_to_end(&mut body)?;
            self.reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body.into());
            }
        }
    }

    /// Answers with a body that is read as it comes. An error in its midst is what `last` makes of it, where that is anything.
    pub(crate) fn answer<B: Read>(
        &mut self,
        answer: Response<B>,
        last: impl FnOnce(io::Error) -> Bytes,
    ) -> io::Result<()> {
        let (head, mut body) = answer.into_parts();
        let length = head.headers.get(CONTENT_LENGTH).cloned();
        let is_bodiless = head.status == 204 || head.status == 304;
        let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        let mut field = |name: &HeaderName, value: &HeaderValue| {
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        };
        for (name, value) in &head.headers {
            if ![CONNECTION, TRANSFER_ENCODING].contains(name) {
                field(name, value);
            }
        }
        let chunked = length.is_none() && !is_bodiless;
        if chunked {
            field(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
        }
        text.extend(b"\r\n");
        self.stream.write_all(&text)?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let piece = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => &buffer[..count],
                Err(error) => {
                    let said = last(error);
                    self.piece(&said, chunked)?;
                    // Without its end the client knows that the answer is cut.
                    return Err(io::Error::other("the upstream's answer was cut"));
                }
            };
            self.piece(piece, chunked)?;
        }
        if chunked {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: &[u8], chunked: bool) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        if !chunked {
            return self.stream.write_all(piece);
        }
        let size = format!("{:x}\r\n", piece.len()).into_bytes();
        self.stream.write_all(&[&size, piece, b"\r\n"].concat())
    }

    /// Watches whether the client closes the connection.
    pub(crate) fn watch(&self, cancel: &CancelToken) -> io::Result<Watch> {
        let stream = self.stream.try_clone()?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, cancel) = (Arc::clone(&is_over), cancel.clone());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                match stream.peek(&mut [0]) {
                    Ok(0) => return cancel.cancel(),
                    // The next request, ahead of its time.
                    Ok(_) => return,
                    Err(error) if is_timeout(&error) => {}
                    Err(_) => return cancel.cancel(),
                }
            }
        });
        Ok(Watch {
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

const MOST_HEAD: u64 = 64 * 1024;
