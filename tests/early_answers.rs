//! Servers that answer before the request has gone out, and close the connection: what they say counts, over TLS, too.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "net_support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use credpool::provider::OpenAi;
use credpool::{
    Auth, CredentialReport, Error, ErrorCode, FailureKind, FailurePolicy, Manager, Options,
    Request, Response,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::authority::{Authority, Odd};
use support::{Report, Server, answer, read_head};

const REPLY: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

/// What a server says when it has read the head of a request.
#[derive(Clone, Copy)]
enum Says {
    Nothing,
    Answer(&'static str, &'static str, &'static str),
}

fn say(stream: &mut (impl Read + Write), says: Says, report: &Report) -> io::Result<()> {
    let head = read_head(stream)?;
    let _ = report.send(support::path(&head).to_owned());
    match says {
        Says::Nothing => Ok(()),
        Says::Answer(status, headers, body) => answer(stream, status, headers, body),
    }
}

fn plain(says: Says) -> Server {
    Server::start(move |mut stream, report| {
        say(&mut stream, says, report)?;
        stream.shutdown(Shutdown::Both)
    })
}

fn over_tls(config: Arc<ServerConfig>, says: Says) -> Server {
    Server::start(move |stream: TcpStream, report| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        say(&mut stream, says, report)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        stream.sock.shutdown(Shutdown::Both)
    })
}

/// A call whose body is larger than what connections hold, and how its key stands afterwards.
fn call(url: String, roots: Option<String>) -> (Result<Response, Error>, CredentialReport) {
    let builder = Manager::builder().policy(FailurePolicy::default().without_waiting());
    let builder = match roots {
        Some(pem) => builder.root_certificates(pem),
        None => builder,
    };
    let manager = builder.build().unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "sk-canary").with_attribute("base_url", url);
    manager.register(auth.runtime_only()).unwrap();
    let payload = format!(
        r#"{{"model":"m","input":"{}"}}"#,
        "x".repeat(24 * 1024 * 1024)
    );
    let result = manager.execute(["openai"], &Request::new("m", payload), &Options::new());
    let standing = manager.explain("openai", "m").pop().unwrap();
    (result, standing)
}

#[test]
fn an_answer_that_comes_before_the_request_has_gone_out_is_read() {
    let company = Authority::new();
    let tls = company.signs("localhost").config(&Odd::default());
    for (says, status, fault) in [
        (
            Says::Answer("413 Content Too Large", "connection: close\r\n", "{}"),
            413,
            None,
        ),
        (
            Says::Answer("401 Unauthorized", "connection: close\r\n", "{}"),
            401,
            Some(FailureKind::Unauthorized),
        ),
        (
            Says::Answer("429 Too Many Requests", "retry-after: 30\r\n", "{}"),
            429,
            Some(FailureKind::RateLimited),
        ),
    ] {
        for is_tls in [false, true] {
            let (server, url, roots) = if is_tls {
                let server = over_tls(Arc::clone(&tls), says);
                let url = format!("https://localhost:{}/v1", server.address().port());
                (server, url, Some(company.pem()))
            } else {
                let server = plain(says);
                let url = server.url("/v1");
                (server, url, None)
            };
            let (result, standing) = call(url, roots);
            let error = result.unwrap_err();
            assert_eq!(error.http_status(), Some(status), "{is_tls}: {error}");
            assert_eq!(standing.fault, fault, "{is_tls}: {error}");
            assert_eq!(server.connections(), 1, "{is_tls}: {error}");
        }
    }
}

#[test]
fn a_reply_that_comes_before_the_request_has_gone_out_is_one() {
    let server = plain(Says::Answer("200 OK", "", REPLY));
    let (result, _) = call(server.url("/v1"), None);
    assert_eq!(result.unwrap().reply_text.as_deref(), Some("hi"));
}

#[test]
fn a_connection_that_closes_under_a_request_without_a_word_is_lost() {
    let server = plain(Says::Nothing);
    let (result, standing) = call(server.url("/v1"), None);
    assert_eq!(*result.unwrap_err().code(), ErrorCode::Transport);
    assert_eq!(standing.fault, Some(FailureKind::Transient));
}
