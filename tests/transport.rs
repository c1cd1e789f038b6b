//! Requests over real sockets: what is sent, what comes back, and how long it may take.

#![allow(clippy::unwrap_used)]

#[path = "net_support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{Attempt, Body, ErrorCode, Limits, SystemClock, Timeouts};
use support::client::{
    AT_ONCE, MILLISECOND, assert_clean, attempt, auth, fetch, get, open, read_some,
};
use support::{LIMIT, Server, answer, chunk, open_stream, upstream};

mod answers {
    use super::*;

    #[test]
    fn a_request_arrives_whole_and_the_connection_is_kept() {
        let server = Server::start(|mut stream, report| {
            loop {
                let head = support::read_head(&mut stream)?;
                let mut body = [0; 4];
                stream.read_exact(&mut body)?;
                let _ = report.send(format!("{head}{}", String::from_utf8_lossy(&body)));
                answer(&mut stream, "200 OK", "", "hello")?;
            }
        });
        let attempt = attempt();
        for _ in 0..3 {
            let request = http::Request::post(server.url("/v1?key=canary"))
                .header("x-api-key", "sk-canary")
                .body(Bytes::from_static(b"body"))
                .unwrap();
            let limits = attempt.call_limits(&Timeouts::new());
            let response = attempt.send(&auth(), request, &limits).unwrap();
            assert_eq!(response.status(), 200);
            assert!(!format!("{response:?}").contains("canary"));
            assert_eq!(response.into_body().into_bytes(5).unwrap(), "hello");
            let seen = server.next();
            assert!(
                seen.starts_with("POST /v1?key=canary HTTP/1.1\r\n"),
                "{seen}"
            );
            assert!(seen.ends_with("\r\n\r\nbody"), "{seen}");
            assert_eq!(support::header(&seen, "content-length"), Some("4"));
            assert_eq!(support::header(&seen, "x-api-key"), Some("sk-canary"));
        }
        assert_eq!(server.connections(), 1);
    }

    /// A small request is one packet, a large one arrives whole, and `Expect` is waited for before the body goes out.
    #[test]
    fn head_and_body_travel_together() {
        let server = Server::start(|mut stream, report| {
            let mut buffer = [0; 8192];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                let first = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let (head, body) = first.split_once("\r\n\r\n").expect("a whole head");
                let length = support::header(head, "content-length").unwrap();
                let length: usize = length.parse().unwrap();
                let _ = report.send(body.len().to_string());
                if support::header(head, "expect").is_some() {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                let mut rest = vec![0; length - body.len()];
                stream.read_exact(&mut rest)?;
                let whole = [body.as_bytes(), &rest].concat();
                assert_eq!(whole, letters(length), "{length} bytes");
                answer(&mut stream, "200 OK", "", "hello")?;
            }
        });
        let attempt = attempt();
        let limits = attempt.call_limits(&Timeouts::new());
        let ask = |length: usize, expects: bool| {
            let mut request = http::Request::post(server.url("/x"));
            if expects {
                request = request.header("expect", "100-continue");
            }
            let request = request.body(Bytes::from(letters(length))).unwrap();
            let answer = attempt.send(&auth(), request, &limits).unwrap();
            assert_eq!(answer.into_body().into_bytes(5).unwrap(), "hello");
            server.next().parse::<usize>().unwrap()
        };
        for length in [0, 1, 4000] {
            assert_eq!(ask(length, false), length);
        }
        // Around what the client writes at once, and many times that.
        for length in (12_000..12_400).step_by(7).chain([24_576, 1 << 20]) {
            ask(length, false);
        }
        assert_eq!(ask(4000, true), 0);
        assert_eq!(server.connections(), 1);
    }

