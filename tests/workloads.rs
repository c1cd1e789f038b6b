//! Workload identity, against servers on loopback that check what the vendors' pages say: signature, audience, expiry and the form of the body.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use credpool::provider::{OpenAi, refresh_tokens};
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{
    Attempt, Auth, Error, ErrorCode, Exchange, FileStore, Manager, ManualClock, Options, Request,
    Secret, SubjectToken, Timestamp,
};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use support::eventually;
use tempfile::TempDir;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2026-01-01 12:00);
const MINUTE: Duration = Duration::from_secs(60);

/// What issues the identity of workloads.
enum Issuer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Issuer {
    fn es256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Es256(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn rs256() -> Self {
        let file: Value =
            serde_json::from_str(&credpool::testing::service_account_file("x")).unwrap();
        let pem = file["private_key"].as_str().unwrap();
        let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        Self::Rs256(RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap())
    }

    /// A token that ends an hour later.
    fn token(&self, audience: &str, number: usize) -> String {
        self.token_until(audience, number, NOW.unix_timestamp() + 3600)
    }

    fn token_until(&self, audience: &str, number: usize, end: i64) -> String {
        let alg = match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        };
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims =
            json!({"iss": "https://idp", "sub": "job", "aud": audience, "exp": end, "n": number});
        let text = format!(
            "{}.{}",
            part(json!({"alg": alg, "typ": "JWT"})),
            part(claims)
        );
        let random = SystemRandom::new();
        let signature = match self {
            Self::Es256(key) => key
                .sign(&random, text.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The number of a token that is good: by its signature, its audience and its end.
    fn check(&self, token: &str, audience: &str) -> Result<u64, &'static str> {
        let (text, signature) = token.rsplit_once('.').ok_or("no JWT")?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| "no signature")?;
        let is_signed = match self {
            Self::Es256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                    .verify(text.as_bytes(), &signature)
            }
            Self::Rs256(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
                    .verify(text.as_bytes(), &signature)
            }
        };
        is_signed.map_err(|_| "another signature")?;
        let claims = URL_SAFE_NO_PAD
            .decode(text.split('.').nth(1).unwrap())
            .unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        if claims["aud"] != audience {
            return Err("another audience");
        }
        if claims["exp"].as_i64().unwrap() <= NOW.unix_timestamp() {
            return Err("expired");
        }
        Ok(claims["n"].as_u64().unwrap())
    }
}

