//! [`SealingKey`]: the keys of a sealed store, and where they come from.

use std::env;
use std::fmt;
use std::path::Path;
use std::str;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::auth::{Secret, first_eight};
use crate::error::Error;
use crate::random;
use crate::store::support::{permissions, secret_file};

/// A key of a [`Sealed`](super::Sealed) store: 32 random bytes, for AES-256-GCM.
///
/// As text it is base64 of either alphabet or 64 hexadecimal digits, as `head -c 32 /dev/urandom | base64` or `openssl rand -hex 32`
/// makes it. It is overwritten in memory when dropped; beyond reach is what the cipher itself makes of it. Its [id](Self::id) is made
/// from the key, so that it needs no name.
///
/// ```
/// use credpool::SealingKey;
///
/// let key = SealingKey::generate()?;
/// assert_eq!(SealingKey::parse(key.to_base64().expose())?.id(), key.id());
/// assert!(!format!("{key:?}").contains(key.to_base64().expose()));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone)]
pub struct SealingKey {
    bytes: Zeroizing<[u8; LENGTH]>,
    id: String,
}

impl SealingKey {
    /// A key from its bytes. They must be random: a password is none.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self::of(Zeroizing::new(bytes))
    }

    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn generate() -> Result<Self, Error> {
        random::bytes().map(Self::from_bytes).map_err(Error::other)
    }

    /// A key from its text.
    ///
    /// # Errors
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) where that is no 32 bytes in base64 or hexadecimal. It is not quoted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        decode(text.trim(), &mut bytes)
            .ok_or_else(|| Error::config(format!("a sealing key {FORM}")))?;
        Ok(Self::of(bytes))
    }

    /// The keys in a file: 32 bytes as they are, or texts, one a line; blank lines and those that begin with `#` are passed over. The first
    /// one seals. The file is read anew each time, through links, so that a mounted secret is followed. As those of a
    /// [`FileStore`](crate::FileStore), it is made private to its owner where it is not, with a warning.
    ///
    /// # Errors
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) where it holds no keys, [`ErrorCode::Store`](crate::ErrorCode::Store) where it
    /// cannot be read. What was read is not quoted.
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// # let path = home.path().join("keys");
    /// use credpool::SealingKey;
    ///
    /// let (new, old) = (SealingKey::generate()?, SealingKey::generate()?);
    /// std::fs::write(&path, format!("{}\n{}\n", new.to_base64().expose(), old.to_base64().expose()))?;
    /// let keys = SealingKey::from_file(&path)?;
    /// assert_eq!([keys[0].id(), keys[1].id()], [new.id(), old.id()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Vec<Self>, Error> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let tighten = |file: &_, found: &_| permissions::tighten_mounted(file, found, &shown);
        let bytes = secret_file::read(path, tighten).map_err(|error| {
            let message = format!(
                "the sealing keys in {} could not be read: {error}",
                path.display()
            );
            Error::store(message).with_source(error)
        })?;
        let keys = match <&[u8; LENGTH]>::try_from(&bytes[..]) {
            // Half a key as text is no key.
            Ok(raw) if !raw.iter().all(u8::is_ascii_hexdigit) => Some(vec![Self::from_bytes(*raw)]),
            _ => str::from_utf8(&bytes).ok().and_then(Self::parse_all),
        };
        keys.ok_or_else(|| {
            let message = format!(
                "a line of the file of sealing keys {} {FORM}",
                path.display()
            );
            Error::config(message)
        })
    }

    /// The keys in an environment variable: texts with commas or space between them. The first one seals.
    ///
    /// # Errors
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) where it is not set, or holds anything else. Its value is not quoted.
    ///
    /// ```
    /// use credpool::SealingKey;
    ///
    /// let error = SealingKey::from_variable("NO_SUCH_KEY").unwrap_err();
    /// assert!(error.message().contains("NO_SUCH_KEY"));
    /// ```
    pub fn from_variable(name: &str) -> Result<Vec<Self>, Error> {
        let value = env::var(name).map(Zeroizing::new);
        let value = value.map_err(|_| {
            Error::config(format!("the variable {name} of sealing keys is not set"))
        })?;
        Self::parse_all(&value).ok_or_else(|| {
            Error::config(format!(
                "a part of the variable {name} of sealing keys {FORM}"
            ))
        })
    }

    /// Names the key: a digest of it, 16 hexadecimal digits. It tells nothing of the key, and stands in every record that the key has
    /// sealed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key as text, to be kept where keys are kept.
    pub fn to_base64(&self) -> Secret {
        Secret::new(STANDARD.encode(self.bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..]
    }

    fn of(bytes: Zeroizing<[u8; LENGTH]>) -> Self {
        let mut hasher = Sha256::new_with_prefix("credpool sealing key ");
        hasher.update(&bytes[..]);
        let id = format!("{:016x}", first_eight(&hasher.finalize()));
        Self { bytes, id }
    }

    /// `None`: there is something else among them, or nothing.
    fn parse_all(text: &str) -> Option<Vec<Self>> {
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let is_between = |char: char| char == ',' || char.is_whitespace();
        let texts = lines.flat_map(|line| line.split(is_between));
        let keys = texts.filter(|text| !text.is_empty()).map(Self::parse);
        let keys = keys.collect::<Result<Vec<_>, _>>().ok()?;
        (!keys.is_empty()).then_some(keys)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

/// The keys that a store has at a time.
#[derive(Debug)]
pub(super) struct KeySet {
    first: SealingKey,
    others: Vec<SealingKey>,
}

impl KeySet {
    pub(super) fn new(keys: Vec<SealingKey>) -> Result<Self, Error> {
        let mut keys = keys.into_iter();
        let first = keys.next();
        let first = first.ok_or_else(|| {
            Error::config("a sealed store needs a key, and its source gives none")
        })?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    /// The key that seals.
    pub(super) fn first(&self) -> &SealingKey {
        &self.first
    }

    pub(super) fn get(&self, id: &str) -> Option<&SealingKey> {
        self.all().find(|key| key.id == id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Puts what a text stands for into `bytes`; `None` where that is something else, or of another length.
fn decode(text: &str, bytes: &mut [u8; LENGTH]) -> Option<()> {
    if text.len() == 2 * LENGTH {
        let digit = |at: usize| char::from(text.as_bytes()[at]).to_digit(16);
        for (at, byte) in bytes.iter_mut().enumerate() {
            let value = 16 * digit(2 * at)? + digit(2 * at + 1)?;
            *byte = u8::try_from(value).ok()?;
        }
        return Some(());
    }
    let alphabet = if text.contains(['-', '_']) {
        &alphabet::URL_SAFE
    } else {
        &alphabet::STANDARD
    };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(alphabet, config);
    let decoded = Zeroizing::new(engine.decode(text).ok()?);
    *bytes = decoded[..].try_into().ok()?;
    Some(())
}

/// The length of a key: that of AES-256.
const LENGTH: usize = 32;

const FORM: &str = "is not 32 bytes as base64 or 64 hexadecimal digits: make one by `head -c 32 /dev/urandom | base64`";

#[cfg(test)]
mod tests {
    use super::*;

    const BASE64: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn from_file(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let keys = SealingKey::from_file(file.path())?;
        Ok(keys.iter().map(|key| key.id.clone()).collect())
    }

    #[test]
    fn a_key_is_read_in_each_form() {
        let key = SealingKey::from_bytes([1; LENGTH]);
        assert_eq!(key.to_base64().expose(), BASE64);
        for text in [
            BASE64,
            BASE64.trim_end_matches('='),
            &"01".repeat(32),
            &format!(" {BASE64}\n"),
        ] {
            assert_eq!(SealingKey::parse(text).unwrap().id, key.id);
        }
        let dense = SealingKey::from_bytes([0xfb; LENGTH]);
        let text = dense.to_base64();
        let url = text.expose().replace('+', "-").replace('/', "_");
        assert_ne!(url, text.expose());
        assert_eq!(SealingKey::parse(&url).unwrap().id, dense.id);
        for text in [
            "",
            "canary",
            &BASE64[2..],
            &"0g".repeat(32),
            &"é".repeat(32),
            &"AA".repeat(40),
        ] {
            let error = SealingKey::parse(text).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_file_has_one_raw_key_or_keys_as_lines() {
        let ids: Vec<String> = [1, 2]
            .map(|byte| SealingKey::from_bytes([byte; LENGTH]).id)
            .into();
        assert_eq!(from_file(&[1; LENGTH]).unwrap(), ids[..1]);
        let text = format!("# new\n{BASE64}\n\n  # old\r\n{}\r\n", "02".repeat(32));
        assert_eq!(from_file(text.as_bytes()).unwrap(), ids);
        for bytes in [
            &b""[..],
            b"# none\n",
            b"canary",
            &[b'a'; LENGTH],
            &[1; 31],
            format!("{BASE64}\ncanary").as_bytes(),
        ] {
            let error = from_file(bytes).unwrap_err();
            assert!(
                *error.code() == crate::ErrorCode::Config && !error.to_string().contains("canary"),
                "{error}"
            );
        }
        assert!(from_file(&vec![b'#'; secret_file::MOST_BYTES + 1]).is_err());
        let error = SealingKey::from_file("/no/such/file").unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_keys_is_made_private() {
        use std::os::unix::fs::PermissionsExt;

        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        std::fs::write(&path, BASE64).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        SealingKey::from_file(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn no_form_of_a_key_shows_it() {
        let key = SealingKey::from_bytes([1; LENGTH]);
        let set = KeySet::new(vec![key.clone()]).unwrap();
        for shown in [format!("{key:?}"), format!("{set:?}"), key.id.clone()] {
            assert!(
                !shown.contains("0101") && !shown.contains("AQEB"),
                "{shown}"
            );
        }
        assert!(KeySet::new(Vec::new()).is_err());
    }
}
