//! [`Upstream`]: an HTTP server on loopback with scripted answers.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::gate::{Gate, Passage};
use super::reply::Reply;
use super::wire::{ReceivedRequest, Wire};
use crate::cancel::CancelToken;
use crate::panic::guard;
use crate::runtime::spawn;

/// An HTTP/1.1 server on `127.0.0.1`, on a port of its own, that answers as its handler says.
///
/// It keeps connections alive, answers each on a thread of its own and keeps the requests. Dropping it opens every
/// gate, closes every connection and joins its threads; a handler that never returns is left behind after five seconds.
///
/// ```
/// use credpool::testing::{Reply, Upstream};
///
/// let upstream = Upstream::start(|request| match request.path.as_str() {
///     "/hello" => Reply::json(200, r#"{"hello":"world"}"#),
///     _ => Reply::new(404),
/// });
/// let body = ureq::get(format!("{}/hello", upstream.url())).call().unwrap().body_mut().read_to_string().unwrap();
/// assert_eq!(body, r#"{"hello":"world"}"#);
/// assert_eq!(upstream.requests()[0].path, "/hello");
/// ```
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Disconnected when the last thread has ended.
    ended: Receiver<()>,
    abandoned: Receiver<()>,
}

struct Shared {
    handler: Box<dyn Fn(&ReceivedRequest) -> Reply + Send + Sync>,
    requests: Mutex<Vec<ReceivedRequest>>,
    connections: Mutex<Connections>,
    stop: CancelToken,
    abandoned: Sender<()>,
}

#[derive(Default)]
struct Connections {
    opened: usize,
    open: HashMap<usize, TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// Starts a server; the handler is called on many threads, and a panic in it becomes an answer with status 500.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start(handler: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::try_start(Box::new(handler)).expect("a socket on loopback")
    }

    fn try_start(
        handler: Box<dyn Fn(&ReceivedRequest) -> Reply + Send + Sync>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (running, ended) = unbounded();
        let (abandoned, abandonments) = unbounded();
        let shared = Arc::new(Shared {
            handler,
            requests: Mutex::default(),
            connections: Mutex::default(),
            stop: CancelToken::new(),
            abandoned,
        });
        let acceptor = spawn("credpool-upstream".to_owned(), {
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, &running)
        })?;
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
            ended,
            abandoned: abandonments,
        })
    }

    /// Where it is: `http://127.0.0.1:` and the port.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in the order in which they were read.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.lock().clone()
    }

    /// How many requests there were.
    pub fn request_count(&self) -> usize {
        self.shared.requests.lock().len()
    }

    /// How many connections were opened so far.
    pub fn connections_opened(&self) -> usize {
        self.shared.connections.lock().opened
    }

    /// How many connections are open.
    pub fn connections_open(&self) -> usize {
        self.shared.connections.lock().open.len()
    }

    /// Waits until a client has gone away while an answer to it stood before a gate; false when none does within
    /// `timeout`. Each counts once.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    ///
    /// use credpool::testing::{Gate, Reply, Upstream};
    ///
    /// let gate = Gate::new();
    /// let upstream = Upstream::start(move |_| Reply::new(200).stall_before_head(&gate));
    /// let mut client = std::net::TcpStream::connect(upstream.address())?;
    /// client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")?;
    /// drop(client);
    /// assert!(upstream.wait_abandoned(Duration::from_secs(10)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn wait_abandoned(&self, timeout: Duration) -> bool {
        self.abandoned.recv_timeout(timeout).is_ok()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        // Wakes the acceptor, which may be blocked.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        self.shared.connections.lock().close_all();
        // Nothing is ever sent: the channel disconnects when the last thread has ended.
        let _ = self.ended.recv_timeout(PATIENCE);
        let mut threads = std::mem::take(&mut self.shared.connections.lock().threads);
        threads.extend(self.acceptor.take());
        for thread in threads {
            // One that still runs is in a handler that does not return.
            if thread.is_finished() || self.ended.try_recv() == Err(ALL_ENDED) {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .field("requests", &self.request_count())
            .finish_non_exhaustive()
    }
}

impl Connections {
    fn close_all(&mut self) {
        for (_, stream) in self.open.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, running: &Sender<()>) {
    for stream in listener.incoming() {
        if shared.stop.is_cancelled() {
            break;
        }
        let Ok(stream) = stream else {
            continue;
        };
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        let mut connections = shared.connections.lock();
        let number = connections.opened;
        connections.opened += 1;
        connections.open.insert(number, handle);
        let thread = spawn(format!("credpool-upstream-{number}"), {
            let shared = Arc::clone(shared);
            let running = running.clone();
            move || {
                let _ = shared.serve(stream);
                shared.connections.lock().open.remove(&number);
                drop(running);
            }
        });
        connections.threads.retain(|thread| !thread.is_finished());
        match thread {
            Ok(thread) => connections.threads.push(thread),
            Err(_) => drop(connections.open.remove(&number)),
        }
    }
    shared.connections.lock().close_all();
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut wire = Wire::new(stream)?;
        while let Some(request) = wire.read_request()? {
            if self.stop.is_cancelled() {
                break;
            }
            let closes = request.header("connection") == Some("close");
            self.requests.lock().push(request.clone());
            let reply = guard(|| "the handler".to_owned(), || (self.handler)(&request))
                .unwrap_or_else(|_| Reply::new(500).body("the handler panicked"));
            let again = wire.answer(&reply, |gate, wire| self.pass(gate, wire))?;
            if closes || !again {
                break;
            }
        }
        Ok(())
    }

    fn pass(&self, gate: &Gate, wire: &Wire) -> bool {
        let mut gone = false;
        let passage = gate.pass(&self.stop, || {
            gone = wire.client_has_gone();
            gone
        });
        if gone {
            let _ = self.abandoned.send(());
        }
        passage == Passage::Free
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const ALL_ENDED: crossbeam_channel::TryRecvError = crossbeam_channel::TryRecvError::Disconnected;
