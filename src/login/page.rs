//! The page that the browser shows when it comes back from a login.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::error::Error;

/// A browser that waits for a page.
#[derive(Debug)]
pub(super) struct Page {
    stream: TcpStream,
}

impl Page {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    pub(super) fn complete(self) {
        self.show("200 OK", "You are logged in", "You can close this page.");
    }

    pub(super) fn failed(self, error: &Error) {
        self.show("400 Bad Request", "The login failed", error.message());
    }

    /// Another login's, or no login's at all.
    pub(super) fn not_ours(self) {
        let text = "This address does not belong to the login that is under way. Begin at the address that the program shows.";
        self.show("400 Bad Request", "Another login", text);
    }

    pub(super) fn not_found(self) {
        self.show("404 Not Found", "Not found", "There is nothing here.");
    }

    pub(super) fn not_allowed(self) {
        self.show(
            "405 Method Not Allowed",
            "Not allowed",
            "There is nothing here.",
        );
    }

    /// A browser that has gone does not matter.
    fn show(mut self, status: &str, title: &str, text: &str) {
        let (title, text) = (escaped(title), escaped(text));
        let body = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p>{text}</p></main></html>"
        );
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n{HEADERS}\r\n{body}",
            body.len()
        );
        let _ = self.stream.write_all(answer.as_bytes());
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

/// The address holds the code: nothing of it is kept or passed on.
const HEADERS: &str = "connection: close\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\n\
     x-content-type-options: nosniff\r\nallow: GET\r\n\
     content-security-policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n";

const STYLE: &str = "body{font:1.1rem system-ui,sans-serif;margin:0;display:grid;place-items:center;min-height:90vh;\
     color:#222;background:#fff}main{max-width:34rem;padding:2rem}h1{font-size:1.5rem}\
     @media(prefers-color-scheme:dark){body{color:#eee;background:#181818}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_text_on_the_page() {
        assert_eq!(
            escaped("<b>\"&'</b>"),
            "&lt;b&gt;&quot;&amp;&#39;&lt;/b&gt;"
        );
    }
}
