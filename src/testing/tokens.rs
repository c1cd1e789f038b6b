//! A token endpoint for every grant, as its RFCs describe them.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use super::form::{decoded, field};
use super::keys::KeyBehaviour;
use super::{ReceivedRequest, Reply};

/// The file of a Google service account, whose key is published with this crate and good for tests alone. It asks for
/// tokens at `token_uri`.
///
/// ```
/// let file = credpool::testing::service_account_file("http://127.0.0.1:8080/token");
/// let auth = credpool::Auth::service_account("gemini", &file)?;
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn service_account_file(token_uri: &str) -> String {
    let pem = TEST_KEY.find("-----BEGIN").map(|start| &TEST_KEY[start..]);
    let file = json!({
        "type": "service_account",
        "project_id": "test-project",
        "private_key_id": "test-key-1",
        "private_key": pem,
        "client_email": "robot@test-project.iam.gserviceaccount.com",
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    });
    file.to_string()
}

/// The clients of the token endpoint, and what they get.
#[derive(Default)]
pub(super) struct Tokens {
    /// What becomes of the access tokens of each client, service account and refresh token.
    clients: HashMap<(String, String), KeyBehaviour>,
    accounts: HashMap<String, Account>,
    logins: HashMap<String, KeyBehaviour>,
    issued: usize,
    pub(super) lifetime: Option<Duration>,
}

struct Account {
    /// In the form of RFC 8017, appendix A.1.1.
    public_key: Vec<u8>,
    audience: String,
    behaviour: KeyBehaviour,
}

/// A token, and how its bearer is answered.
pub(super) type Issued = (String, KeyBehaviour);

impl Tokens {
    pub(super) fn add_client(&mut self, id: String, secret: String, behaviour: KeyBehaviour) {
        self.clients.insert((id, secret), behaviour);
    }

    pub(super) fn add_login(&mut self, refresh_token: String, behaviour: KeyBehaviour) {
        self.logins.insert(refresh_token, behaviour);
    }

    /// Trusts the key in a service account's file; none if it has no such key.
    pub(super) fn add_account(&mut self, file: &str, behaviour: KeyBehaviour) -> Option<()> {
        let file: Value = serde_json::from_str(file).ok()?;
        let text = |name| file.get(name).and_then(Value::as_str);
        let pem: String = text("private_key")?
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(pem).ok()?).ok()?;
        let account = Account {
            public_key: key.public_key().as_ref().to_vec(),
            audience: text("token_uri")?.to_owned(),
            behaviour,
        };
        self.accounts
            .insert(text("client_email")?.to_owned(), account);
        Some(())
    }

    pub(super) fn issued(&self) -> usize {
        self.issued
    }

    /// Answers a request for tokens; `now` is the server's clock, in seconds since 1970.
    pub(super) fn answer(
        &mut self,
        request: &ReceivedRequest,
        now: i64,
    ) -> (Reply, Option<Issued>) {
        let granted = match field(request, "grant_type").as_deref() {
            Some("refresh_token") => self.by_login(request),
            Some("client_credentials") => self.by_client(request),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => self.by_account(request, now),
            _ => Err((400, "unsupported_grant_type", "the grant is unknown")),
        };
        match granted {
            Err((status, error, description)) => {
                let body = json!({"error": error, "error_description": description});
                (Reply::json(status, body.to_string()), None)
            }
            Ok((behaviour, refresh_token)) => {
                self.issued += 1;
                let token = format!("access-{}", self.issued);
                let mut body = json!({"access_token": token, "token_type": "Bearer"});
                if let Some(lifetime) = self.lifetime {
                    body["expires_in"] = lifetime.as_secs().into();
                }
                if refresh_token {
                    let next = format!("refresh-{}", self.issued);
                    body["refresh_token"] = next.as_str().into();
                    self.logins.insert(next, behaviour.clone());
                }
                let reply = Reply::json(200, body.to_string()).header("cache-control", "no-store");
                (reply, Some((token, behaviour)))
            }
        }
    }

    /// RFC 6749 section 6, with refresh tokens that serve once.
    fn by_login(&mut self, request: &ReceivedRequest) -> Granted {
        let token = field(request, "refresh_token").unwrap_or_default();
        let behaviour = self.logins.remove(&token);
        let behaviour = behaviour.ok_or((400, "invalid_grant", "the refresh token is unknown"));
        Ok((behaviour?, true))
    }

    /// RFC 6749 section 4.4, by `Authorization` header or by form.
    fn by_client(&self, request: &ReceivedRequest) -> Granted {
        let basic = request
            .header("authorization")
            .and_then(|value| STANDARD.decode(value.strip_prefix("Basic ")?).ok())
            .and_then(|pair| String::from_utf8(pair).ok());
        let client = match &basic {
            Some(pair) => pair
                .split_once(':')
                .map(|(id, secret)| (decoded(id), decoded(secret))),
            None => field(request, "client_id").zip(field(request, "client_secret")),
        };
        let behaviour = client.and_then(|client| self.clients.get(&client));
        let behaviour = behaviour.ok_or((401, "invalid_client", "the client is unknown"));
        Ok((behaviour?.clone(), false))
    }

    /// RFC 7523 section 3, with the words of Google's answers.
    fn by_account(&self, request: &ReceivedRequest, now: i64) -> Granted {
        let refused = |what| (400, "invalid_grant", what);
        let assertion = field(request, "assertion").unwrap_or_default();
        let (signed, signature) = assertion
            .rsplit_once('.')
            .ok_or(refused("Invalid JWT: not a signed one"))?;
        let (header, claims) = signed
            .split_once('.')
            .ok_or(refused("Invalid JWT: not three parts"))?;
        let json = |part: &str| -> Value {
            let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        let (header, claims) = (json(header), json(claims));
        let account = claims["iss"]
            .as_str()
            .and_then(|email| self.accounts.get(email))
            .ok_or(refused("Invalid grant: account not found"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &account.public_key);
        if header["alg"] != "RS256" || key.verify(signed.as_bytes(), &signature).is_err() {
            return Err(refused("Invalid JWT Signature."));
        }
        let time = |name: &str| claims[name].as_i64().unwrap_or_default();
        let (from, to) = (time("iat"), time("exp"));
        let is_timely = (from - SKEW..=to).contains(&now) && (0..=HOUR).contains(&(to - from));
        if !is_timely || claims["aud"] != account.audience.as_str() {
            return Err(refused(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            ));
        }
        if claims["scope"].as_str().is_none_or(str::is_empty) {
            return Err((400, "invalid_scope", "the scope is missing"));
        }
        Ok((account.behaviour.clone(), false))
    }
}

/// What becomes of the token, and whether a refresh token comes with it; or status, error and description.
type Granted = Result<(KeyBehaviour, bool), (u16, &'static str, &'static str)>;

const TEST_KEY: &str = include_str!("service_account.pem");
const SKEW: i64 = 300;
const HOUR: i64 = 3600;
