//! An authorization server on loopback whose answers a test chooses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use credpool::Login;
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use parking_lot::Mutex;
use serde_json::{Value, json};

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) upstream: Arc<Upstream>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Of the token endpoint, in turn; then tokens.
    answers: VecDeque<Reply>,
    device: Value,
    discovery: Option<Value>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            answers: VecDeque::new(),
            device: json!({
                "device_code": "canary-device-code", "user_code": "WDJB-MJHT",
                "verification_uri": "https://login.example.org/device",
                "verification_uri_complete": "https://login.example.org/device?user_code=WDJB-MJHT",
                "expires_in": 600,
            }),
            discovery: None,
        }));
        let upstream = Upstream::start({
            let state = Arc::clone(&state);
            move |request| answer(&mut state.lock(), request)
        });
        Self {
            upstream: Arc::new(upstream),
            state,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.upstream.url() + path
    }

    pub(crate) fn by_device(&self) -> Login {
        Login::by_device("my-app").with_endpoints(self.url("/device"), self.url("/token"))
    }

    pub(crate) fn by_browser(&self) -> Login {
        Login::by_browser("my-app")
            .with_endpoints(self.url("/authorize"), self.url("/token"))
            .with_issuer(self.upstream.url())
    }

    /// The token endpoint answers so next.
    pub(crate) fn answers(&self, status: u16, body: &Value) {
        self.reply(Reply::json(status, body.to_string()));
    }

    pub(crate) fn refuses(&self, error: &str) {
        self.answers(400, &json!({ "error": error }));
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.state.lock().answers.push_back(reply);
    }

    pub(crate) fn set_device(&self, name: &str, value: Value) {
        self.state.lock().device[name] = value;
    }

    pub(crate) fn publish(&self, discovery: Value) {
        self.state.lock().discovery = Some(discovery);
    }

    /// The forms that the token endpoint has got.
    pub(crate) fn tries(&self) -> Vec<BTreeMap<String, String>> {
        let requests = self.upstream.requests();
        let requests = requests.iter().filter(|request| request.path == "/token");
        requests.map(form).collect()
    }
}

pub(crate) fn form(request: &ReceivedRequest) -> BTreeMap<String, String> {
    pairs(std::str::from_utf8(&request.body).unwrap())
}

/// The pairs of a form or a query.
pub(crate) fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8().unwrap().into_owned()
    };
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn answer(state: &mut State, request: &ReceivedRequest) -> Reply {
    match request.path.as_str() {
        "/device" => Reply::json(200, state.device.to_string()),
        "/token" => state.answers.pop_front().unwrap_or_else(|| {
            let tokens = json!({
                "access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600,
                "token_type": "Bearer", "scope": "granted",
            });
            Reply::json(200, tokens.to_string())
        }),
        path if path.starts_with("/.well-known/") => match &state.discovery {
            Some(discovery) if path.ends_with("openid-configuration") => {
                Reply::json(200, discovery.to_string())
            }
            _ => Reply::new(404),
        },
        _ => Reply::new(404),
    }
}
