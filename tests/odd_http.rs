//! Answers that few servers give, allowed by HTTP or not: what a call makes of each.
//!
//! The rules are those of RFC 9112 (messages) and RFC 9110 (status codes, headers).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "net_support/mod.rs"]
mod support;

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::{
    Attempt, Auth, Error, ErrorCode, Options, ProviderExecutor, Request, Response, StreamChunk,
    SystemClock, Timeouts,
};
use support::Server;

/// Answers each request with the next of these bytes, on a connection that stays open until the client goes.
fn server(answers: &[&str]) -> Server {
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    Server::start(move |mut stream, report| {
        for answer in &answers {
            let head = support::read_request(&mut stream)?;
            let _ = report.send(head);
            stream.write_all(answer.as_bytes())?;
        }
        support::wait_for_end(&mut stream)
    })
}

/// As [`server`], for one answer that ends with the connection.
fn closing(answer: &str) -> Server {
    let answer = answer.to_owned();
    Server::start(move |mut stream, _| {
        support::read_request(&mut stream)?;
        stream.write_all(answer.as_bytes())
    })
}

fn auth(server: &Server) -> Auth {
    Auth::api_key("openai", "sk-canary")
        .with_id("team-a")
        .with_attribute("base_url", server.url("/v1"))
}

fn request() -> Request {
    Request::new("m", r#"{"model":"m","messages":[]}"#)
}

fn options() -> Options {
    let limit = Duration::from_secs(5);
    let timeouts = Timeouts::new().with_total(limit).with_first_chunk(limit);
    Options::new().with_timeouts(timeouts)
}

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn plain_by(attempt: &Attempt, server: &Server) -> Result<Response, Error> {
    OpenAi::new().execute(attempt, &auth(server), &request(), &options())
}

fn plain(server: &Server) -> Result<Response, Error> {
    plain_by(&attempt(), server)
}

fn streamed(server: &Server) -> Result<Vec<StreamChunk>, Error> {
    OpenAi::new()
        .execute_stream(&attempt(), &auth(server), &request(), &options())?
        .collect()
}

fn text_of(chunks: &[StreamChunk]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| chunk.text.as_deref())
        .collect()
}

const REPLY: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const EVENTS: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n\
                      data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                      data: [DONE]\n\n";

fn with_length(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunked(headers: &str, body: &str, end: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n{end}",
        body.len()
    )
}

#[test]
fn good_answers_in_odd_forms() {
    for answer in [
        with_length(
            "200 OK",
            "Content-Type: application/json; charset=utf-8\r\n",
            REPLY,
        ),
        with_length("200 OK", "CONTENT-TYPE:application/json\r\n", REPLY),
        with_length("200", "", REPLY),
        with_length("200 Tr\u{e8}s bien", "", REPLY),
        with_length("201 Created", "", REPLY),
        // Twice, with the same number.
        with_length(
            "200 OK",
            &format!("content-length: {}\r\n", REPLY.len()),
            REPLY,
        ),
        with_length(
            "200 OK",
            "x: \t\r\nx:\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n",
            REPLY,
        ),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\n{}",
            with_length("200 OK", "", REPLY)
        ),
        format!(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n{}",
            with_length("200 OK", "", REPLY)
        ),
        chunked("Content-Type: application/json\r\n", REPLY, "0\r\n\r\n"),
        chunked(
            "",
            REPLY,
            "0\r\nserver-timing: total\r\nx-checksum: 1\r\n\r\n",
        ),
        chunked("", REPLY, "0;last=1\r\n\r\n"),
        with_length("200 OK", "", &format!("\u{feff}{REPLY}")),
        // https://api-docs.deepseek.com/quick_start/rate_limit: blank lines while the reply is being made.
        with_length("200 OK", "", &format!("\r\n\n  {REPLY}\n\n")),
    ] {
        let server = server(&[&answer, &answer]);
        let attempt = attempt();
        for _ in 0..2 {
            let response = plain_by(&attempt, &server).unwrap();
            assert_eq!(response.reply_text.as_deref(), Some("hi"), "{answer}");
        }
        assert_eq!(server.connections(), 1, "{answer}");
    }
    for answer in [
        format!("HTTP/1.0 200 OK\r\n\r\n{REPLY}"),
        format!(
            "HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{REPLY}",
            REPLY.len()
        ),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{REPLY}"),
        format!("HTTP/1.1 200 OK\nconnection: close\n\n{REPLY}"),
        chunked("", REPLY, "0\r\n"),
    ] {
        let response = plain(&closing(&answer)).unwrap();
        assert_eq!(response.reply_text.as_deref(), Some("hi"), "{answer}");
    }
}