/// How a vendor's page says that the request looks.
struct Page {
    name: &'static str,
    audience: &'static str,
    content_type: &'static str,
    /// The field that is the token, and all others.
    token: &'static str,
    fields: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    exchange: fn(SubjectToken) -> Exchange,
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const TOKEN_EXCHANGE: (&str, &str) = (
    "grant_type",
    "urn:ietf:params:oauth:grant-type:token-exchange",
);
const JWT_BEARER: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
const JWT: (&str, &str) = ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt");

/// The pages are named in the documentation of [`Exchange`].
const PAGES: &[Page] = &[
    Page {
        name: "openai",
        audience: "https://api.openai.com/v1",
        content_type: JSON,
        token: "subject_token",
        fields: &[
            TOKEN_EXCHANGE,
            JWT,
            ("identity_provider_id", "wip_1"),
            ("service_account_id", "svc_1"),
        ],
        headers: &[],
        exchange: |subject| Exchange::openai("wip_1", "svc_1", subject),
    },
    Page {
        name: "anthropic",
        audience: "https://api.anthropic.com",
        content_type: JSON,
        token: "assertion",
        fields: &[
            JWT_BEARER,
            ("federation_rule_id", "fdrl_1"),
            ("organization_id", "org-1"),
            ("service_account_id", "svac_1"),
            ("workspace_id", "default"),
        ],
        headers: &[(
            "anthropic-beta",
            "oauth-2025-04-20,oidc-federation-2026-04-01",
        )],
        exchange: |subject| {
            Exchange::anthropic("fdrl_1", "org-1", "svac_1", subject)
                .with_parameter("workspace_id", "default")
        },
    },
    Page {
        name: "openrouter",
        audience: "https://openrouter.ai",
        content_type: FORM,
        token: "subject_token",
        fields: &[TOKEN_EXCHANGE, JWT, ("federation_policy_id", "policy-1")],
        headers: &[],
        exchange: |subject| Exchange::openrouter("policy-1", subject),
    },
    Page {
        name: "entra",
        audience: "api://AzureADTokenExchange",
        content_type: FORM,
        token: "client_assertion",
        fields: &[
            ("grant_type", "client_credentials"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_id", "app-1"),
            ("scope", "https://ai.azure.com/.default"),
        ],
        headers: &[],
        exchange: |subject| {
            Exchange::entra(
                "tenant-1",
                "app-1",
                "https://ai.azure.com/.default",
                subject,
            )
        },
    },
];

/// The fields of a request, by its own content type.
fn fields(request: &ReceivedRequest) -> BTreeMap<String, String> {
    if request.header("content-type") == Some(JSON) {
        return serde_json::from_slice(&request.body).unwrap();
    }
    let form = std::str::from_utf8(&request.body).unwrap();
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8().unwrap().into_owned()
    };
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// What is wrong with a request, or the number of its token.
fn judge(page: &Page, issuer: &Issuer, request: &ReceivedRequest) -> Result<u64, String> {
    let mut fields = fields(request);
    let token = fields.remove(page.token).ok_or("no token")?;
    let expected: BTreeMap<_, _> = page
        .fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let content_type = request.header("content-type").unwrap_or_default();
    let headers = page
        .headers
        .iter()
        .all(|(name, value)| request.header(name) == Some(value));
    if request.method != "POST"
        || content_type != page.content_type
        || fields != expected
        || !headers
    {
        return Err(format!("another form: {content_type} {fields:?}"));
    }
    Ok(issuer.check(&token, page.audience)?)
}

/// A server as a vendor's page describes it. It names the number of the subject token in the access token.
fn server(
    page: &'static Page,
    issuer: Arc<Issuer>,
    complaints: Arc<Mutex<Vec<String>>>,
) -> Upstream {
    Upstream::start(move |request| match judge(page, &issuer, request) {
        Ok(number) => {
            let answer = json!({"access_token": format!("access-{number}"), "token_type": "Bearer", "expires_in": 900});
            Reply::json(200, answer.to_string())
        }
        Err(problem) => {
            complaints.lock().push(problem.clone());
            let answer = json!({"error": "invalid_grant", "error_description": problem});
            Reply::json(400, answer.to_string())
        }
    })
}

fn attempt() -> Attempt {
    Attempt::for_tests(ManualClock::at(NOW))
}

fn access_token(auth: &Auth) -> &str {
    auth.metadata
        .as_ref()
        .unwrap()
        .text("access_token")
        .unwrap()
}

/// Puts a file in place of another one, as an orchestrator does.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn each_vendor_gets_what_its_page_says_and_always_the_newest_token_of_the_file() {
    for (page, issuer) in PAGES
        .iter()
        .flat_map(|page| [Issuer::es256(), Issuer::rs256()].map(|issuer| (page, Arc::new(issuer))))
    {
        let complaints = Arc::default();
        let server = server(page, Arc::clone(&issuer), Arc::clone(&complaints));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let exchange =
            (page.exchange)(SubjectToken::file(&file)).with_token_url(server.url() + "/token");
        let mut auth = Auth::workload("p", exchange).with_id("job");
        for number in 0..100 {
            let token = issuer.token(page.audience, number);
            // Some write into the file, some replace it.
            if number % 2 == 0 {
                fs::write(&file, token + "\n").unwrap();
            } else {
                replace(&file, &token);
            }
            auth = refresh_tokens(&attempt(), &auth).unwrap();
            assert_eq!(
                access_token(&auth),
                format!("access-{number}"),
                "{}",
                page.name
            );
        }
        assert_eq!(auth.expiration_time().at(), Some(NOW + 15 * MINUTE));
        assert!(auth.attributes.is_empty());
        assert_eq!(complaints.lock().clone(), Vec::<String>::new());
    }
}

#[test]
fn a_token_that_the_server_does_not_take_is_told_and_never_shown() {
    let page = &PAGES[0];
    let issuer = Arc::new(Issuer::es256());
    let server = server(page, Arc::clone(&issuer), Arc::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let exchange = (page.exchange)(SubjectToken::file(&file)).with_token_url(server.url());
    let auth = Auth::workload("p", exchange).with_id("job");
    let refused = |what: &str| {
        let error = refresh_tokens(&attempt(), &auth).unwrap_err();
        assert!(
            error.code() == ErrorCode::RefreshFailed && error.message().contains(what),
            "{error}"
        );
        assert_eq!(error.auth_id(), Some("job"));
        let token = fs::read_to_string(&file).unwrap_or_else(|_| "none".to_owned());
        assert!(
            !format!("{error:?}").contains(token.rsplit('.').next().unwrap()),
            "{error:?}"
        );
        error
    };
    assert!(refused("cannot be read").is_retryable());
    fs::write(&file, Issuer::es256().token(page.audience, 1)).unwrap();
    refused("another signature");
    fs::write(&file, issuer.token("elsewhere", 1)).unwrap();
    refused("another audience");
    fs::write(
        &file,
        issuer.token_until(page.audience, 1, NOW.unix_timestamp()),
    )
    .unwrap();
    assert!(
        refused("expired")
            .message()
            .contains("check the subject token")
    );
    fs::write(&file, " \n").unwrap();
    refused("no token");
    fs::write(&file, vec![b'a'; 65 * 1024]).unwrap();
    refused("64 KiB");
}

/// A pool with one workload, and a store.
fn pool(auth: Auth) -> (Manager, ManualClock, TempDir) {
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let manager = Manager::builder()
        .clock(clock.clone())
        .store(store)
        .build()
        .unwrap();
    manager.register_executor(OpenAi::named("p"));
    manager.register(auth).unwrap();
    (manager, clock, folder)
}

#[test]
fn many_calls_share_one_exchange_which_is_renewed_in_time_and_stores_no_secret() {
    let page = &PAGES[2];
    let issuer = Arc::new(Issuer::rs256());
    let asked = Arc::new(AtomicUsize::new(0));
    let sts = server(page, Arc::clone(&issuer), Arc::default());
    let api = Upstream::start(|request| {
        let bearer = request.bearer().unwrap_or_default().to_owned();
        let answer = json!({"choices": [{"message": {"role": "assistant", "content": bearer}, "finish_reason": "stop"}]});
        Reply::json(200, answer.to_string())
    });
    let exchange = (page.exchange)(SubjectToken::callback()).with_token_url(sts.url());
    let auth = Auth::workload("p", exchange)
        .with_id("job")
        .with_attribute("base_url", api.url() + "/v1")
        .with_subject_token({
            let (issuer, asked) = (Arc::clone(&issuer), Arc::clone(&asked));
            move || {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                Ok(Secret::new(issuer.token(page.audience, number)))
            }
        });
    let (manager, clock, folder) = pool(auth);
    let call = || {
        let request = Request::new("m", r#"{"model":"m","messages":[]}"#);
        let answer = manager.execute(["p"], &request, &Options::new()).unwrap();
        answer.reply_text.unwrap()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(call)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), "access-0");
        }
    });
    assert_eq!((sts.request_count(), asked.load(Ordering::SeqCst)), (1, 1));

    // A quarter of 15 minutes before the token's end, and not before.
    manager.start_auto_refresh(MINUTE).unwrap();
    clock.advance(11 * MINUTE);
    assert_eq!(call(), "access-0");
    eventually("the next exchange", || {
        clock.advance(Duration::from_secs(1));
        call() == "access-1"
    });
    assert_eq!(sts.request_count(), 2);

    let stored: String = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    assert!(stored.contains("federation_policy_id") && stored.contains("access-1"));
    for part in issuer.token(page.audience, 0).split('.') {
        assert!(
            !stored.contains(part),
            "the store holds a piece of a subject token"
        );
    }
}

