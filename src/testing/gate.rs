//! [`Gate`]: holds an answer back until the test lets it go on.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use crate::cancel::CancelToken;

/// Holds an answer of an [`Upstream`](super::Upstream) back until the test lets it go on.
///
/// Clones are the same gate. See [`Reply::stall_after`](super::Reply::stall_after).
///
/// ```
/// use credpool::testing::{Gate, Reply, Upstream};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// let gate = Gate::new();
/// let reply = Reply::new(200).body("hello").stall_before_head(&gate);
/// let upstream = Upstream::start(move |_| reply.clone());
///
/// let mut client = std::net::TcpStream::connect(upstream.address())?;
/// client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
/// assert!(gate.wait_reached(Duration::from_secs(10)));
/// gate.open();
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.ends_with("hello"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Gate {
    opened: CancelToken,
    steps: (Sender<()>, Receiver<()>),
    reached: (Sender<()>, Receiver<()>),
}

/// How a wait at a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Free,
    /// The server stops or the client has gone.
    Over,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self {
            opened: CancelToken::new(),
            steps: unbounded(),
            reached: unbounded(),
        }
    }

    /// Opens the gate for good.
    pub fn open(&self) {
        self.opened.cancel();
    }

    /// Lets one answer, or one piece of it, through.
    ///
    /// ```
    /// use credpool::testing::{Gate, Reply};
    ///
    /// let gate = Gate::new();
    /// let reply = Reply::sse(["one", "two"]).drip(&gate);
    /// // One piece goes out for each step.
    /// gate.step();
    /// gate.step();
    /// ```
    pub fn step(&self) {
        let _ = self.steps.0.send(());
    }

    /// Waits until an answer stands before the gate; false when none does within `timeout`. Each arrival counts once.
    #[must_use]
    pub fn wait_reached(&self, timeout: Duration) -> bool {
        self.reached.1.recv_timeout(timeout).is_ok()
    }

    /// Waits until the gate lets one through, or until `is_over`, which it asks now and then, says that the client has gone.
    pub(super) fn pass(&self, stop: &CancelToken, mut is_over: impl FnMut() -> bool) -> Passage {
        let _ = self.reached.0.send(());
        loop {
            select! {
                recv(self.steps.1) -> _ => return Passage::Free,
                recv(self.opened.cancelled()) -> _ => return Passage::Free,
                recv(stop.cancelled()) -> _ => return Passage::Over,
                default(LOOK_AROUND) => if is_over() {
                    return Passage::Over;
                },
            }
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("open", &self.opened.is_cancelled())
            .finish_non_exhaustive()
    }
}

const LOOK_AROUND: Duration = Duration::from_millis(5);
