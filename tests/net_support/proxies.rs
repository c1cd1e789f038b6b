//! Real proxies. Each reports `target login`; a host name leads to `behind`, whatever it is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use super::{Server, answer, header, path, read_head};

/// HTTP CONNECT; with a login, for nobody else.
pub fn connect(login: Option<&'static str>, behind: SocketAddr) -> Server {
    Server::start(move |mut stream, report| {
        let head = read_head(&mut stream)?;
        assert!(head.starts_with("CONNECT "), "{head}");
        let given = header(&head, "proxy-authorization").map(str::to_owned);
        let _ = report.send(format!(
            "{} {}",
            path(&head),
            given.as_deref().unwrap_or("-")
        ));
        let expected = login.map(|login| format!("Basic {}", base64(login.as_bytes())));
        if expected.is_some() && expected != given {
            return answer(
                &mut stream,
                "407 Proxy Authentication Required",
                "proxy-authenticate: Basic realm=\"p\"\r\nconnection: close\r\n",
                "",
            );
        }
        match target(path(&head), behind) {
            Some(upstream) => {
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                pump(stream, upstream)
            }
            None => answer(&mut stream, "502 Bad Gateway", "", ""),
        }
    })
}

/// `socks4` and `socks4a`.
pub fn socks4(behind: SocketAddr) -> Server {
    Server::start(move |mut stream, report| {
        let mut request = [0; 8];
        stream.read_exact(&mut request)?;
        assert_eq!(request[..2], [4, 1]);
        let port = u16::from_be_bytes([request[2], request[3]]);
        let user = text_until_zero(&mut stream)?;
        let host = match request[4..] {
            [0, 0, 0, last] if last != 0 => text_until_zero(&mut stream)?,
            [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
            _ => unreachable!(),
        };
        let name = format!("{host}:{port}");
        let _ = report.send(format!(
            "{name} {}",
            if user.is_empty() { "-" } else { &user }
        ));
        match target(&name, behind) {
            Some(upstream) => {
                stream.write_all(&[0, 90, 0, 0, 0, 0, 0, 0])?;
                pump(stream, upstream)
            }
            None => stream.write_all(&[0, 91, 0, 0, 0, 0, 0, 0]),
        }
    })
}

/// SOCKS5; with a login, for nobody else.
pub fn socks5(login: Option<&'static str>, behind: SocketAddr) -> Server {
    Server::start(move |mut stream, report| {
        let [5, count] = take(&mut stream)? else {
            panic!("not SOCKS5");
        };
        let mut methods = vec![0; count.into()];
        stream.read_exact(&mut methods)?;
        let mut given = "-".to_owned();
        if let Some(login) = login {
            if !methods.contains(&2) {
                return stream.write_all(&[5, 0xff]);
            }
            stream.write_all(&[5, 2])?;
            let [1] = take(&mut stream)? else {
                panic!("not RFC 1929");
            };
            given = format!("{}:{}", counted(&mut stream)?, counted(&mut stream)?);
            if given != login {
                let _ = report.send(format!("refused {given}"));
                return stream.write_all(&[1, 1]);
            }
            stream.write_all(&[1, 0])?;
        } else {
            stream.write_all(&[5, 0])?;
        }
        let [5, 1, 0, kind] = take(&mut stream)? else {
            panic!("not a CONNECT");
        };
        let host = match kind {
            1 => {
                let [a, b, c, d] = take(&mut stream)?;
                format!("{a}.{b}.{c}.{d}")
            }
            3 => counted(&mut stream)?,
            kind => panic!("address kind {kind}"),
        };
        let port = u16::from_be_bytes(take(&mut stream)?);
        let name = format!("{host}:{port}");
        let _ = report.send(format!("{name} {given}"));
        match target(&name, behind) {
            Some(upstream) => {
                stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
                pump(stream, upstream)
            }
            None => stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
        }
    })
}

fn target(name: &str, behind: SocketAddr) -> Option<TcpStream> {
    let address = name.parse().unwrap_or(behind);
    TcpStream::connect(address).ok()
}

fn pump(client: TcpStream, upstream: TcpStream) -> io::Result<()> {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    };
    let back = (upstream.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || copy(back.0, back.1));
    copy(client, upstream);
    back.join().unwrap();
    Ok(())
}

fn take<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text after its length in one byte.
fn counted(stream: &mut TcpStream) -> io::Result<String> {
    let [count] = take(stream)?;
    let mut bytes = vec![0; count.into()];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn text_until_zero(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        match take(stream)? {
            [0] => return Ok(String::from_utf8(bytes).unwrap()),
            [byte] => bytes.push(byte),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                let index = bits >> (18 - 6 * place) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