#[test]
fn a_callback_that_is_missing_fails_or_panics_is_an_error() {
    let exchange = || Exchange::token_exchange("https://sts.example.org", SubjectToken::callback());
    let error = |auth: Auth| refresh_tokens(&attempt(), &auth.with_id("job")).unwrap_err();
    let missing = error(Auth::workload("p", exchange()));
    assert!(missing.code() == ErrorCode::Config, "{missing}");
    let failed = error(
        Auth::workload("p", exchange()).with_subject_token(|| Err(Error::message_only("no"))),
    );
    assert!(
        failed.code() == ErrorCode::RefreshFailed && failed.is_retryable(),
        "{failed}"
    );
    let panicked = error(Auth::workload("p", exchange()).with_subject_token(|| panic!("canary")));
    assert!(!format!("{panicked:?}").contains("canary"), "{panicked:?}");
}

#[test]
fn a_subject_token_comes_from_a_url_with_headers_as_text_or_as_a_member() {
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/text" if request.header("authorization") == Some("bearer ci") => {
            Reply::new(200).body("subject-1\n")
        }
        "/json" => Reply::json(200, r#"{"value": "subject-1", "count": 1}"#),
        "/token" => {
            assert_eq!(fields(request)["subject_token"], "subject-1");
            assert_eq!(fields(request)["actor"], "a b&c");
            Reply::json(200, r#"{"access_token": "access-1", "expires_in": "60"}"#)
        }
        _ => Reply::json(403, r#"{"message": "canary"}"#),
    });
    let exchange = |subject| {
        let exchange = Exchange::token_exchange(upstream.url() + "/token", subject);
        let auth = Auth::workload("p", exchange.with_parameter("actor", "a b&c")).with_id("job");
        refresh_tokens(&attempt(), &auth)
    };
    let text =
        SubjectToken::url(upstream.url() + "/text").with_header("authorization", "bearer ci");
    assert_eq!(access_token(&exchange(text).unwrap()), "access-1");
    let member = SubjectToken::url(upstream.url() + "/json").with_member("value");
    assert_eq!(access_token(&exchange(member).unwrap()), "access-1");
    for (subject, what) in [
        (
            SubjectToken::url(upstream.url() + "/json").with_member("count"),
            "no token",
        ),
        (SubjectToken::url(upstream.url() + "/text"), "HTTP 403"),
        (
            SubjectToken::variable("CREDPOOL_NO_SUCH_VARIABLE"),
            "CREDPOOL_NO_SUCH_VARIABLE",
        ),
        (SubjectToken::url("http://example.org/token"), "plain http"),
    ] {
        let error = exchange(subject).unwrap_err();
        assert!(error.message().contains(what), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let variable = SubjectToken::variable("CARGO_MANIFEST_DIR");
    let error = Exchange::jwt_bearer(upstream.url() + "/none", variable);
    let error = refresh_tokens(&attempt(), &Auth::workload("p", error)).unwrap_err();
    assert_eq!(error.http_status(), Some(403));
}

const GOOGLE_AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";

/// Google's token endpoint, and that for a service account.
fn google(issuer: Arc<Issuer>) -> Upstream {
    Upstream::start({
        move |request| match request.path.as_str() {
            "/v1/token" => {
                let fields = fields(request);
                assert_eq!(request.header("content-type"), Some(FORM));
                assert_eq!(fields["grant_type"], TOKEN_EXCHANGE.1);
                assert_eq!(fields["audience"], GOOGLE_AUDIENCE);
                assert_eq!(
                    fields["requested_token_type"],
                    "urn:ietf:params:oauth:token-type:access_token"
                );
                assert_eq!(
                    fields["scope"],
                    "https://www.googleapis.com/auth/cloud-platform"
                );
                let number = issuer
                    .check(&fields["subject_token"], GOOGLE_AUDIENCE)
                    .unwrap();
                let answer = json!({
                    "access_token": format!("federated-{number}"), "expires_in": 3599, "token_type": "Bearer",
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                });
                Reply::json(200, answer.to_string())
            }
            "/impersonate" => {
                assert_eq!(request.bearer(), Some("federated-7"));
                let scopes = [
                    "https://www.googleapis.com/auth/generative-language",
                    "email",
                ];
                assert_eq!(request.json(), json!({"scope": scopes, "lifetime": "900s"}));
                let answer =
                    json!({"accessToken": "robot-1", "expireTime": "2026-01-01T12:15:00Z"});
                Reply::json(200, answer.to_string())
            }
            _ => {
                let answer = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "federated-7 may not"}});
                Reply::json(403, answer.to_string())
            }
        }
    })
}

