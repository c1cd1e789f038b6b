//! The upstream of all clients, in a process of its own: answers from memory, a thread for each connection, over HTTP and over TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use crate::chat;
use crate::machine;
use crate::protocol::{EVENTS, Outcome};

/// Where the upstream listens: the first line that it writes.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) tls: u16,
}

/// What the upstream has used and done, as it answers to `GET /use`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Use {
    pub(crate) cpu_seconds: f64,
    pub(crate) requests: u64,
}

/// Serves until its standard input ends. The root certificate is written to `root`.
pub(crate) fn serve(root: &Path, cores: &[usize]) -> Outcome<()> {
    machine::stay_on(cores);
    let tls = tls(root)?;
    let state = Arc::new(State::default());
    let http = listen(&state, Ok)?;
    let tls = listen(&state, move |stream| {
        let connection = ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    })?;
    println!("{}", serde_json::to_string(&Ports { http, tls })?);
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Accepts connections on a port of its own.
fn listen<S: Read + Write>(
    state: &Arc<State>,
    open: impl Fn(TcpStream) -> io::Result<S> + Send + Sync + 'static,
) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let (state, open) = (Arc::clone(state), Arc::new(open));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (state, open) = (Arc::clone(&state), Arc::clone(&open));
            // A client that leaves ends its connection, and nothing else.
            thread::spawn(move || {
                stream.set_nodelay(true)?;
                answer_all(open(stream)?, &state)
            });
        }
    });
    Ok(port)
}

#[derive(Default)]
struct State {
    requests: AtomicU64,
    /// The status of the next answer to a call; 0 for a good one.
    next_failure: AtomicU16,
}

fn answer_all(stream: impl Read + Write, state: &State) -> io::Result<()> {
    let plain = chat::plain_answer();
    let pieces = stream_pieces();
    let mut stream = BufReader::with_capacity(16 * 1024, stream);
    let (mut line, mut body) = (Vec::new(), Vec::new());
    loop {
        let mut target = Vec::new();
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line == b"\r\n" {
                break;
            }
            if target.is_empty() {
                target.clone_from(&line);
            } else if let Some(value) = header(&line, b"content-length:") {
                length = value.parse().map_err(io::Error::other)?;
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        if target.starts_with(b"GET ") {
            let answer = control(&target, state)?;
            stream.get_mut().write_all(answer.as_bytes())?;
            continue;
        }
        state.requests.fetch_add(1, Ordering::Relaxed);
        let failure = state.next_failure.load(Ordering::Relaxed);
        if failure != 0 && state.next_failure.swap(0, Ordering::Relaxed) != 0 {
            stream.get_mut().write_all(refusal(failure).as_bytes())?;
        } else if wants_stream(&body) {
            for piece in &pieces {
                stream.get_mut().write_all(piece.as_bytes())?;
            }
        } else {
            stream.get_mut().write_all(plain.as_bytes())?;
        }
    }
}

/// The value of the header with this name in lower case.
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    let value = start.eq_ignore_ascii_case(name).then_some(value)?;
    std::str::from_utf8(value).ok().map(str::trim)
}

fn wants_stream(body: &[u8]) -> bool {
    const MEMBER: &[u8] = b"\"stream\":";
    memchr::memmem::find(body, MEMBER).is_some_and(|at| {
        body[at + MEMBER.len()..]
            .trim_ascii_start()
            .starts_with(b"t")
    })
}

/// `/use` tells what was used, `/fail/429` has the next call refused.
fn control(target: &[u8], state: &State) -> io::Result<String> {
    let target = String::from_utf8_lossy(target);
    let path = target.split(' ').nth(1).unwrap_or_default();
    if let Some(status) = path.strip_prefix("/fail/") {
        let status = status.parse().map_err(io::Error::other)?;
        state.next_failure.store(status, Ordering::Relaxed);
    }
    let body = serde_json::to_string(&Use {
        cpu_seconds: machine::cpu_seconds(),
        requests: state.requests.load(Ordering::Relaxed),
    })?;
    Ok(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn refusal(status: u16) -> String {
    let (reason, hint, body) = if status == 429 {
        let body = r#"{"error":{"message":"Too many requests.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
        ("Too Many Requests", "retry-after: 20\r\n", body)
    } else {
        let body =
            r#"{"error":{"message":"It failed.","type":"server_error","param":null,"code":null}}"#;
        ("Internal Server Error", "", body)
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n{hint}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The writes of a stream: an HTTP chunk for each event, ten of them in a write, so that the upstream is faster than its clients.
fn stream_pieces() -> Vec<String> {
    let words = vec![chat::event(); EVENTS - 1];
    let mut pieces: Vec<String> = words.chunks(10).map(<[String]>::concat).collect();
    pieces[0].insert_str(0, chat::STREAM_HEAD);
    pieces.push(chat::finish() + chat::STREAM_END);
    pieces
}

/// A certificate for loopback, signed by a root that is written to `root`.
fn tls(root: &Path) -> Outcome<Arc<ServerConfig>> {
    let mut authority = CertificateParams::default();
    // OpenSSL takes a certificate whose issuer has its own name for self-signed.
    authority
        .distinguished_name
        .push(DnType::CommonName, "credpool bench root");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let certificate = authority.self_signed(&authority_key)?;
    std::fs::write(root, certificate.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok(Arc::new(config))
}
