//! Large bodies pass through in constant memory. In a process of its own, because memory is measured for the whole of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use credpool::provider::OpenAi;
use credpool::{Auth, Manager, Options, RequestBody};

const SIZE: u64 = 200 << 20;

/// The most memory that the process has had.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

/// Counts what it is sent, and answers with as much.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let sent = io::copy(&mut reader.take(SIZE), &mut io::sink()).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nx-sent: {sent}\r\ncontent-length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        io::copy(&mut io::repeat(b'x').take(SIZE), &mut stream).unwrap();
    });
    format!("http://{address}/v1")
}

#[test]
fn an_upload_and_a_download_of_two_hundred_megabytes_take_no_more_memory_than_small_ones() {
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "k").with_attribute("base_url", server());
    manager.register(auth.runtime_only()).unwrap();
    let body = RequestBody::reopened(|| Ok(io::repeat(b'x').take(SIZE))).with_length(SIZE);
    let request = http::Request::post("/v1/files").body(body).unwrap();
    let before = peak();
    let answer = manager
        .execute_raw(["openai"], request, &Options::new())
        .unwrap();
    assert_eq!(answer.headers()["x-sent"], SIZE.to_string());
    let read = io::copy(&mut answer.into_body(), &mut io::sink()).unwrap();
    assert_eq!(read, SIZE);
    let grown = peak() - before;
    assert!(grown < 8 << 20, "{grown} bytes more");
}