#[test]
fn a_google_file_is_exchanged_and_its_service_account_impersonated() {
    let (issuer, audience) = (Arc::new(Issuer::rs256()), GOOGLE_AUDIENCE);
    let upstream = google(Arc::clone(&issuer));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("token.json");
    fs::write(
        &source,
        json!({"id_token": issuer.token(audience, 7)}).to_string(),
    )
    .unwrap();
    let mut file = json!({
        "type": "external_account", "audience": audience, "subject_token_type": JWT.1,
        "token_url": upstream.url() + "/v1/token",
        "credential_source": {"file": source, "format": {"type": "json", "subject_token_field_name": "id_token"}},
    });
    let auth = |file: &Value| {
        Auth::external_account("gemini", &file.to_string())
            .unwrap()
            .with_id("job")
    };
    let plain = refresh_tokens(&attempt(), &auth(&file)).unwrap();
    assert_eq!(access_token(&plain), "federated-7");
    file["service_account_impersonation_url"] = (upstream.url() + "/impersonate").into();
    file["service_account_impersonation"] = json!({"token_lifetime_seconds": 900});
    let scoped = auth(&file).with_attribute(
        "scope",
        "https://www.googleapis.com/auth/generative-language email",
    );
    let robot = refresh_tokens(&attempt(), &scoped).unwrap();
    assert_eq!(access_token(&robot), "robot-1");
    assert_eq!(robot.expiration_time().at(), Some(NOW + 15 * MINUTE));
    assert!(
        !serde_json::to_string(&robot)
            .unwrap()
            .contains("federated-7"),
        "the first token is not kept"
    );
    // A client of a workforce pool.
    file["client_id"] = "pool-client".into();
    file["client_secret"] = "pool-secret".into();
    refresh_tokens(
        &attempt(),
        &auth(&file).with_attribute(
            "scope",
            "https://www.googleapis.com/auth/generative-language email",
        ),
    )
    .unwrap();
    let last = upstream
        .requests()
        .into_iter()
        .rfind(|request| request.path == "/v1/token")
        .unwrap();
    let basic = format!("Basic {}", STANDARD.encode("pool-client:pool-secret"));
    assert_eq!(last.header("authorization"), Some(&*basic));
    file["service_account_impersonation_url"] = (upstream.url() + "/other").into();
    let error = refresh_tokens(&attempt(), &auth(&file)).unwrap_err();
    assert!(
        error
            .message()
            .contains("impersonation endpoint answered HTTP 403"),
        "{error}"
    );
}

