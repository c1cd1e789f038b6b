//! A text that only the holder of a key can read, and that belongs to one record: AES-256-GCM
//! ([NIST SP 800-38D](https://doi.org/10.6028/NIST.SP.800-38D)) with a random nonce, the record's id as associated data.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use zeroize::Zeroizing;

use super::keys::{KeySet, SealingKey};
use crate::error::Error;
use crate::random;
use crate::store::codec::shown;

/// Why an envelope cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The id of the key that is needed.
    UnknownKey(String),
    Damaged,
}

/// An envelope in its parts, as yet closed: `v1.KEY.NONCE-AND-CIPHERTEXT`.
pub(super) struct Envelope<'a> {
    pub(super) key_id: &'a str,
    sealed: &'a str,
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Closed> {
        let parts: Vec<_> = text.split('.').collect();
        match parts[..] {
            [VERSION, key_id, sealed] => Ok(Self { key_id, sealed }),
            _ => Err(Closed::Damaged),
        }
    }

    /// What is in it, where it belongs to the record `id`.
    pub(super) fn open(&self, keys: &KeySet, id: &str) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let key = keys.get(self.key_id);
        let key = key.ok_or_else(|| Closed::UnknownKey(self.key_id.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(self.sealed);
        let mut bytes = Zeroizing::new(bytes.map_err(|_| Closed::Damaged)?);
        let opened = unseal(key, id, &mut bytes).map_err(|_| Closed::Damaged)?;
        bytes.truncate(opened);
        Ok(bytes)
    }
}

/// How long the plain text is, which stands at the begin of `bytes` then.
fn unseal(key: &SealingKey, id: &str, bytes: &mut [u8]) -> Result<usize, Unspecified> {
    let (nonce, _) = bytes.split_first_chunk().ok_or(Unspecified)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = cipher(key)?.open_within(nonce, belonging_to(id), bytes, NONCE_LEN..)?;
    Ok(plain.len())
}

/// Seals a text for the record `id`.
///
/// A key may seal 2^32 texts by section 8.3 of the standard, since the nonces are random.
pub(super) fn seal(key: &SealingKey, id: &str, plain: &[u8]) -> Result<String, Error> {
    let failed = |why: &dyn fmt::Display| {
        let message = format!("credential {} could not be sealed: {why}", shown(id));
        Error::store(message).with_auth_id(id)
    };
    let nonce: [u8; NONCE_LEN] = random::bytes().map_err(|error| failed(&error))?;
    // Of its full length from the begin: a buffer that grew would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    bytes.extend_from_slice(plain);
    cipher(key)
        .and_then(|cipher| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            cipher.seal_in_place_append_tag(nonce, belonging_to(id), &mut *bytes)
        })
        .map_err(|_| failed(&"it is too large"))?;
    let sealed = URL_SAFE_NO_PAD.encode([&nonce, &bytes[..]].concat());
    Ok(format!("{VERSION}.{}.{sealed}", key.id()))
}

fn cipher(key: &SealingKey) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_256_GCM, key.bytes()).map(LessSafeKey::new)
}

fn belonging_to(id: &str) -> Aad<Vec<u8>> {
    Aad::from([b"credpool record ", id.as_bytes()].concat())
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(id) => write!(
                f,
                "is sealed with key {}, which this process does not have: add that key to its keys, or remove the record and register \
                 the credential again",
                shown(id)
            ),
            Self::Damaged => f.write_str(
                "has a sealed part that was changed, or that belongs to another record: restore the record from a copy, or remove it \
                 and register the credential again",
            ),
        }
    }
}

const VERSION: &str = "v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::from_bytes([byte; 32])
    }

    fn open(text: &str, keys: &[u8], id: &str) -> Result<String, Closed> {
        let keys = KeySet::new(keys.iter().map(|byte| key(*byte)).collect()).unwrap();
        let plain = Envelope::parse(text)?.open(&keys, id)?;
        Ok(String::from_utf8(plain.to_vec()).unwrap())
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_and_for_its_record_alone() {
        let text = seal(&key(1), "a", b"canary").unwrap();
        assert!(!text.contains("canary"));
        assert_eq!(open(&text, &[1], "a").unwrap(), "canary");
        assert_eq!(open(&text, &[2, 1], "a").unwrap(), "canary");
        assert_eq!(open(&text, &[1], "b"), Err(Closed::Damaged));
        let unknown = Closed::UnknownKey(key(1).id().to_owned());
        assert_eq!(open(&text, &[2], "a"), Err(unknown));
        assert_eq!(
            open(&seal(&key(1), "", b"").unwrap(), &[1], "").unwrap(),
            ""
        );
    }

    #[test]
    fn no_two_envelopes_of_one_text_are_the_same() {
        let texts: std::collections::BTreeSet<_> = (0..100)
            .map(|_| seal(&key(1), "a", b"x").unwrap())
            .collect();
        assert_eq!(texts.len(), 100);
    }

    #[test]
    fn no_changed_byte_is_opened() {
        let text = seal(&key(1), "a", b"canary").unwrap();
        for at in 0..text.len() {
            for other in ['A', 'B', '.'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                let changed: String = changed.into_iter().collect();
                assert!(open(&changed, &[1], "a").is_err(), "{changed}");
            }
            assert!(open(&text[..at], &[1], "a").is_err());
        }
    }
}
