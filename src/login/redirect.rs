//! The redirect URI of a login in a browser, and what a browser brings back to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

use crate::percent;

/// Where the browser comes back to: an address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    host: String,
    pub(super) ip: IpAddr,
    /// 0: any that is free.
    pub(super) port: u16,
    pub(super) path: String,
}

impl Redirect {
    /// The error is what is wrong with it.
    pub(super) fn parse(uri: &str) -> Result<Self, &'static str> {
        let parts: http::Uri = uri.parse().map_err(|_| "it is no URI")?;
        if parts.scheme_str() != Some("http") || parts.query().is_some() || uri.contains('#') {
            return Err("it is no http URI without a query and a fragment");
        }
        let host = parts.host().unwrap_or_default();
        let ip = match host {
            "127.0.0.1" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            "[::1]" => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => return Err("its host is none of 127.0.0.1, [::1] and localhost"),
        };
        Ok(Self {
            host: host.to_owned(),
            ip,
            port: parts.port_u16().unwrap_or(0),
            path: parts.path().to_owned(),
        })
    }

    /// What the server is told, exactly so in both requests.
    pub(super) fn uri(&self, port: u16) -> String {
        format!("http://{}:{port}{}", self.host, self.path)
    }
}

/// What a browser brings back: [RFC 6749 section 4.1.2](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2).
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Brought {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
}

impl Brought {
    /// `None` where a parameter comes twice, which section 3.1 forbids, or is no text.
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut brought = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "state" => &mut brought.state,
                "code" => &mut brought.code,
                "iss" => &mut brought.iss,
                "error" => &mut brought.error,
                "error_description" => &mut brought.error_description,
                _ => continue,
            };
            let spaced = Zeroizing::new(value.replace('+', " "));
            let text = String::from_utf8(percent::decoded(&spaced)).ok()?;
            if place.replace(text).is_some() {
                return None;
            }
        }
        Some(brought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_taken() {
        let redirect = Redirect::parse("http://127.0.0.1/callback").unwrap();
        assert_eq!(
            (redirect.port, redirect.uri(7).as_str()),
            (0, "http://127.0.0.1:7/callback")
        );
        let redirect = Redirect::parse("http://localhost:1455/auth/callback").unwrap();
        assert_eq!(redirect.uri(1455), "http://localhost:1455/auth/callback");
        assert_eq!(
            Redirect::parse("http://[::1]").unwrap().uri(7),
            "http://[::1]:7/"
        );
        for uri in [
            "https://127.0.0.1/callback",
            "http://example.org/callback",
            "http://127.0.0.1.example.org/",
            "http://127.0.0.1/a?b=c",
            "http://127.0.0.1/a#b",
            "myapp:/callback",
            "",
        ] {
            assert!(Redirect::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_parameter_that_comes_twice_spoils_the_rest() {
        let brought = Brought::parse("code=a%2Fb+c&state=s&x=1&x=2").unwrap();
        assert_eq!(brought.code.as_deref(), Some("a/b c"));
        assert!(Brought::parse("code=a&state=s&code=b").is_none());
        assert!(Brought::parse("").unwrap() == Brought::default());
    }
}
