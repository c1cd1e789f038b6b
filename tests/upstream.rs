//! The server for tests, by plain sockets.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use credpool::testing::{Gate, Reply, Upstream};

const LONG: Duration = Duration::from_secs(20);
const GET: &str = "GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n";

fn connect(upstream: &Upstream) -> TcpStream {
    let stream = TcpStream::connect(upstream.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).unwrap();
}

fn read(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn requests_of_every_form_are_read() {
    let upstream = Upstream::start(|request| Reply::new(200).body(request.body.clone()));
    let mut client = connect(&upstream);
    ask(&mut client, GET);
    assert_eq!(
        read(&mut client, "\r\n\r\n"),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    );
    ask(
        &mut client,
        "POST /p HTTP/1.1\r\nX-Y: 1\r\ncontent-length: 5\r\n\r\nhello",
    );
    read(&mut client, "\r\n\r\nhello");
    ask(
        &mut client,
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
    );
    read(&mut client, "abc0123456789");
    // Byte by byte, and two at once.
    for byte in "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nxy".bytes() {
        client.write_all(&[byte]).unwrap();
    }
    read(&mut client, "xy");
    ask(&mut client, &GET.repeat(2));
    read(&mut client, "\r\n\r\n");
    read(&mut client, "\r\n\r\n");

    let requests = upstream.requests();
    assert_eq!(requests.len(), 6);
    let first = &requests[0];
    assert_eq!(
        (&*first.method, &*first.path, &*first.query),
        ("GET", "/a", "b=c")
    );
    assert_eq!(requests[1].header("x-y"), Some("1"));
    assert_eq!(upstream.connections_opened(), 1);
}

#[test]
fn bodies_are_framed_as_told() {
    for (reply, expected) in [
        (
            Reply::new(200).body("ab").chunked().in_pieces(1),
            "transfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
        ),
        (
            Reply::json(404, "{}"),
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        ),
        (
            Reply::sse(["1\n2"]).close_delimited(),
            "connection: close\r\n\r\ndata: 1\ndata: 2\n\n",
        ),
        (
            Reply::new(200).body("abcd").cut_after(2),
            "content-length: 4\r\n\r\nab",
        ),
    ] {
        let upstream = Upstream::start(move |_| reply.clone());
        let mut client = connect(&upstream);
        ask(&mut client, GET);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.ends_with(expected), "{text}");
    }
}

#[test]
fn a_reset_is_one() {
    for request in [
        GET,
        "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nxy",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::start(|_| Reply::new(200).reset());
        let mut client = connect(&upstream);
        ask(&mut client, request);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_drip_goes_step_by_step() {
    let gate = Gate::new();
    let reply = Reply::new(200).body("abc").in_pieces(1).drip(&gate);
    let upstream = Upstream::start(move |_| reply.clone());
    let mut client = connect(&upstream);
    ask(&mut client, GET);
    read(&mut client, "\r\n\r\n");
    for piece in ["a", "b"] {
        assert!(gate.wait_reached(LONG));
        gate.step();
        assert_eq!(read(&mut client, piece), piece);
    }
    client
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(client.read(&mut [0]).is_err(), "the third piece waits");
    gate.open();
    client.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(read(&mut client, "c"), "c");
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let gate = Gate::new();
    let reply = Reply::new(200).stall_before_head(&gate);
    let upstream = Upstream::start(move |_| reply.clone());
    let mut client = connect(&upstream);
    ask(&mut client, GET);
    assert!(gate.wait_reached(LONG));
    assert!(!upstream.wait_abandoned(Duration::ZERO));
    drop(client);
    assert!(upstream.wait_abandoned(LONG));
}

#[test]
fn dropping_it_ends_what_waits() {
    let gate = Gate::new();
    let reply = Reply::new(200).stall_before_head(&gate);
    let upstream = Upstream::start(move |_| reply.clone());
    let (mut stalled, mut idle) = (connect(&upstream), connect(&upstream));
    ask(&mut stalled, GET);
    assert!(gate.wait_reached(LONG));
    drop(upstream);
    assert!(!matches!(stalled.read(&mut [0]), Ok(1..)));
    assert!(!matches!(idle.read(&mut [0]), Ok(1..)));
}

#[test]
fn a_handler_may_panic() {
    let upstream = Upstream::start(|_| panic!("as it should"));
    let mut client = connect(&upstream);
    ask(&mut client, GET);
    assert!(read(&mut client, "panicked").starts_with("HTTP/1.1 500"));
}
