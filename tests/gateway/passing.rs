//! What the gateway passes on as it comes: large bodies, the end of a client, answers without a body.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use credpool::testing::{Gate, Reply, Upstream};

use crate::programs::Gateway;

const SIZE: u64 = 200 << 20;
const LONG: Duration = Duration::from_secs(20);

fn before(base_url: &str) -> Gateway {
    Gateway::start([("openai", "a".to_owned(), format!("{base_url}/v1"))])
}

/// A connection to the gateway, after a request was written to it.
fn ask(gateway: &Gateway, request: &str) -> BufReader<TcpStream> {
    let address = gateway.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Status line and headers, without the line ends.
fn head(reader: &mut impl BufRead) -> Vec<String> {
    let lines = reader.lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn a_client_that_goes_closes_the_connection_upstream_within_fifty_milliseconds() {
    type Stalls = fn(&Gate) -> Reply;
    let cases: [(&str, Stalls, bool); 4] = [
        (
            "before the head",
            |gate| Reply::new(200).stall_before_head(gate),
            false,
        ),
        (
            "in a body",
            |gate| Reply::new(200).body("x".repeat(99)).stall_after(9, gate),
            true,
        ),
        (
            "in chunks",
            |gate| {
                Reply::new(200)
                    .body("x".repeat(99))
                    .chunked()
                    .stall_after(9, gate)
            },
            true,
        ),
        (
            "in events",
            |gate| Reply::sse(["{}", "{}"]).stall_after(9, gate),
            true,
        ),
    ];
    for (place, reply, has_head) in cases {
        let gate = Gate::new();
        let upstream = Upstream::start({
            let gate = gate.clone();
            move |_| reply(&gate)
        });
        let gateway = before(&upstream.url());
        let took = (1..=10).map(|round| {
            let mut client = ask(&gateway, "GET /v1/files/f/content HTTP/1.1\r\n\r\n");
            if has_head {
                assert_eq!(head(&mut client)[0], "HTTP/1.1 200 OK");
            }
            while upstream.request_count() < round {
                thread::yield_now();
            }
            let start = Instant::now();
            drop(client);
            assert!(upstream.wait_abandoned(LONG), "{place}");
            start.elapsed()
        });
        // A machine that is busy may be late now and then.
        let fastest = took.min().unwrap();
        assert!(fastest < Duration::from_millis(50), "{place}: {fastest:?}");
    }
}

/// Counts what it is sent, and answers with as much.
fn counts() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let is_chunked = head(&mut reader)
                .iter()
                .any(|line| line == "transfer-encoding: chunked");
            let sent = if is_chunked {
                chunks(&mut reader)
            } else {
                io::copy(&mut reader.take(SIZE), &mut io::sink()).unwrap()
            };
            let head =
                format!("HTTP/1.1 200 OK\r\nx-sent: {sent}\r\ncontent-length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            io::copy(&mut io::repeat(b'x').take(SIZE), &mut stream).unwrap();
        }
    });
    format!("http://{address}")
}

/// How many bytes chunks bring.
fn chunks(reader: &mut impl BufRead) -> u64 {
    let mut whole = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = u64::from_str_radix(line.trim(), 16).unwrap();
        // With the line end.
        io::copy(&mut reader.take(size + 2), &mut io::sink()).unwrap();
        if size == 0 {
            return whole;
        }
        whole += size;
    }
}

/// The most memory that the gateway has had.
fn peak(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse::<u64>().unwrap() * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn an_upload_and_a_download_of_two_hundred_megabytes_pass_through_in_constant_memory() {
    let length = format!("content-length: {SIZE}");
    let piece = vec![b'x'; 1 << 16];
    for (framing, piece, end, most) in [
        (&*length, piece.clone(), "", 8 << 20),
        // Without a length, as much is held as may be sent again.
        (
            "transfer-encoding: chunked",
            [b"10000\r\n", &piece[..], b"\r\n"].concat(),
            "0\r\n\r\n",
            80 << 20,
        ),
    ] {
        let gateway = before(&counts());
        let before = peak(&gateway);
        let mut client = ask(
            &gateway,
            &format!("POST /v1/files HTTP/1.1\r\n{framing}\r\nexpect: 100-continue\r\n\r\n"),
        );
        assert_eq!(head(&mut client), ["HTTP/1.1 100 Continue"]);
        for _ in 0..SIZE >> 16 {
            client.get_mut().write_all(&piece).unwrap();
        }
        client.get_mut().write_all(end.as_bytes()).unwrap();
        let answer = head(&mut client);
        assert!(answer.contains(&format!("x-sent: {SIZE}")), "{answer:?}");
        assert_eq!(io::copy(&mut client, &mut io::sink()).unwrap(), SIZE);
        let grown = peak(&gateway) - before;
        assert!(grown < most, "{framing}: {grown} bytes more");
    }
}

#[test]
fn a_connection_serves_on_after_answers_without_a_body() {
    let upstream = Upstream::start(|request| match &*request.method {
        "HEAD" => Reply::new(200).header("x-size", "12").chunked(),
        "DELETE" => Reply::new(204),
        _ if request.header("if-none-match").is_some() => Reply::new(304),
        _ => Reply::json(200, "{}").chunked(),
    });
    let gateway = before(&upstream.url());
    let mut client = ask(&gateway, "");
    for (request, status) in [
        ("HEAD /v1/files/f", "200 OK"),
        ("DELETE /v1/files/f", "204 No Content"),
        (
            "GET /v1/models HTTP/1.1\r\nif-none-match: 1",
            "304 Not Modified",
        ),
        ("HEAD /health", "200 OK"),
        ("GET /v1/models", "200 OK"),
    ] {
        let version = if request.contains("HTTP") {
            ""
        } else {
            " HTTP/1.1"
        };
        let request = format!("{request}{version}\r\n\r\n");
        client.get_mut().write_all(request.as_bytes()).unwrap();
        assert_eq!(
            head(&mut client)[0],
            format!("HTTP/1.1 {status}"),
            "{request}"
        );
    }
    assert_eq!(chunks(&mut client), 2);
    client
        .get_mut()
        .write_all(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert!(head(&mut client).contains(&"connection: close".to_owned()));
    assert_eq!(chunks(&mut client), 2);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_web_page_of_another_site_spends_nothing() {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let gateway = before(&upstream.url());
    for origin in ["https://example.com", "null"] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\norigin: {origin}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let mut client = ask(&gateway, &request);
        assert_eq!(head(&mut client)[0], "HTTP/1.1 403 Forbidden");
    }
    assert_eq!(upstream.request_count(), 0);
}