/// What is left of one answer, another answer even, must never be read as the next one: connections serve many credentials.
#[test]
fn what_is_left_of_an_answer_is_not_the_next_one() {
    let whole = with_length("200 OK", "", REPLY);
    let another = whole.replace("hi", "no");
    let server = server(&[&format!("{whole}{another}")]);
    let attempt = attempt();
    for connections in 1..=3 {
        let response = plain_by(&attempt, &server).unwrap();
        assert_eq!(response.reply_text.as_deref(), Some("hi"));
        assert_eq!(server.connections(), connections);
    }
}

/// Servers close connections that nobody uses for a while: no call may fail for it.
#[test]
fn a_kept_connection_that_was_closed_is_replaced() {
    let server = Server::start(|mut stream, report| {
        support::read_request(&mut stream)?;
        stream.write_all(with_length("200 OK", "", REPLY).as_bytes())?;
        stream.shutdown(Shutdown::Both)?;
        let _ = report.send("closed".to_owned());
        Ok(())
    });
    let attempt = attempt();
    for connections in 1..=20 {
        assert!(plain_by(&attempt, &server).is_ok());
        assert_eq!(server.next(), "closed");
        assert_eq!(server.connections(), connections);
    }
}

#[test]
fn no_answers_at_all() {
    for (answer, code, status) in [
        (
            with_length("204 No Content", "", ""),
            ErrorCode::Upstream,
            None,
        ),
        (with_length("200 OK", "", ""), ErrorCode::Upstream, None),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".into(),
            ErrorCode::Upstream,
            Some(101),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
            ErrorCode::Upstream,
            Some(304),
        ),
        (
            with_length("308 x", "location: https://example.org/x\r\n", ""),
            ErrorCode::Upstream,
            Some(308),
        ),
        (
            with_length(
                "503 x",
                "content-type: text/html\r\n",
                "<html>canary</html>",
            ),
            ErrorCode::Upstream,
            Some(503),
        ),
        // A body in a coding that was not asked for.
        (
            with_length("200 OK", "content-encoding: gzip\r\n", "\u{1f}\u{8b}x"),
            ErrorCode::Upstream,
            None,
        ),
        // Lengths that differ: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
        (
            with_length("200 OK", "content-length: 5\r\n", REPLY),
            ErrorCode::Transport,
            None,
        ),
        (chunked("", REPLY, "zz\r\n"), ErrorCode::Transport, None),
        (
            format!("HTTP/2 200 OK\r\n\r\n{REPLY}"),
            ErrorCode::Transport,
            None,
        ),
        ("HTTP/1.1 000 x\r\n\r\n".into(), ErrorCode::Transport, None),
        ("SSH-2.0-OpenSSH_9.6\r\n".into(), ErrorCode::Transport, None),
        ("\0".into(), ErrorCode::Transport, None),
        (String::new(), ErrorCode::Transport, None),
    ] {
        let error = plain(&closing(&answer)).unwrap_err();
        assert_eq!(
            (error.code(), error.http_status()),
            (&code, status),
            "{answer}: {error}"
        );
        assert_eq!(error.auth_id(), Some("team-a"));
        let error = streamed(&closing(&answer)).unwrap_err();
        assert_eq!(error.http_status(), status, "{answer}: {error}");
        assert_eq!(error.auth_id(), Some("team-a"));
    }
}

