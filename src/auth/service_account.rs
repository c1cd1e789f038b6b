//! Google service accounts: the JSON key file, parsed and ready to sign.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Auth;
use crate::json::parse_lenient;

/// A service account that can sign.
pub(crate) struct ServiceAccount {
    pub(crate) client_email: String,
    pub(crate) private_key_id: Option<String>,
    pub(crate) token_uri: Option<String>,
    key: RsaKeyPair,
}

impl ServiceAccount {
    /// The service account in the metadata, at its top or inside `service_account`; none if there is no trace of one. The
    /// error says what is wrong with it and quotes nothing.
    pub(crate) fn of(auth: &Auth) -> Option<Result<Self, &'static str>> {
        let object = match place(auth)? {
            Place::Object(object) => Cow::Borrowed(object),
            Place::Text(text) => match object(text) {
                Ok(object) => Cow::Owned(object),
                Err(what) => return Some(Err(what)),
            },
        };
        Some(Self::read(&object))
    }

    /// The service account in an object of its file's form.
    pub(super) fn read(object: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name| {
            let text = object.get(name).and_then(Value::as_str).map(str::trim);
            text.filter(|text| !text.is_empty())
        };
        let client_email = text("client_email").ok_or("client_email is missing")?;
        let pem = text("private_key").ok_or("private_key is missing")?;
        Ok(Self {
            client_email: client_email.to_owned(),
            private_key_id: text("private_key_id").map(str::to_owned),
            token_uri: text("token_uri").map(str::to_owned),
            key: key(pem)?,
        })
    }

    /// Whether the metadata holds one, fit for use or not.
    pub(super) fn is_in(auth: &Auth) -> bool {
        place(auth).is_some()
    }

    /// The signature of `message`: RSASSA-PKCS1-v1_5 with SHA-256, `RS256` in
    /// [RFC 7518 section 3.3](https://www.rfc-editor.org/rfc/rfc7518#section-3.3).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| "private_key does not sign")?;
        Ok(signature)
    }
}

/// The JSON object in `text`.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, &'static str> {
    match parse_lenient(text.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        // The parser's own words may quote what it read.
        Ok(_) | Err(_) => Err("it is not a JSON object"),
    }
}

enum Place<'a> {
    Object(&'a Map<String, Value>),
    Text(&'a str),
}

fn place(auth: &Auth) -> Option<Place<'_>> {
    let metadata = auth.metadata.as_ref()?;
    let is_there = |name| metadata.text(name).is_some_and(|text| !text.is_empty());
    if metadata.text("type") == Some(KIND) || (is_there("client_email") && is_there("private_key"))
    {
        return Some(Place::Object(metadata.as_map()));
    }
    match metadata.get(KIND)? {
        Value::Object(object) => Some(Place::Object(object)),
        Value::String(text) if !text.trim().is_empty() => Some(Place::Text(text)),
        _ => None,
    }
}

/// The RSA key in a PEM text: PKCS#8 ([RFC 5958](https://www.rfc-editor.org/rfc/rfc5958)) as in the files, or PKCS#1.
fn key(pem: &str) -> Result<RsaKeyPair, &'static str> {
    // A file pasted into an environment variable often ends up with its line ends spelt out.
    let pem = Zeroizing::new(pem.replace("\\r", "").replace("\\n", "\n"));
    let between = |label: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        Some(rest.split_once(&format!("-----END {label}-----"))?.0)
    };
    let (body, is_pkcs8) = between("PRIVATE KEY")
        .map(|body| (body, true))
        .or_else(|| between("RSA PRIVATE KEY").map(|body| (body, false)))
        .ok_or("private_key is not a PEM text with a PRIVATE KEY")?;
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.split_ascii_whitespace());
    let der = STANDARD
        .decode(base64.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| "private_key is damaged: its text is not base64")?;
    let key = if is_pkcs8 {
        RsaKeyPair::from_pkcs8(&der)
    } else {
        RsaKeyPair::from_der(&der)
    };
    key.map_err(|_| "private_key is not an RSA key of 2048 to 4096 bits, or is damaged")
}

/// The file's `type`, and where a token file keeps the whole of it.
pub(super) const KIND: &str = "service_account";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PEM: &str = include_str!("../testing/service_account.pem");

    fn account(members: &Value) -> Option<Result<ServiceAccount, &'static str>> {
        let mut auth = Auth::new("p");
        auth.metadata = Some(members.as_object().unwrap().clone().into());
        assert_eq!(
            ServiceAccount::is_in(&auth),
            ServiceAccount::of(&auth).is_some()
        );
        ServiceAccount::of(&auth)
    }

    fn problem(members: &Value) -> &'static str {
        account(members).unwrap().err().unwrap()
    }

    #[test]
    fn it_is_found_wherever_it_is_kept() {
        let file = json!({"client_email": "a@example.org", "private_key": PEM, "private_key_id": "k", "token_uri": " "});
        let mut typed = file.clone();
        typed["type"] = KIND.into();
        for members in [
            file.clone(),
            typed,
            json!({"type": "gemini", KIND: file}),
            json!({KIND: file.to_string()}),
        ] {
            let account = account(&members).unwrap().ok().unwrap();
            assert_eq!(account.client_email, "a@example.org");
            assert_eq!(account.private_key_id.as_deref(), Some("k"));
            assert_eq!(account.token_uri, None);
        }
        for none in [
            json!({}),
            json!({"client_email": "a"}),
            json!({KIND: null}),
            json!({KIND: ""}),
        ] {
            assert!(account(&none).is_none());
        }
    }

    #[test]
    fn line_ends_may_be_of_any_kind() {
        for pem in [
            PEM.replace('\n', "\r\n"),
            PEM.replace('\n', "\\n"),
            PEM.replace('\n', " \n\t"),
            PEM.lines()
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
                .join("\n"),
        ] {
            let members = json!({"client_email": "a", "private_key": pem});
            assert!(account(&members).unwrap().is_ok());
        }
    }

    #[test]
    fn a_signature_is_one_of_the_public_key() {
        use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

        let members = json!({"client_email": "a", "private_key": PEM});
        let account = account(&members).unwrap().ok().unwrap();
        let signature = account.sign(b"message").unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, account.key.public_key());
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"messagf", &signature).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_without_quotes() {
        assert_eq!(problem(&json!({"type": KIND})), "client_email is missing");
        assert_eq!(
            problem(&json!({"type": KIND, "client_email": "a", "private_key": 7})),
            "private_key is missing"
        );
        assert_eq!(problem(&json!({KIND: "canary"})), "it is not a JSON object");
        let key = |pem: &str| problem(&json!({"client_email": "a", "private_key": pem}));
        for pem in [
            "canary",
            "-----BEGIN PRIVATE KEY-----canary",
            "-----BEGIN PUBLIC KEY-----\nY2FuYXJ5\n-----END PUBLIC KEY-----",
        ] {
            assert!(key(pem).contains("not a PEM text"));
        }
        let wrapped =
            |body: &str| format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----");
        assert!(key(&wrapped("c*nary")).contains("not base64"));
        assert!(key(&wrapped("Y2FuYXJ5")).contains("not an RSA key"));
        let cut = PEM
            .lines()
            .filter(|line| line.len() != 64)
            .collect::<Vec<_>>();
        assert!(key(&cut.join("\n")).contains("private_key"));
    }
}
