//! Errors of SOCKS proxies, in this crate's words.

/// What a SOCKS proxy said.
pub(super) enum Said {
    LoginRefused,
    Answer {
        what: &'static str,
        /// Another try may end otherwise.
        passes: bool,
    },
}

/// What the proxy said, by the text of the client's error.
pub(super) fn said(text: &str) -> Option<Said> {
    if LOGIN_REFUSED.contains(&text) {
        return Some(Said::LoginRefused);
    }
    let find = |answers: &[(&str, &'static str)], passes| {
        let known = answers.iter().find(|(known, _)| *known == text);
        known.map(|(_, what)| Said::Answer { what, passes })
    };
    find(&PASSING, true).or_else(|| find(&LASTING, false))
}

const PASSING: [(&str, &str); 6] = [
    ("general SOCKS server failure", "general failure"),
    ("network unreachable", "the network cannot be reached"),
    ("host unreachable", "the host cannot be reached"),
    ("connection refused", "the host refused the connection"),
    ("TTL expired", "the host is unreachable (TTL expired)"),
    (
        "request rejected or failed",
        "the request is rejected or has failed",
    ),
];

const LASTING: [(&str, &str); 6] = [
    (
        "connection not allowed by ruleset",
        "its rules do not allow this destination",
    ),
    ("command not supported", "connecting is not supported"),
    (
        "address kind not supported",
        "this kind of address is not supported",
    ),
    (
        "invalid response version",
        "something that is not SOCKS, or not this version of it",
    ),
    (
        "invalid response code",
        "something that is not SOCKS, or not this version of it",
    ),
    ("SOCKS4 does not support IPv6", "IPv6 needs socks5"),
];

const LOGIN_REFUSED: [&str; 5] = [
    "password authentication failed",
    "no acceptable auth methods",
    "unknown auth method",
    "request rejected because SOCKS server cannot connect to identd on the client",
    "request rejected because the client program and identd report different user-ids",
];