/// What comes is told by its first bytes: media types are often wrong.
#[test]
fn streams_and_documents_under_any_media_type() {
    let page = "\r\n<!doctype html><title>canary</title>";
    let error = r#"{"error":{"message":"m","type":"server_error","code":"server_error"}}"#;
    for kind in [
        "",
        "content-type: text/event-stream\r\n",
        "content-type: TEXT/EVENT-STREAM; charset=UTF-8\r\n",
        "content-type: text/plain\r\n",
        "content-type: application/octet-stream\r\n",
        "content-type: application/json\r\n",
        "content-type: application/x-ndjson\r\n",
        "content-type: text/html\r\n",
        "content-type:\r\n",
    ] {
        for events in [
            EVENTS.to_owned(),
            format!("\u{feff}{EVENTS}"),
            format!("\n\n{EVENTS}"),
            format!(": OPENROUTER PROCESSING\n\n{EVENTS}"),
            format!("retry: 1\r\nevent: x\r\n{EVENTS}"),
        ] {
            let answer = chunked(kind, &events, "0\r\nserver-timing: total\r\n\r\n");
            let chunks = streamed(&server(&[&answer])).unwrap();
            assert_eq!(text_of(&chunks), "hi", "{answer}");
        }
        for (document, code, status) in [
            (error.to_owned(), ErrorCode::Upstream, Some(500)),
            (
                format!("\u{feff}\n {error}"),
                ErrorCode::Upstream,
                Some(500),
            ),
            (format!("[{error}]"), ErrorCode::Upstream, Some(500)),
            (error[..40].to_owned(), ErrorCode::StreamTruncated, None),
            (REPLY.to_owned(), ErrorCode::StreamMalformed, None),
            (
                "[".to_owned() + &format!("{REPLY},").repeat(12_000),
                ErrorCode::StreamMalformed,
                None,
            ),
            ("{data: 1}".to_owned(), ErrorCode::Upstream, None),
            (page.to_owned(), ErrorCode::Upstream, None),
        ] {
            let error = streamed(&closing(&chunked(kind, &document, "0\r\n\r\n"))).unwrap_err();
            assert_eq!(
                (error.code(), error.http_status()),
                (&code, status),
                "{kind}{error}"
            );
            assert_eq!(error.auth_id(), Some("team-a"));
            assert_eq!(
                error.message().contains("base_url"),
                document == page,
                "{error}"
            );
            assert!(!error.message().contains("canary"), "{error}");
        }
    }
    // Neither is a document unless it is announced as one.
    let words = "no\n";
    let error = streamed(&closing(&chunked("", words, "0\r\n\r\n"))).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::StreamTruncated);
    let html = chunked("content-type: text/html\r\n", words, "0\r\n\r\n");
    assert_eq!(
        *streamed(&closing(&html)).unwrap_err().code(),
        ErrorCode::Upstream
    );
}

#[test]
fn an_address_of_ipv6_is_a_base_url() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A machine without IPv6.
        return;
    };
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|threads| {
        let head = threads.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let head = support::read_request(&mut stream).unwrap();
            stream
                .write_all(with_length("200 OK", "", REPLY).as_bytes())
                .unwrap();
            head
        });
        let auth = Auth::api_key("openai", "k")
            .with_attribute("base_url", format!("http://[::1]:{port}/v1/"));
        let response = OpenAi::new().execute(&attempt(), &auth, &request(), &options());
        assert_eq!(response.unwrap().reply_text.as_deref(), Some("hi"));
        let head = head.join().unwrap();
        assert!(
            head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
            "{head}"
        );
        let host = format!("[::1]:{port}");
        assert_eq!(support::header(&head, "host"), Some(&*host));
    });
}
