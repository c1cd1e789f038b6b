//! Bytes that were made before, on bare sockets, without TLS: nothing is faster, so that its figures are what the upstream can answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use super::Blocking;
use crate::protocol::{Setup, payload};
use crate::upstream::Use;

pub(super) struct Bare {
    address: String,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
    plain: Vec<u8>,
    streamed: Vec<u8>,
}

impl Bare {
    pub(super) fn new(setup: &Setup) -> Self {
        let address = authority(&setup.base_url).to_owned();
        let request = |stream| {
            let payload = payload(stream);
            let (host, length) = (&address, payload.len());
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer sk-bench\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n{payload}"
            )
            .into_bytes()
        };
        Self {
            plain: request(false),
            streamed: request(true),
            idle: Mutex::default(),
            address,
        }
    }
}

impl Blocking for Bare {
    fn call(&self, stream: bool) {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut connection = kept.unwrap_or_else(|| open(&self.address).expect("a connection"));
        let request = if stream { &self.streamed } else { &self.plain };
        connection.get_mut().write_all(request).expect("a request");
        if stream {
            to_end_of_stream(&mut connection).expect("a stream");
        } else {
            body(&mut connection).expect("an answer");
        }
        idle().push(connection);
    }
}

/// A request to the upstream beside the calls: `/use`, `/fail/429`.
pub(crate) fn control(base_url: &str, path: &str) -> io::Result<Use> {
    let mut connection = open(authority(base_url))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: upstream\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    serde_json::from_slice(&body(&mut connection)?).map_err(io::Error::other)
}

fn authority(base_url: &str) -> &str {
    let rest = base_url
        .split_once("://")
        .map_or(base_url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn open(address: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(16 * 1024, stream))
}

fn body(connection: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut line, mut length) = (String::new(), 0);
    while connection.read_line(&mut line)? > 2 {
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(body)
}

/// The stream's last HTTP chunk is in no event.
fn to_end_of_stream(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    loop {
        let read = connection.fill_buf()?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The upstream writes the stream's end in one piece with its last event.
        let (length, is_end) = (read.len(), read.ends_with(b"\n0\r\n\r\n"));
        connection.consume(length);
        if is_end {
            return Ok(());
        }
    }
}