    fn letters(count: usize) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(count).collect()
    }

    #[test]
    fn an_unpooled_request_has_a_connection_of_its_own() {
        let server = upstream();
        let attempt = attempt();
        let limits = attempt.call_limits(&Timeouts::new());
        for _ in 0..2 {
            let response = attempt
                .send_unpooled(&auth(), get(&server.url("/x")), &limits)
                .unwrap();
            assert_eq!(response.into_body().into_bytes(5).unwrap(), "hello");
        }
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_redirect_is_an_answer_and_nothing_is_sent_on() {
        let elsewhere = upstream();
        let location = elsewhere.url("/x");
        let server = Server::start(move |mut stream, _| {
            loop {
                support::read_request(&mut stream)?;
                let headers = format!("location: {location}\r\n");
                answer(&mut stream, "307 Temporary Redirect", &headers, "moved")?;
            }
        });
        let attempt = attempt();
        let limits = attempt.call_limits(&Timeouts::new());
        let requests = [
            get(&server.url("/x")),
            http::Request::post(server.url("/x"))
                .body(Bytes::from_static(b"body"))
                .unwrap(),
        ];
        for request in requests {
            let response = attempt.send(&auth(), request, &limits).unwrap();
            assert_eq!(response.status(), 307);
            assert_eq!(response.into_body().into_bytes(5).unwrap(), "moved");
        }
        let agent = attempt.agent(&auth()).unwrap();
        assert_eq!(agent.get(server.url("/x")).call().unwrap().status(), 307);
        assert_eq!(elsewhere.connections(), 0);
    }

    #[test]
    fn an_error_keeps_its_body() {
        let server = Server::start(|mut stream, _| {
            support::read_request(&mut stream)?;
            answer(
                &mut stream,
                "429 Too Many Requests",
                "retry-after: 7\r\n",
                "slow down",
            )
        });
        let attempt = attempt();
        let limits = attempt.call_limits(&Timeouts::new());
        let response = attempt
            .send(&auth(), get(&server.url("/x")), &limits)
            .unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.into_body().into_bytes(1024).unwrap(), "slow down");
    }

    #[test]
    fn a_body_has_a_limit() {
        let server = upstream();
        let attempt = attempt();
        let limits = attempt.call_limits(&Timeouts::new());
        let body = |limit| {
            let response = attempt
                .send(&auth(), get(&server.url("/x")), &limits)
                .unwrap();
            response.into_body().into_bytes(limit)
        };
        assert_eq!(body(5).unwrap(), "hello");
        let error = body(4).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Upstream);
        assert!(!error.is_retryable());
        assert_clean(&error);
    }

    #[test]
    fn a_cut_is_an_error_and_says_where() {
        for (answer, streamed) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfirst",
                ErrorCode::StreamTruncated,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
                ErrorCode::StreamTruncated,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzzz",
                ErrorCode::StreamInterrupted,
            ),
        ] {
            let server = Server::start(move |mut stream, _| {
                support::read_request(&mut stream)?;
                stream.write_all(answer.as_bytes())
            });
            let attempt = attempt();
            let error = fetch(&attempt, &server.url("/x")).unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Transport, "{answer}");
            assert_clean(&error);
            let mut body = open(&attempt, &server.url("/x"), &Timeouts::new()).unwrap();
            let mut text = String::new();
            let error = Body::error_in(body.read_to_string(&mut text).unwrap_err());
            assert_eq!(error.code(), &streamed, "{answer}");
            assert_clean(&error);
        }
        for garbage in ["", "HTTP/1.1 200", "SSH-2.0-x\r\n\r\n"] {
            let server = Server::start(move |mut stream, _| {
                support::read_request(&mut stream)?;
                stream.write_all(garbage.as_bytes())
            });
            let error = fetch(&attempt(), &server.url("/x?key=canary")).unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Transport, "{garbage}");
            assert_clean(&error);
        }
    }

    #[test]
    fn a_reset_is_an_error_however_the_body_is_framed() {
        let whole = Reply::new(200).body("first second");
        for reply in [
            whole.clone(),
            whole.clone().chunked(),
            whole.close_delimited(),
        ] {
            for expected in [ErrorCode::Transport, ErrorCode::StreamInterrupted] {
                let gate = Gate::new();
                let reply = reply.clone().stall_after(5, &gate).reset_after(5);
                let upstream = Upstream::start(move |_| reply.clone());
                let attempt = attempt();
                let limits = if expected == ErrorCode::Transport {
                    attempt.call_limits(&Timeouts::new())
                } else {
                    attempt.stream_limits(&Timeouts::new())
                };
                let request = get(&format!("{}/x", upstream.url()));
                let answer = attempt.send(&auth(), request, &limits).unwrap();
                let mut body = answer.into_body();
                body.read_exact(&mut [0; 5]).unwrap();
                gate.open();
                let error = Body::error_in(body.read_to_end(&mut Vec::new()).unwrap_err());
                assert_eq!((error.code(), error.is_retryable()), (&expected, true));
                let source = std::error::Error::source(&error).unwrap();
                let source = source.downcast_ref::<std::io::Error>().unwrap();
                assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
                assert_clean(&error);
            }
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_said_to_be() {
        let server = Server::start(|mut stream, _| {
            support::read_request(&mut stream)?;
            let headers = format!("x-filler: {}\r\n", "x".repeat(20_000));
            answer(&mut stream, "200 OK", &headers, "")
        });
        let error = fetch(&attempt(), &server.url("/x")).unwrap_err();
        assert!(error.message().contains("too large"), "{error}");
    }

    #[test]
    fn nothing_is_sent_to_an_address_that_is_not_allowed() {
        let attempt = attempt();
        for url in [
            "http://example.org/x",
            "http://user:canary@127.0.0.1/x",
            "/x",
            "ftp://127.0.0.1/x",
        ] {
            let error = fetch(&attempt, url).unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Config, "{url}");
            assert_clean(&error);
        }
    }

    #[test]
    fn a_host_that_refuses_or_does_not_exist_is_a_transport_error() {
        let attempt = attempt();
        for (url, expected) in [
            (
                format!("http://127.0.0.1:{}/x?key=canary", support::closed_port()),
                "refused",
            ),
            (
                "https://no-such-host.invalid/x?key=canary".to_owned(),
                "no-such-host.invalid",
            ),
        ] {
            let error = fetch(&attempt, &url).unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Transport, "{error}");
            assert!(error.message().contains(expected), "{error}");
            assert_clean(&error);
        }
    }
}

