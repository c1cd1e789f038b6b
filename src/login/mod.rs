//! Logins of persons: the device flow, and the authorization code with PKCE. They end in tokens; the manager makes these durable.

mod code;
mod device;
mod discovery;
mod loopback;
mod page;
mod redirect;

use std::fmt;
use std::time::Duration;

use crossbeam_channel::select;
use serde_json::Value;

use crate::auth::{Auth, Secret, Wiped};
use crate::cancel::CancelToken;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::panic::guard;
use crate::provider::{Answer, Place, TokenRequest};

use discovery::Endpoints;
use page::Page;
use redirect::Redirect;

/// How a person logs in: at which authorization server, as which client, and whether in a browser on this machine or on any device.
///
/// A login of any vendor: the program brings the endpoints, or the issuer that publishes them
/// ([RFC 8414](https://www.rfc-editor.org/rfc/rfc8414), OpenID Connect Discovery), and the client that is registered there.
/// [`Manager::log_in`](crate::Manager::log_in) carries it out.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{CancelToken, Login};
///
/// let cancel = CancelToken::new();
/// let on_any_device = Login::by_device("my-app")
///     .with_issuer("https://login.example.org")
///     .with_scope("openid offline_access")
///     .with_cancel(cancel.clone());
/// let in_a_browser = Login::by_browser("my-app")
///     .with_endpoints("https://login.example.org/authorize", "https://login.example.org/token")
///     .with_parameter("audience", "https://llm.example.org")
///     .with_timeout(Duration::from_secs(300));
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "OAuth")]
#[doc(alias = "PKCE")]
#[doc(alias = "device flow")]
pub struct Login {
    flow: Flow,
    client_id: String,
    client_secret: Option<Secret>,
    issuer: Option<String>,
    /// Where the login begins, and the token endpoint.
    endpoints: Option<(String, String)>,
    scope: Option<String>,
    parameters: Vec<(String, String)>,
    redirect_uri: String,
    timeout: Duration,
    cancel: CancelToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Device,
    Browser,
}

/// What a person has to do: open an address, and enter a code there where one is shown. It prints as a sentence that says so.
///
/// ```
/// let tell = |prompt: &credpool::LoginPrompt| {
///     println!("{prompt}");
///     // A program that has a way to open a browser opens this one.
///     let address = prompt.complete_url.as_ref().unwrap_or(&prompt.url);
/// #   let _ = address;
/// };
/// # let _ = tell;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginPrompt {
    /// The address to open.
    pub url: String,
    /// The same with the code in it, where the server has one: for a link or a QR code.
    pub complete_url: Option<String>,
    /// The code to enter at `url`; none where the address says everything.
    pub user_code: Option<String>,
    /// How long the login can be completed.
    pub expires_in: Duration,
}

impl fmt::Display for LoginPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "To log in, open {}", self.url)?;
        match &self.user_code {
            Some(code) => write!(f, " and enter the code {code}"),
            None => Ok(()),
        }
    }
}

impl Login {
    /// The device flow ([RFC 8628](https://www.rfc-editor.org/rfc/rfc8628)): the person opens an address on any device and enters a code.
    /// The server is asked every 5 seconds, or as it says, until the person is done.
    pub fn by_device(client_id: impl Into<String>) -> Self {
        Self::new(Flow::Device, client_id)
    }

    /// The authorization code with PKCE ([RFC 7636](https://www.rfc-editor.org/rfc/rfc7636), `S256`) in a browser on this machine, which
    /// comes back to a port of `127.0.0.1` ([RFC 8252](https://www.rfc-editor.org/rfc/rfc8252)).
    pub fn by_browser(client_id: impl Into<String>) -> Self {
        Self::new(Flow::Browser, client_id)
    }

    fn new(flow: Flow, client_id: impl Into<String>) -> Self {
        Self {
            flow,
            client_id: client_id.into(),
            client_secret: None,
            issuer: None,
            endpoints: None,
            scope: None,
            parameters: Vec::new(),
            redirect_uri: "http://127.0.0.1/callback".to_owned(),
            timeout: Duration::from_secs(15 * 60),
            cancel: CancelToken::new(),
        }
    }

    /// The authorization server's issuer: its endpoints are read from `/.well-known/oauth-authorization-server`, else from
    /// `/.well-known/openid-configuration`, unless [`with_endpoints`](Self::with_endpoints) names them. What a browser brings back
    /// must come from this issuer ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)) where the server says who it is.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The device authorization endpoint (of [`by_device`](Self::by_device)) or the authorization endpoint (of
    /// [`by_browser`](Self::by_browser)), and the token endpoint.
    pub fn with_endpoints(mut self, begin: impl Into<String>, token: impl Into<String>) -> Self {
        self.endpoints = Some((begin.into(), token.into()));
        self
    }

