//! A cancel ends exactly the requests of its token, at once, whatever they are waiting for.

#![allow(clippy::unwrap_used)]

#[path = "net_support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use credpool::{Attempt, CancelToken, Error, ErrorCode, Timeouts, cancellable_agent};
use crossbeam_channel::bounded;
use support::client::{
    AT_ONCE, MILLISECOND, assert_clean, attempt, attempt_under, auth, fetch, get, open, read_some,
};
use support::{LIMIT, Server, answer, chunk, open_stream, silent, upstream, wait_for_end};

/// Runs `work` on a thread, cancels when `reached` returns, and says how long the work went on.
fn cancel_when<T: Send>(
    token: &CancelToken,
    reached: impl FnOnce(),
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> (Error, Duration) {
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let result = work();
            (result, Instant::now())
        });
        reached();
        // Long enough to be inside the read.
        thread::sleep(20 * MILLISECOND);
        let cancelled_at = Instant::now();
        token.cancel();
        let (result, ended_at) = worker.join().unwrap();
        let error = result.err().expect("cancelled");
        (error, ended_at.saturating_duration_since(cancelled_at))
    })
}

fn assert_cancelled(state: &str, (error, took): &(Error, Duration)) {
    println!("{state}: {took:?}");
    assert_eq!(error.code(), &ErrorCode::Cancelled, "{state}: {error}");
    assert!(*took < AT_ONCE, "{state}: {took:?}");
    assert_clean(error);
}

#[test]
fn waiting_for_the_head() {
    let server = upstream();
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || fetch(&attempt, &server.url("/silent")));
    assert_cancelled("head", &ended);
}

#[test]
fn in_the_body_on_another_thread() {
    let server = upstream();
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let mut body = open(&attempt, &server.url("/stall"), &Timeouts::new()).unwrap();
    let (reading, read) = bounded(1);
    let ended = cancel_when(
        &token,
        || read.recv_timeout(LIMIT).unwrap(),
        move || {
            assert_eq!(read_some(&mut body)?, "first");
            reading.send(()).unwrap();
            read_some(&mut body)
        },
    );
    assert_cancelled("body", &ended);
}

/// Such a body would look whole after its socket was closed.
#[test]
fn in_a_body_that_ends_with_the_connection() {
    let server = Server::start(|mut stream, report| {
        support::read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nfirst")?;
        let _ = report.send(String::new());
        wait_for_end(&mut stream)
    });
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || fetch(&attempt, &server.url("/x")));
    assert_cancelled("body without length", &ended);
}

#[test]
fn in_a_tls_handshake() {
    let server = silent();
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let url = format!("https://{}/x", server.address());
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || fetch(&attempt, &url));
    assert_cancelled("TLS handshake", &ended);
}

#[test]
fn behind_a_proxy_that_is_silent() {
    for scheme in ["http", "https", "socks4", "socks4a", "socks5", "socks5h"] {
        let proxy = silent();
        let auth = auth().with_proxy_url(format!("{scheme}://{}", proxy.address()));
        let token = CancelToken::new();
        let attempt = attempt_under(&token);
        let limits = attempt.call_limits(&Timeouts::new());
        let reached = || drop(proxy.next());
        let ended = cancel_when(&token, reached, || {
            attempt.send(&auth, get("https://127.0.0.1:9/x"), &limits)
        });
        assert_cancelled(scheme, &ended);
    }
}

#[test]
fn through_a_proxy_that_works() {
    let server = upstream();
    let target = server.address();
    for (scheme, proxy) in [
        ("http", support::proxies::connect(None, target)),
        ("socks5h", support::proxies::socks5(None, target)),
    ] {
        let auth = auth().with_proxy_url(format!("{scheme}://{}", proxy.address()));
        let token = CancelToken::new();
        let attempt = attempt_under(&token);
        let limits = attempt.call_limits(&Timeouts::new());
        let url = server.url("/silent");
        let reached = || drop(server.next());
        let ended = cancel_when(&token, reached, || attempt.send(&auth, get(&url), &limits));
        assert_cancelled(&format!("through {scheme}"), &ended);
    }
}

#[test]
fn on_a_connection_from_the_pool() {
    let server = upstream();
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    assert_eq!(fetch(&attempt, &server.url("/x")).unwrap(), "hello");
    server.next();
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || fetch(&attempt, &server.url("/silent")));
    assert_cancelled("pooled", &ended);
    assert_eq!(server.connections(), 1);
}

#[test]
fn before_it_starts() {
    let server = upstream();
    let token = CancelToken::new();
    token.cancel();
    let attempt = attempt_under(&token);
    let error = fetch(&attempt, &server.url("/x")).unwrap_err();
    assert_cancelled("before", &(error, Duration::ZERO));
    // The same where the program uses the agent itself.
    let agent = attempt.agent(&auth()).unwrap();
    let error = attempt
        .run(|| agent.get(server.url("/x")).call())
        .map_err(|error| attempt.transport_error(&auth(), error))
        .unwrap_err();
    assert_cancelled("before, raw", &(error, Duration::ZERO));
    assert!(server.saw_nothing());
}

#[test]
fn a_large_request_that_nobody_reads() {
    let server = Server::start(|mut stream, report| {
        support::read_head(&mut stream)?;
        let _ = report.send(String::new());
        thread::park_timeout(AT_ONCE);
        wait_for_end(&mut stream)
    });
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let limits = attempt.call_limits(&Timeouts::new());
    let request = http::Request::post(server.url("/x"))
        .body(Bytes::from(vec![b'x'; 64 << 20]))
        .unwrap();
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || attempt.send(&auth(), request, &limits));
    assert_cancelled("sending", &ended);
}

