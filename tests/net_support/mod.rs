//! Small servers and proxies on loopback. Dropping one closes its connections and joins its threads.

// Each test file uses its own part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod authority;
pub mod client;
pub mod proxies;
pub mod tls;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// The longest that a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Server {
    address: SocketAddr,
    inner: Arc<Inner>,
    seen: Receiver<String>,
    acceptor: Option<JoinHandle<()>>,
}

struct Inner {
    stop: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

/// What a handler reports with: one text for each thing that it saw.
pub type Report = Sender<String>;

impl Server {
    /// Runs `handler` for each connection, on a thread of its own.
    pub fn start(
        handler: impl Fn(TcpStream, &Report) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (report, seen) = unbounded();
        let inner = Arc::new(Inner {
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
        });
        let acceptor = thread::spawn({
            let inner = Arc::clone(&inner);
            move || accept(&listener, &inner, &Arc::new(handler), &report)
        });
        Self {
            address,
            inner,
            seen,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Waits for the handler's next report.
    pub fn next(&self) -> String {
        self.seen
            .recv_timeout(LIMIT)
            .expect("the server saw nothing")
    }

    /// Whether there is no report that was not taken.
    pub fn saw_nothing(&self) -> bool {
        self.seen.is_empty()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

fn accept<H>(listener: &TcpListener, inner: &Arc<Inner>, handler: &Arc<H>, report: &Report)
where
    H: Fn(TcpStream, &Report) -> io::Result<()> + Send + Sync + 'static,
{
    let mut workers = Vec::new();
    for stream in listener.incoming() {
        if inner.stop.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        inner.connections.fetch_add(1, Ordering::SeqCst);
        // A handler that hangs is a failed test, not a hanging one.
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        inner.open.lock().unwrap().push(stream.try_clone().unwrap());
        let (handler, report) = (Arc::clone(handler), report.clone());
        workers.push(thread::spawn(move || {
            let ours = stream.try_clone().unwrap();
            let _ = handler(stream, &report);
            let _ = ours.shutdown(Shutdown::Both);
        }));
    }
    for stream in inner.open.lock().unwrap().drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for worker in workers {
        worker.join().unwrap();
    }
}

/// The head of an HTTP message, up to its empty line.
pub fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A whole request: its head; its body is read past.
pub fn read_request(stream: &mut impl Read) -> io::Result<String> {
    let head = read_head(stream)?;
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    io::copy(&mut stream.take(length), &mut io::sink())?;
    Ok(head)
}

/// The value of a header, whatever the case of its name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

pub fn answer(stream: &mut impl Write, status: &str, headers: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends the head of a chunked answer.
pub fn open_stream(stream: &mut impl Write) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
}

pub fn chunk(stream: &mut impl Write, text: &str) -> io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())
}

/// Waits until the peer has gone.
pub fn wait_for_end(stream: &mut impl Read) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// A server of HTTP/1.1 with connections that stay open; it reports each request's head. By path:
///
/// * `/silent` gets no answer; `/stall` a stream of one chunk, `first`, and no end; `/empty` a stream without any chunk;
/// * everything else gets `200` and `hello`.
pub fn upstream() -> Server {
    Server::start(|mut stream, report| serve(&mut stream, report))
}

pub fn serve(stream: &mut (impl Read + Write), report: &Report) -> io::Result<()> {
    loop {
        let head = read_request(stream)?;
        let path = path(&head).to_owned();
        let _ = report.send(head);
        match path.as_str() {
            "/silent" => return wait_for_end(stream),
            "/empty" => {
                open_stream(stream)?;
                return wait_for_end(stream);
            }
            "/stall" => {
                open_stream(stream)?;
                chunk(stream, "first")?;
                return wait_for_end(stream);
            }
            _ => answer(stream, "200 OK", "", "hello")?,
        }
    }
}

/// Takes connections, reports the first bytes of each, and never answers.
pub fn silent() -> Server {
    Server::start(|mut stream, report| {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes)?;
        let _ = report.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        wait_for_end(&mut stream)
    })
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