#[test]
fn metadata_servers_are_read_as_their_pages_say() {
    let upstream = Upstream::start(|request| {
        let is_azure = request.path == "/metadata/identity/oauth2/token"
            && request.header("metadata") == Some("true")
            && request.query
                == "api-version=2018-02-01&client_id=id-1&resource=https%3A%2F%2Fai.azure.com";
        let is_google = request.path
            == "/computeMetadata/v1/instance/service-accounts/default/token"
            && request.header("metadata-flavor") == Some("Google");
        assert!(request.method == "GET" && request.body.is_empty());
        let answer = match (is_azure, is_google) {
            // Azure's numbers are texts.
            (true, _) => {
                json!({"access_token": "azure-1", "expires_in": "3599", "token_type": "Bearer", "expires_on": "1"})
            }
            (_, true) => {
                json!({"access_token": "google-1", "expires_in": 3599, "token_type": "Bearer"})
            }
            _ => return Reply::json(400, r#"{"error": "invalid_request"}"#),
        };
        Reply::json(200, answer.to_string())
    });
    let got = |exchange: Exchange, path: &str| {
        let auth =
            Auth::workload("p", exchange.with_token_url(upstream.url() + path)).with_id("job");
        refresh_tokens(&attempt(), &auth)
    };
    let azure =
        Exchange::managed_identity("https://ai.azure.com").with_parameter("client_id", "id-1");
    let azure = got(azure, "/metadata/identity/oauth2/token").unwrap();
    assert_eq!(access_token(&azure), "azure-1");
    assert_eq!(
        azure.expiration_time().at(),
        Some(NOW + Duration::from_secs(3599))
    );
    let google = Exchange::google_metadata_server();
    let google = got(
        google,
        "/computeMetadata/v1/instance/service-accounts/default/token",
    )
    .unwrap();
    assert_eq!(access_token(&google), "google-1");
    let error = got(Exchange::metadata_server("x"), "/other").unwrap_err();
    assert!(
        error
            .message()
            .contains("metadata server answered HTTP 400, invalid_request"),
        "{error}"
    );
}
