//! A port of this machine to which a browser comes back: small requests of one path, everything else is refused.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::page::Page;
use crate::runtime::spawn;

/// Open until it is dropped; its threads have ended then.
pub(super) struct Loopback {
    address: SocketAddr,
    visits: Receiver<Visit>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// A request for the path.
pub(super) struct Visit {
    /// It may hold a code.
    pub(super) query: Zeroizing<String>,
    pub(super) page: Page,
}

struct Shared {
    path: String,
    visits: Sender<Visit>,
    stopped: AtomicBool,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    opened: u64,
    /// Those whose request has not come yet, the oldest first.
    open: VecDeque<(u64, TcpStream)>,
    threads: Vec<JoinHandle<()>>,
}

impl Loopback {
    pub(super) fn open(ip: IpAddr, port: u16, path: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, port))?;
        let address = listener.local_addr()?;
        let (sender, visits) = bounded(MOST_OPEN);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            visits: sender,
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let acceptor = spawn("credpool-login".to_owned(), {
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        Ok(Self {
            address,
            visits,
            shared,
            acceptor: Some(acceptor),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn visits(&self) -> &Receiver<Visit> {
        &self.visits
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // What wakes the acceptor. Where it fails, the listener has failed before it.
        let woken = TcpStream::connect_timeout(&self.address, WAKE);
        if let Some(acceptor) = self.acceptor.take()
            && (woken.is_ok() || acceptor.is_finished())
        {
            let _ = acceptor.join();
        }
        let threads = {
            let mut connections = self.shared.connections.lock();
            for (_, stream) in &connections.open {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut connections.threads)
        };
        // Without a receiver, no thread waits to pass its request on.
        let visits = std::mem::replace(&mut self.visits, never());
        for visit in visits.try_iter() {
            visit.page.not_ours();
        }
        drop(visits);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut failures = 0;
    while !shared.stopped.load(Ordering::Acquire) && failures < MOST_FAILURES {
        match listener.accept() {
            Ok(_) if shared.stopped.load(Ordering::Acquire) => return,
            Ok((stream, _)) => {
                failures = 0;
                if let Err(error) = serve(stream, shared) {
                    log::debug!("a connection to a login's port was dropped: {error}");
                }
            }
            Err(error) => {
                failures += 1;
                log::debug!("a login's port got no connection: {error}");
            }
        }
    }
}

/// Reads the request on a thread of its own: a browser may open connections that it does not use.
fn serve(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let kept = stream.try_clone()?;
    let number = {
        let mut connections = shared.connections.lock();
        if connections.open.len() >= MOST_OPEN
            && let Some((_, oldest)) = connections.open.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
        connections.threads.retain(|thread| !thread.is_finished());
        connections.opened += 1;
        let number = connections.opened;
        connections.open.push_back((number, kept));
        number
    };
    let thread = spawn("credpool-login-visit".to_owned(), {
        let shared = Arc::clone(shared);
        move || {
            let head = read_head(&stream);
            let mut connections = shared.connections.lock();
            connections.open.retain(|(other, _)| *other != number);
            drop(connections);
            if let Some(head) = head {
                answer(&head, stream, &shared);
            }
        }
    })?;
    shared.connections.lock().threads.push(thread);
    Ok(())
}

/// The head of a request; none where it is too long, or does not come.
fn read_head(mut stream: &TcpStream) -> Option<Zeroizing<String>> {
    let mut head = Zeroizing::new(Vec::with_capacity(LONGEST_HEAD + PIECE));
    let mut piece = Zeroizing::new([0; PIECE]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut *piece).ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&piece[..count]);
        if head.len() > LONGEST_HEAD {
            return None;
        }
    }
    let head = String::from_utf8(std::mem::take(&mut *head)).ok();
    head.map(Zeroizing::new)
}

fn answer(head: &str, stream: TcpStream, shared: &Shared) {
    let page = Page::new(stream);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != shared.path {
        page.not_found();
    } else if method != Some("GET") {
        page.not_allowed();
    } else {
        let query = Zeroizing::new(query.to_owned());
        // No receiver: the login is over.
        let _ = shared.visits.send(Visit { query, page });
    }
}

/// Connections whose request has not come yet. A browser opens a few; the oldest gives way.
const MOST_OPEN: usize = 16;

/// In bytes; browsers send 1 to 2 KiB, codes have some hundred bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// Read together.
const PIECE: usize = 1024;

/// For one read or write.
const PATIENCE: Duration = Duration::from_secs(10);

const WAKE: Duration = Duration::from_secs(1);

/// In a row.
const MOST_FAILURES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::Ipv4Addr;

    const LONG: Duration = Duration::from_secs(30);

    fn open() -> Loopback {
        Loopback::open(Ipv4Addr::LOCALHOST.into(), 0, "/callback").unwrap()
    }

    fn ask(loopback: &Loopback, request: &str) -> String {
        let mut stream = TcpStream::connect(loopback.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn only_a_get_of_the_path_is_a_visit() {
        let loopback = open();
        for (request, status) in [
            ("GET /favicon.ico HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
            ("GET /callback/x HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
            ("GET //callback HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
            ("POST /callback?code=c HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        ] {
            assert!(ask(&loopback, request).starts_with(status), "{request}");
        }
        let endless = format!("GET /callback HTTP/1.1\r\nx: {}", "y".repeat(LONGEST_HEAD));
        assert_eq!(ask(&loopback, &endless), "");
        assert!(loopback.visits().try_recv().is_err());
    }

    #[test]
    fn idle_connections_keep_no_browser_out_and_a_page_outlives_the_port() {
        let loopback = open();
        let idle: Vec<_> = (0..3 * MOST_OPEN)
            .map(|_| TcpStream::connect(loopback.address).unwrap())
            .collect();
        let mut stream = TcpStream::connect(loopback.address).unwrap();
        stream
            .write_all(b"GET /callback?code=c&state=s HTTP/1.1\r\n\r\n")
            .unwrap();
        let visit = loopback.visits().recv_timeout(LONG).unwrap();
        assert_eq!(*visit.query, "code=c&state=s");
        let address = loopback.address;
        drop(loopback);
        assert!(TcpStream::connect(address).is_err());
        visit.page.complete();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("You are logged in") && answer.contains("no-store"));
        drop(idle);
    }

    #[test]
    fn a_flood_of_visits_ends_with_the_port() {
        let loopback = open();
        let mut streams = Vec::new();
        for _ in 0..3 * MOST_OPEN {
            let mut stream = TcpStream::connect(loopback.address).unwrap();
            let _ = stream.write_all(b"GET /callback?state=x HTTP/1.1\r\n\r\n");
            streams.push(stream);
        }
        loopback
            .visits()
            .recv_timeout(LONG)
            .unwrap()
            .page
            .not_ours();
        drop(loopback);
        for stream in &mut streams {
            stream.set_read_timeout(Some(LONG)).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}
