//! A digest of what a credential shows to its provider: another key ends what the former one was refused for.

use sha2::{Digest, Sha256};

use super::{Auth, has_tokens};

/// A digest of a record's key, headers, address, proxy and certificates. Failures with another one say nothing about this one.
///
/// Tokens are no part of it: they change with every refresh, and versions tell the failures of older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Identity {
    pub(crate) fn to_hex(self) -> String {
        format!("{:016x}", self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl Auth {
    /// What it shows to its provider by now.
    pub(crate) fn identity(&self) -> Identity {
        let mut hasher = Sha256::new();
        let mut feed = |text: &str| {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        };
        feed(&self.provider);
        feed(&self.id);
        feed(self.proxy_url.expose().trim());
        for (name, value) in self.attributes.iter() {
            if name == API_KEY || ROUTE.contains(&name) || is_header(name) {
                feed(name);
                feed(value.trim());
            }
        }
        if let Some(key) = self.aws_key() {
            feed(key.id);
            feed(key.secret);
        }
        Identity(first_eight(&hasher.finalize()))
    }

    /// Whether it has nothing to be sent yet: no tokens and no key.
    pub(crate) fn has_nothing_to_send(&self) -> bool {
        let shows = |name: &str| name == API_KEY || is_header(name);
        !has_tokens(self.metadata.as_ref())
            && self.aws_key().is_none()
            && !self.gets_own_tokens()
            && !self
                .attributes
                .iter()
                .any(|(name, value)| shows(name) && !value.trim().is_empty())
    }
}

/// The first eight bytes of a digest as a number.
pub(crate) fn first_eight(digest: &[u8]) -> u64 {
    let first = digest.iter().take(8);
    first.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Whether an attribute is a header of every request.
pub(super) fn is_header(attribute: &str) -> bool {
    let prefix = attribute.get(..HEADER.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(HEADER))
}

/// The attributes that say where requests go, and by which certificates both sides know each other.
pub(super) const ROUTE: [&str; 4] = [
    BASE_URL,
    "ca_certificates",
    "client_certificate",
    "client_key",
];
pub(super) const API_KEY: &str = "api_key";
pub(super) const BASE_URL: &str = "base_url";
const HEADER: &str = "header:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_headers_address_and_proxy_are_its_identity_and_nothing_else() {
        let auth = || {
            let auth = Auth::api_key("p", "k").with_id("a");
            auth.with_attribute("header:x", "1")
                .with_attribute("base_url", "https://h")
        };
        let same = [
            auth().with_label("other"),
            auth().with_attribute("priority", "3"),
            auth().with_metadata("access_token", "t"),
            auth().with_attribute("base_url", " https://h "),
        ];
        for other in same {
            assert_eq!(other.identity(), auth().identity(), "{other:?}");
        }
        let others = [
            auth().with_attribute("api_key", "k2"),
            auth().with_attribute("header:x", "2"),
            auth().with_attribute("Header:y", "1"),
            auth().with_attribute("base_url", "https://h2"),
            auth().with_proxy_url("http://proxy"),
            auth().with_attribute("ca_certificates", "/ca.pem"),
            auth().with_attribute("client_certificate", "/own.pem"),
        ];
        for other in others {
            assert_ne!(other.identity(), auth().identity(), "{other:?}");
        }
        let identity = auth().identity();
        assert_eq!(Identity::from_hex(&identity.to_hex()), Some(identity));
    }
}
