//! Connections that serve one request after the other: when they come back, and what happens where they are dead.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "net_support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::{Auth, ChunkStream, Manager, Options, Request};
use support::{Server, answer, chunk, open_stream, read_request, wait_for_end};

const CHAT: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}"#;
const PAYLOAD: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;

/// What each vendor sends for a stream, event by event; the last one is its end.
const OPENAI: &[&str] = &[
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello.\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
];
const RESPONSES: &[&str] = &[
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hello.\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[]}}\n\n",
];
const ANTHROPIC: &[&str] = &[
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello.\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];
const GEMINI: &[&str] = &[
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello.\"}],\"role\":\"model\"},\"finishReason\":\"STOP\"}]}\n\n",
];

/// How a server ends a stream after its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The end of the body comes in one write with the last event.
    Together,
    /// It comes in a write of its own.
    Apart,
    /// The body never ends.
    Open,
}

/// Answers every request with the events.
fn streams(events: &'static [&'static str], after: After) -> Server {
    Server::start(move |mut stream, _| {
        loop {
            read_request(&mut stream)?;
            open_stream(&mut stream)?;
            let (last, first) = events.split_last().unwrap();
            for event in first {
                chunk(&mut stream, event)?;
            }
            let mut end = Vec::new();
            chunk(&mut end, last)?;
            match after {
                After::Together => {
                    end.extend_from_slice(b"0\r\n\r\n");
                    stream.write_all(&end)?;
                }
                After::Apart => {
                    stream.write_all(&end)?;
                    stream.write_all(b"0\r\n\r\n")?;
                }
                After::Open => {
                    stream.write_all(&end)?;
                    return wait_for_end(&mut stream);
                }
            }
        }
    })
}

/// What one vendor's streams look like.
struct Vendor {
    provider: &'static str,
    register: fn(&Manager),
    alt: Option<&'static str>,
    events: &'static [&'static str],
}

const VENDORS: [Vendor; 4] = [
    Vendor {
        provider: "openai",
        register: |manager| manager.register_executor(OpenAi::new()),
        alt: None,
        events: OPENAI,
    },
    Vendor {
        provider: "openai",
        register: |manager| manager.register_executor(OpenAi::new()),
        alt: Some("responses"),
        events: RESPONSES,
    },
    Vendor {
        provider: "anthropic",
        register: |manager| manager.register_executor(Anthropic::new()),
        alt: None,
        events: ANTHROPIC,
    },
    Vendor {
        provider: "gemini",
        register: |manager| manager.register_executor(Gemini::new()),
        alt: None,
        events: GEMINI,
    },
];

impl Vendor {
    fn manager(&self, server: &Server) -> Manager {
        let manager = Manager::builder().build().unwrap();
        (self.register)(&manager);
        let auth =
            Auth::api_key(self.provider, "sk-1").with_attribute("base_url", server.url("/v1"));
        manager.register(auth.runtime_only()).unwrap();
        manager
    }

    fn open(&self, manager: &Manager) -> ChunkStream {
        let mut options = Options::new();
        options.alt = self.alt.map(Into::into);
        let payload = match self.provider {
            "gemini" => r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#,
            _ if self.alt.is_some() => r#"{"model":"m","input":"Hi"}"#,
            _ => PAYLOAD,
        };
        let request = Request::new("m", payload);
        let stream = manager.execute_stream([self.provider], &request, &options);
        stream.unwrap()
    }
}

/// A manager with keys that share the servers in turn.
fn manager(keys: usize, servers: &[Server]) -> Manager {
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::new());
    for number in 0..keys {
        let auth = Auth::api_key("openai", format!("sk-{number}"))
            .with_id(format!("key-{number:02}"))
            .with_attribute("base_url", servers[number % servers.len()].url("/v1"));
        manager.register(auth.runtime_only()).unwrap();
    }
    manager
}

fn read(stream: ChunkStream) -> String {
    let texts = stream.filter_map(|chunk| chunk.unwrap().text);
    texts.collect()
}

/// One call; how many attempts it took.
fn ask(manager: &Manager) -> u32 {
    let request = Request::new("m", PAYLOAD);
    let answer = manager.execute(["openai"], &request, &Options::new());
    answer.unwrap().attempts
}

#[test]
fn fifty_streams_one_after_the_other_use_one_connection() {
    for vendor in &VENDORS {
        for after in [After::Together, After::Apart] {
            let server = streams(vendor.events, after);
            let manager = vendor.manager(&server);
            for _ in 0..50 {
                assert_eq!(read(vendor.open(&manager)), "Hello.");
            }
            assert_eq!(
                server.connections(),
                1,
                "{} {:?}, {after:?}",
                vendor.provider,
                vendor.alt
            );
        }
    }
}