#[test]
fn others_on_the_same_agent_go_on() {
    let server = Server::start(|mut stream, report| {
        loop {
            let head = support::read_request(&mut stream)?;
            let _ = report.send(head.clone());
            match support::path(&head) {
                "/silent" => return wait_for_end(&mut stream),
                "/pair" => {
                    open_stream(&mut stream)?;
                    chunk(&mut stream, "one")?;
                    // Meanwhile, the other request is cancelled.
                    thread::sleep(300 * MILLISECOND);
                    chunk(&mut stream, "two")?;
                    stream.write_all(b"0\r\n\r\n")?;
                }
                _ => answer(&mut stream, "200 OK", "", "hello")?,
            }
        }
    });
    let token = CancelToken::new();
    let (doomed, other) = (attempt_under(&token), attempt());
    // One agent for both attempts.
    let agent = doomed.agent(&auth()).unwrap();
    let mut pair = other
        .run(|| agent.get(server.url("/pair")).call())
        .unwrap()
        .into_body()
        .into_reader();
    server.next();
    let reached = || drop(server.next());
    let ended = cancel_when(&token, reached, || {
        doomed
            .run(|| agent.get(server.url("/silent")).call())
            .map_err(|error| doomed.transport_error(&auth(), error))
    });
    assert_cancelled("beside another", &ended);
    let mut text = String::new();
    pair.read_to_string(&mut text).unwrap();
    assert_eq!(text, "onetwo");
    let mut again = other.run(|| agent.get(server.url("/x")).call()).unwrap();
    assert_eq!(again.body_mut().read_to_string().unwrap(), "hello");
}

/// A token that is cancelled while its request ends must not hit the next request on that connection.
#[test]
fn a_cancel_that_comes_late_hits_nobody() {
    let server = upstream();
    let shared = attempt();
    let agent = shared.agent(&auth()).unwrap();
    let url = server.url("/x");
    let fetch =
        |attempt: &Attempt| attempt.run(|| agent.get(&url).call()?.body_mut().read_to_string());
    let mut cancelled = 0;
    for round in 0..300_u32 {
        let token = CancelToken::new();
        let doomed = attempt_under(&token);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..round * 40 {
                    std::hint::spin_loop();
                }
                token.cancel();
            });
            match fetch(&doomed) {
                Ok(text) => assert_eq!(text, "hello"),
                Err(error) => {
                    cancelled += 1;
                    let error = doomed.transport_error(&auth(), error);
                    assert_eq!(error.code(), &ErrorCode::Cancelled, "{error}");
                }
            }
            // The cancel may still be running.
            assert_eq!(fetch(&shared).unwrap(), "hello", "round {round}");
        });
    }
    println!("{cancelled} of 300 were cut");
}

/// The connection is not lost when the token of a finished request is cancelled.
#[test]
fn a_finished_requests_token_is_forgotten() {
    let server = upstream();
    let token = CancelToken::new();
    let (first, second) = (attempt_under(&token), attempt());
    let agent = first.agent(&auth()).unwrap();
    for attempt in [&first, &second] {
        let mut answer = attempt.run(|| agent.get(server.url("/x")).call()).unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "hello");
        token.cancel();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_dropped_body_closes_its_connection() {
    let (closed, is_closed) = bounded(1);
    let server = Server::start(move |mut stream, _| {
        support::read_request(&mut stream)?;
        open_stream(&mut stream)?;
        chunk(&mut stream, "first")?;
        wait_for_end(&mut stream)?;
        let _ = closed.send(());
        Ok(())
    });
    let attempt = attempt();
    let mut body = open(&attempt, &server.url("/x"), &Timeouts::new()).unwrap();
    assert_eq!(read_some(&mut body).unwrap(), "first");
    drop(body);
    is_closed.recv_timeout(AT_ONCE).unwrap();
}

mod tls {
    use super::*;
    use support::tls::{trusting, upstream, url};

    #[test]
    fn a_certificate_from_nowhere_is_refused() {
        let (server, _) = upstream();
        let error = fetch(&attempt(), &url(&server, "/x?key=canary")).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert!(!error.is_retryable());
        assert!(error.message().contains("UnknownIssuer"), "{error}");
        assert_clean(&error);
        assert!(server.saw_nothing());
    }

    #[test]
    fn the_programs_own_agent_can_be_cancelled_too() {
        let (server, certificate) = upstream();
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .tls_config(trusting(&certificate))
            .build();
        let agent = cancellable_agent(config);
        let token = CancelToken::new();
        let attempt = attempt_under(&token);
        for _ in 0..2 {
            let mut answer = attempt
                .run(|| agent.get(url(&server, "/x")).call())
                .unwrap();
            assert_eq!(answer.body_mut().read_to_string().unwrap(), "hello");
            server.next();
        }
        assert_eq!(server.connections(), 1);

        // A stream on the connection from the pool.
        let mut body = attempt
            .run(|| agent.get(url(&server, "/stall")).call())
            .unwrap()
            .into_body()
            .into_reader();
        let mut first = [0; 5];
        body.read_exact(&mut first).unwrap();
        let start = Instant::now();
        let error = thread::scope(|scope| {
            let reader = scope.spawn(move || body.read(&mut [0; 8]));
            thread::sleep(20 * MILLISECOND);
            token.cancel();
            reader.join().unwrap().unwrap_err()
        });
        let error = attempt.transport_error(&auth(), error);
        assert_eq!(error.code(), &ErrorCode::Cancelled);
        assert!(start.elapsed() < AT_ONCE);
        assert_eq!(server.connections(), 1);
    }
}
