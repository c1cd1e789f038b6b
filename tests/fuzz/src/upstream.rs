use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use credpool::{
    Attempt, Auth, Error, Manager, ManualClock, Options, ProviderExecutor,
    Request, Response, TransportProvider, agent_config,
};
use ureq::Agent;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::NOW;

/// An upstream in memory: a request gets the bytes that were laid out for it, and no socket is opened.
pub struct Upstream {
    attempt: Attempt,
    answer: Answer,
    /// Keeps what the attempt works with.
    _manager: Manager,
}

type Answer = Arc<Mutex<VecDeque<Vec<u8>>>>;

impl Upstream {
    pub fn new() -> Self {
        let answer = Answer::default();
        let config = agent_config()
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        let agent = Agent::with_parts(config, Wire(Arc::clone(&answer)), Nowhere);
        let manager = Manager::builder()
            .clock(ManualClock::at(NOW))
            .build()
            .expect("a manager");
        manager.set_transport_provider(Some(Arc::new(InMemory(agent))));
        let seen = Arc::default();
        manager.register_executor(Witness(Arc::clone(&seen)));
        let auth = Auth::api_key("witness", "k").runtime_only();
        manager.register(auth).expect("a record");
        manager
            .execute(["witness"], &Request::new("m", "{}"), &Options::new())
            .expect("an attempt");
        let attempt = seen.lock().expect("no panic").take().expect("an attempt");
        Self {
            attempt,
            answer,
            _manager: manager,
        }
    }

    /// An attempt whose requests come here.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The next request is answered with `head` and a body in these pieces, each of which is one read.
    pub fn answer(&self, head: &str, body: Vec<Vec<u8>>) {
        let mut answer = self.answer.lock().expect("no panic");
        answer.clear();
        answer.push_back(format!("{head}\r\n\r\n").into_bytes());
        answer.extend(body.into_iter().filter(|piece| !piece.is_empty()));
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the attempt that it is given.
struct Witness(Arc<Mutex<Option<Attempt>>>);

impl ProviderExecutor for Witness {
    fn identifier(&self) -> &str {
        "witness"
    }

    fn execute(
        &self,
        attempt: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        *self.0.lock().expect("no panic") = Some(attempt.clone());
        Ok(Response::new("{}"))
    }
}

struct InMemory(Agent);

impl TransportProvider for InMemory {
    fn agent_for(&self, _: &Auth) -> Result<Option<Agent>, Error> {
        Ok(Some(self.0.clone()))
    }
}

#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(
        &self,
        _: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([127, 0, 0, 1], 1)));
        Ok(addresses)
    }
}

#[derive(Debug)]
struct Wire(Answer);

impl Connector for Wire {
    type Out = Line;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Line>, ureq::Error> {
        let config = details.config;
        Ok(Some(Line {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            answer: Arc::clone(&self.0),
        }))
    }
}

/// A connection: what is sent is thrown away.
#[derive(Debug)]
struct Line {
    buffers: LazyBuffers,
    answer: Answer,
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let mut answer = self
            .answer
            .lock()
            .map_err(|_| io::Error::other("a panic"))?;
        let room = self.buffers.input_append_buf();
        let length = match answer.front_mut() {
            None => 0,
            Some(piece) => {
                let length = piece.len().min(room.len());
                room[..length].copy_from_slice(&piece[..length]);
                piece.drain(..length);
                if piece.is_empty() {
                    answer.pop_front();
                }
                length
            }
        };
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}