/// Gemini has no event for the end: there, the end of the body is the end of the stream.
#[test]
fn a_stream_ends_though_its_server_keeps_the_connection_open() {
    for vendor in VENDORS.iter().filter(|vendor| vendor.provider != "gemini") {
        let server = streams(vendor.events, After::Open);
        let manager = vendor.manager(&server);
        for number in 1..=3 {
            assert_eq!(read(vendor.open(&manager)), "Hello.");
            assert_eq!(server.connections(), number);
        }
    }
}

fn serve_chat(stream: &mut TcpStream) -> io::Result<()> {
    read_request(stream)?;
    answer(stream, "200 OK", "content-type: application/json\r\n", CHAT)
}

/// How a connection dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The peer closes it in good order.
    Closed,
    /// The peer knows nothing of it any more: the next byte is answered with a reset.
    Forgotten,
}

impl Death {
    /// Kills the connection as the next request arrives.
    fn strike(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Closed => read_request(&mut stream).map(drop),
            // Closing a socket with bytes that nobody has read resets the connection.
            Self::Forgotten => stream.peek(&mut [0]).map(drop),
        }
    }
}

#[test]
fn a_server_that_closes_each_connection_at_its_second_request_fails_no_call() {
    for death in [Death::Closed, Death::Forgotten] {
        for keys in [1, 4] {
            let server = Server::start(move |mut stream, _| {
                serve_chat(&mut stream)?;
                death.strike(stream)
            });
            let servers = [server];
            let manager = manager(keys, &servers);
            for _ in 0..60 {
                assert_eq!(ask(&manager), 1, "{death:?}, {keys} keys");
            }
            assert_eq!(servers[0].connections(), 60);
        }
    }
}

#[test]
fn idle_connections_that_were_dropped_without_a_word_fail_no_call() {
    const THREADS: usize = 16;
    let all_are_there = std::sync::Arc::new(Barrier::new(THREADS));
    let server = Server::start({
        let all_are_there = std::sync::Arc::clone(&all_are_there);
        move |mut stream, _| {
            read_request(&mut stream)?;
            all_are_there.wait();
            answer(
                &mut stream,
                "200 OK",
                "content-type: application/json\r\n",
                CHAT,
            )?;
            Death::Forgotten.strike(stream)
        }
    });
    let servers = [server];
    let manager = manager(1, &servers);
    for round in 1..=25 {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| assert_eq!(ask(&manager), 1));
            }
        });
        assert_eq!(servers[0].connections(), round * THREADS);
    }
}

#[test]
fn what_died_before_it_was_used_costs_nothing_of_the_budget() {
    let server = Server::start(move |mut stream, _| {
        serve_chat(&mut stream)?;
        Death::Forgotten.strike(stream)
    });
    let servers = [server];
    let policy = credpool::FailurePolicy::default().with_transient_attempts(1);
    let manager = Manager::builder().policy(policy).build().unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "sk-1").with_attribute("base_url", servers[0].url("/v1"));
    manager.register(auth.runtime_only()).unwrap();
    for _ in 0..400 {
        assert_eq!(ask(&manager), 1);
    }
}

/// The request after a lost connection goes over a new one, whichever credential makes it.
#[test]
fn an_attempt_after_a_lost_connection_takes_no_kept_one() {
    // The first answer of a connection is whole; the second is cut after its first byte, which no silent retry may follow.
    let server = Server::start(move |mut stream, report| {
        serve_chat(&mut stream)?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        let _ = report.send("second".to_owned());
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1")
    });
    let servers = [server];
    let manager = manager(4, &servers);
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                ask(&manager)
            });
        }
    });
    while !servers[0].saw_nothing() {
        servers[0].next();
    }
    assert_eq!(ask(&manager), 2);
    assert_eq!(servers[0].next(), "second");
    assert!(servers[0].saw_nothing());
}

#[test]
fn forty_hosts_in_turn_keep_a_connection_each() {
    let servers: Vec<_> = (0..40)
        .map(|_| {
            Server::start(|mut stream, _| {
                loop {
                    serve_chat(&mut stream)?;
                }
            })
        })
        .collect();
    let manager = manager(40, &servers);
    for _ in 0..400 {
        ask(&manager);
    }
    for server in &servers {
        assert_eq!(server.connections(), 1);
    }
}

/// All threads ask together, then all think together: every connection is idle at times.
#[test]
fn as_many_connections_are_kept_as_were_in_use_together() {
    const THREADS: usize = 64;
    let server = Server::start(|mut stream, _| {
        loop {
            serve_chat(&mut stream)?;
        }
    });
    let servers = [server];
    let manager = manager(1, &servers);
    let round = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..20 {
                    round.wait();
                    ask(&manager);
                }
            });
        }
    });
    let connections = servers[0].connections();
    assert!(connections <= THREADS, "{connections}");
}