    /// The client's secret, for clients that are not public. It is kept with the record, since refreshes need it.
    pub fn with_client_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.client_secret = Some(secret.into());
        self
    }

    /// The scopes to ask for, with spaces between them. Many servers give a refresh token for `offline_access` alone.
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// One more parameter of the request with which the login begins, such as `audience`, `prompt` or `login_hint`.
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Where the browser comes back to, as it is registered with the server. Default: `http://127.0.0.1/callback`, with a port that is
    /// free. The host is `127.0.0.1`, `[::1]` or `localhost`; with a port, that port and no other is used.
    pub fn with_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = uri.into();
        self
    }

    /// How long the person may take, all requests included. Default: 15 minutes. A device code may end before.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends the login when the token is cancelled.
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Carries the login out for a record, up to its tokens.
    pub(crate) fn run(
        &self,
        attempt: &Attempt,
        record: &Auth,
        prompt: impl FnOnce(&LoginPrompt),
    ) -> Result<Granted, Error> {
        if record.is_api_key() || record.gets_own_tokens() {
            let what =
                "it has a key, or gets its tokens without a person: it has no use for a login";
            return Err(record.unfit(what));
        }
        let endpoints = self.endpoints(attempt, record)?;
        let client = self.client(record, &endpoints);
        let prompt =
            |shown: &LoginPrompt| guard(|| "the prompt of a login".to_owned(), || prompt(shown));
        let ended = |error: Error| told_by_time(attempt, record, error);
        let (json, page) = match self.flow {
            Flow::Device => {
                let granted = device::run(self, attempt, &client, &endpoints, prompt);
                (granted.map_err(ended)?, None)
            }
            Flow::Browser => {
                let granted = code::run(self, attempt, &client, &endpoints, prompt);
                let (json, page) = granted.map_err(ended)?;
                (json, Some(page))
            }
        };
        Ok(Granted { client, json, page })
    }

    fn endpoints(&self, attempt: &Attempt, record: &Auth) -> Result<Endpoints, Error> {
        let issuer = self.issuer.as_deref();
        match (&self.endpoints, issuer) {
            (Some((begin, token)), _) => Ok(Endpoints::told(issuer, begin, token)),
            (None, Some(issuer)) => discovery::discover(attempt, record, issuer),
            (None, None) => Err(record.unfit("its login names neither an issuer nor endpoints")),
        }
    }

    /// The record as the client that logs in, without what it has of a former login.
    fn client(&self, record: &Auth, endpoints: &Endpoints) -> Auth {
        let mut client = record.clone();
        client.metadata = None;
        for name in OF_CLIENT {
            client.attributes.remove(name);
        }
        client.attributes.insert("token_url", &*endpoints.token_url);
        client.attributes.insert("client_id", &*self.client_id);
        if let Some(secret) = &self.client_secret {
            client.attributes.insert("client_secret", secret.expose());
            if endpoints.wants_basic {
                client.attributes.insert("client_auth", "basic");
            }
        }
        client
    }

    /// Adds what the program wants of the login.
    fn add_wishes(&self, request: &mut TokenRequest<'_>) {
        if let Some(scope) = &self.scope {
            request.shown_field("scope", scope);
        }
        for (name, value) in &self.parameters {
            request.shown_field(name.clone(), value);
        }
    }
}

/// What a login has brought.
pub(crate) struct Granted {
    /// The record as the client.
    client: Auth,
    json: Wiped<Value>,
    /// What the browser waits for.
    page: Option<Page>,
}

impl Granted {
    /// The record with the tokens, and with the client that can refresh them.
    pub(crate) fn put_into(&self, record: &Auth, now: Timestamp) -> Auth {
        let mut changed = record.clone();
        for name in OF_CLIENT {
            match self.client.attributes.get(name) {
                Some(value) => changed.attributes.insert(name, value),
                None => changed.attributes.remove(name),
            }
        }
        changed.metadata = Some(Place::renewed(
            record,
            &Answer::read(&self.json, now),
            &OF_CLIENT,
        ));
        changed
    }

    /// Tells the browser how it ended.
    pub(crate) fn show<T>(self, ended: &Result<T, Error>) {
        if let Some(page) = self.page {
            match ended {
                Ok(_) => page.complete(),
                Err(error) => page.failed(error),
            }
        }
    }
}

/// Waits by the clock; an error where the login is cancelled or its time is over.
fn wait(attempt: &Attempt, wait: Duration) -> Result<(), Error> {
    let left = attempt.remaining().unwrap_or(Duration::MAX);
    let timer = attempt.clock().after(wait.min(left));
    select! {
        recv(timer) -> _ => {}
        recv(attempt.cancel_token().cancelled()) -> _ => {}
    }
    over(attempt).map_or(Ok(()), Err)
}

/// Why a login must stop, if it must.
fn over(attempt: &Attempt) -> Option<Error> {
    if attempt.is_cancelled() {
        return Some(Error::new(ErrorCode::Cancelled, "the login was cancelled"));
    }
    let is_late = attempt.remaining().is_some_and(|left| left.is_zero());
    is_late.then(|| {
        let what = "the login was not completed in its time: begin it again";
        Error::new(ErrorCode::DeadlineExceeded, what)
    })
}

/// A request that was cut off by the end of the login says less than that.
fn told_by_time(attempt: &Attempt, record: &Auth, error: Error) -> Error {
    let cut_off = [
        ErrorCode::Cancelled,
        ErrorCode::DeadlineExceeded,
        ErrorCode::Transport,
    ];
    let error = match over(attempt) {
        Some(over) if cut_off.contains(error.code()) => over,
        _ => error,
    };
    error.about(&record.id)
}

/// The longest that one request takes.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// The attributes, and members of the metadata, that say who refreshes the tokens and where.
const OF_CLIENT: [&str; 5] = [
    "token_url",
    "token_uri",
    "client_id",
    "client_secret",
    "client_auth",
];