mod limits {
    use super::*;

    fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
        let start = Instant::now();
        let result = work();
        (result, start.elapsed())
    }

    fn assert_took(took: Duration, limit: Duration) {
        // Timers of sockets are coarse.
        assert!(
            took + 20 * MILLISECOND >= limit && took < limit + 5 * AT_ONCE,
            "{took:?} for {limit:?}"
        );
    }

    /// The head of an answer may take as long as the first chunk, whatever the limit between chunks.
    #[test]
    fn a_stream_that_is_silent_ends_by_its_first_chunk() {
        let server = upstream();
        let first = 400 * MILLISECOND;
        let timeouts = Timeouts::new()
            .with_first_chunk(first)
            .with_idle(50 * MILLISECOND);

        let (result, took) = timed(|| open(&attempt(), &server.url("/silent"), &timeouts));
        let error = result.unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert_took(took, first);
        assert_clean(&error);

        let attempt = attempt();
        let mut body = open(&attempt, &server.url("/empty"), &timeouts).unwrap();
        let (result, took) = timed(|| read_some(&mut body));
        assert_eq!(result.unwrap_err().code(), &ErrorCode::StreamStalled);
        // It counts from the end of the request, a moment earlier.
        assert_took(took, first.saturating_sub(100 * MILLISECOND));
    }

    #[test]
    fn a_stream_that_stalls_ends_by_the_limit_between_chunks() {
        let server = upstream();
        let idle = 200 * MILLISECOND;
        let timeouts = Timeouts::new().with_first_chunk(LIMIT).with_idle(idle);
        let attempt = attempt();
        let mut body = open(&attempt, &server.url("/stall"), &timeouts).unwrap();
        assert_eq!(read_some(&mut body).unwrap(), "first");
        let (result, took) = timed(|| read_some(&mut body));
        let error = result.unwrap_err();
        assert_eq!(error.code(), &ErrorCode::StreamStalled);
        assert_took(took, idle);
        assert_clean(&error);
    }

    #[test]
    fn a_stream_that_flows_is_not_ended() {
        let pause = 100 * MILLISECOND;
        let server = Server::start(move |mut stream, _| {
            support::read_request(&mut stream)?;
            open_stream(&mut stream)?;
            for _ in 0..10 {
                chunk(&mut stream, "tick")?;
                thread::sleep(pause);
            }
            stream.write_all(b"0\r\n\r\n")
        });
        // In all, far longer than the first chunk may take.
        let timeouts = Timeouts::new().with_first_chunk(6 * pause).with_idle(LIMIT);
        let mut body = open(&attempt(), &server.url("/x"), &timeouts).unwrap();
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!(text, "tick".repeat(10));
    }

    #[test]
    fn the_limit_in_all_holds_for_the_head_and_for_the_body() {
        let server = upstream();
        let total = 200 * MILLISECOND;
        let timeouts = Timeouts::new().with_total(total);
        for path in ["/silent", "/stall"] {
            let attempt = attempt();
            let limits = attempt.call_limits(&timeouts);
            let (result, took) = timed(|| {
                let response = attempt.send(&auth(), get(&server.url(path)), &limits)?;
                response.into_body().into_bytes(1024)
            });
            let error = result.unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Transport);
            assert_took(took, total);
            assert_clean(&error);
        }
    }

    #[test]
    fn the_calls_deadline_is_not_the_upstreams_fault() {
        let server = upstream();
        let left = 200 * MILLISECOND;
        for (path, streamed) in [
            ("/silent", false),
            ("/stall", false),
            ("/silent", true),
            ("/stall", true),
        ] {
            let attempt = Attempt::for_tests(SystemClock).with_deadline(Instant::now() + left);
            let limits = if streamed {
                attempt.stream_limits(&Timeouts::new())
            } else {
                attempt.call_limits(&Timeouts::new())
            };
            let (result, took) = timed(|| {
                let response = attempt.send(&auth(), get(&server.url(path)), &limits)?;
                response.into_body().into_bytes(1024)
            });
            let error = result.unwrap_err();
            assert_eq!(error.code(), &ErrorCode::DeadlineExceeded, "{path}");
            assert_took(took, left);
            assert_clean(&error);
        }
    }

    #[test]
    fn after_the_deadline_nothing_is_sent() {
        let server = upstream();
        let attempt = Attempt::for_tests(SystemClock).with_deadline(Instant::now());
        let error = fetch(&attempt, &server.url("/x")).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::DeadlineExceeded);
        assert_eq!(server.connections(), 0);
    }
}

#[test]
fn the_types_can_cross_threads() {
    fn crosses<T: Send>() {}
    crosses::<Body>();
    crosses::<Limits>();
    crosses::<Attempt>();
}
