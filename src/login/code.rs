//! The authorization code with PKCE, over a port of this machine.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossbeam_channel::select;
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::discovery::Endpoints;
use super::loopback::Loopback;
use super::page::Page;
use super::redirect::Brought;
use super::{Login, LoginPrompt, Redirect, over};
use crate::auth::{Auth, Wiped};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::percent::encoded;
use crate::provider::{Grant, TokenRequest};
use crate::random;
use crate::transport::check_url;

pub(super) fn run(
    login: &Login,
    attempt: &Attempt,
    client: &Auth,
    endpoints: &Endpoints,
    prompt: impl FnOnce(&LoginPrompt) -> Result<(), Error>,
) -> Result<(Wiped<Value>, Page), Error> {
    let redirect = Redirect::parse(&login.redirect_uri)
        .map_err(|what| client.unfit(&format!("the redirect URI of its login: {what}")))?;
    let secrets = Secrets::draw().map_err(|error| {
        Error::config("the system's random number generator failed").with_source(error)
    })?;
    let loopback = Loopback::open(redirect.ip, redirect.port, &redirect.path).map_err(|error| {
        let port = redirect.port;
        let what = format!(
            "port {port} of this machine, to which the browser would come back, cannot be opened: {error}"
        );
        Error::config(what).with_source(error)
    })?;
    let redirect_uri = redirect.uri(loopback.port());
    prompt(&LoginPrompt {
        url: address(login, client, endpoints, &secrets, &redirect_uri)?,
        complete_url: None,
        user_code: None,
        expires_in: attempt.remaining().unwrap_or(login.timeout),
    })?;
    let (code, page) = come_back(attempt, endpoints, &secrets, &loopback)?;
    // No other request is of use any more.
    drop(loopback);
    let mut request = TokenRequest::new(Grant::AuthorizationCode, &*endpoints.token_url);
    request.secret_field("code", &code);
    request.shown_field("redirect_uri", &redirect_uri);
    request.secret_field("code_verifier", &secrets.verifier);
    request.add_client(client)?;
    match request.send(attempt, client) {
        Ok(json) => Ok((json, page)),
        Err(error) => {
            page.failed(&error);
            Err(error)
        }
    }
}

/// What ties an answer to its login.
struct Secrets {
    state: String,
    verifier: Zeroizing<String>,
}

impl Secrets {
    /// Each of 256 bits: [RFC 7636 section 7.1](https://www.rfc-editor.org/rfc/rfc7636#section-7.1).
    fn draw() -> std::io::Result<Self> {
        let text = || random::bytes::<32>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Ok(Self {
            state: text()?,
            verifier: Zeroizing::new(text()?),
        })
    }

    /// `S256` of [RFC 7636 section 4.2](https://www.rfc-editor.org/rfc/rfc7636#section-4.2).
    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }
}

/// The address that the person opens.
fn address(
    login: &Login,
    client: &Auth,
    endpoints: &Endpoints,
    secrets: &Secrets,
    redirect_uri: &str,
) -> Result<String, Error> {
    let Some(place) = &endpoints.authorization_url else {
        return Err(client.unfit("the issuer has no authorization endpoint"));
    };
    check_url(place, client)?;
    let challenge = secrets.challenge();
    let own = [
        ("response_type", "code"),
        ("client_id", &login.client_id),
        ("redirect_uri", redirect_uri),
        ("state", &secrets.state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let scope = login.scope.iter().map(|scope| ("scope", scope.as_str()));
    let more = login.parameters.iter();
    let more = more.map(|(name, value)| (name.as_str(), value.as_str()));
    let mut url = place.clone();
    for (name, value) in own.into_iter().chain(scope).chain(more) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend(encoded(name));
        url.push('=');
        url.extend(encoded(value));
    }
    Ok(url)
}

/// Waits until the browser comes back with a code.
fn come_back(
    attempt: &Attempt,
    endpoints: &Endpoints,
    secrets: &Secrets,
    loopback: &Loopback,
) -> Result<(Zeroizing<String>, Page), Error> {
    let left = attempt.remaining().unwrap_or(std::time::Duration::MAX);
    let timer = attempt.clock().after(left);
    loop {
        let visit = select! {
            recv(loopback.visits()) -> visit => visit.ok(),
            recv(timer) -> _ => None,
            recv(attempt.cancel_token().cancelled()) -> _ => None,
        };
        if let Some(over) = over(attempt) {
            if let Some(visit) = visit {
                visit.page.failed(&over);
            }
            return Err(over);
        }
        let Some(visit) = visit else {
            let what = "the port to which the browser would come back was closed";
            return Err(Error::new(ErrorCode::Transport, what));
        };
        let brought = Brought::parse(&visit.query);
        let Some(brought) =
            brought.filter(|brought| brought.state.as_ref() == Some(&secrets.state))
        else {
            // Another login's, or another program's: this one goes on.
            log::warn!("a login got a request with another state, which was refused; it goes on");
            visit.page.not_ours();
            continue;
        };
        match code_of(endpoints, brought) {
            Ok(code) => return Ok((code, visit.page)),
            Err(error) => {
                visit.page.failed(&error);
                return Err(error);
            }
        }
    }
}

/// The code, where the right server has given one.
fn code_of(endpoints: &Endpoints, brought: Brought) -> Result<Zeroizing<String>, Error> {
    let is_other = match (&brought.iss, &endpoints.issuer) {
        (Some(iss), Some(issuer)) => iss != issuer,
        (None, Some(_)) => endpoints.names_itself,
        (_, None) => false,
    };
    if is_other {
        let what = "the browser came back from another login server than the one that was asked (iss): begin the login again";
        return Err(Error::new(ErrorCode::NeedsLogin, what));
    }
    if let Some(name) = brought.error {
        return Err(refused(&name, brought.error_description.as_deref()));
    }
    match brought.code {
        Some(code) if !code.is_empty() => Ok(Zeroizing::new(code)),
        _ => {
            let what = "the browser came back without a code: begin the login again";
            Err(Error::new(ErrorCode::NeedsLogin, what))
        }
    }
}

/// What the server says instead of giving a code: [RFC 6749 section 4.1.2.1](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1), and
/// [OpenID Connect Core section 3.1.2.6](https://openid.net/specs/openid-connect-core-1_0.html#AuthError).
fn refused(name: &str, description: Option<&str>) -> Error {
    let (code, advice) = match name {
        "access_denied" => (ErrorCode::NeedsLogin, "the person or the server declined"),
        "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => (
            ErrorCode::NeedsLogin,
            "the server needs the person: begin the login again without prompt=none",
        ),
        "server_error" | "temporarily_unavailable" => (ErrorCode::RefreshFailed, "try again later"),
        _ => (ErrorCode::Config, "check client_id, scope and redirect URI"),
    };
    let mut said: String = name.to_owned();
    if let Some(description) = description {
        said = format!("{said}: {description}");
    }
    // It came through a browser, and goes to a terminal or a log.
    let said: String = said
        .chars()
        .filter(|char| !char.is_control())
        .take(300)
        .collect();
    let what = format!("the login was refused ({said}): {advice}");
    let is_passing = code == ErrorCode::RefreshFailed;
    Error::new(code, what).with_retryable(is_passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636 appendix B.
        let secrets = Secrets {
            state: String::new(),
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
                .to_owned()
                .into(),
        };
        assert_eq!(
            secrets.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        let drawn = Secrets::draw().unwrap();
        assert!(drawn.verifier.len() == 43 && drawn.state.len() == 43);
        assert_ne!(*drawn.verifier, drawn.state);
    }

    #[test]
    fn the_address_holds_what_the_server_needs() {
        let login = Login::by_browser("my app")
            .with_scope("a b")
            .with_parameter("prompt", "consent");
        let endpoints = Endpoints::told(None, "https://h/authorize?tenant=t", "https://h/token");
        let secrets = Secrets {
            state: "state".to_owned(),
            verifier: "verifier".to_owned().into(),
        };
        let client = Auth::new("p");
        let url = address(
            &login,
            &client,
            &endpoints,
            &secrets,
            "http://127.0.0.1:7/callback",
        );
        assert_eq!(
            url.unwrap(),
            "https://h/authorize?tenant=t&response_type=code&client_id=my%20app\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcallback&state=state\
             &code_challenge=iMnq5o6zALKXGivsnlom_0F5_WYda32GHkxlV7mq7hQ&code_challenge_method=S256\
             &scope=a%20b&prompt=consent"
        );
        let plain = Endpoints::told(None, "http://h/authorize", "https://h/token");
        assert!(address(&login, &client, &plain, &secrets, "x").is_err());
    }

    #[test]
    fn only_the_server_that_was_asked_is_believed() {
        let brought = |iss: Option<&str>| Brought {
            code: Some("c".to_owned()),
            iss: iss.map(str::to_owned),
            ..Brought::default()
        };
        let mut endpoints = Endpoints::told(Some("https://h"), "a", "t");
        let is_taken = |endpoints: &Endpoints, iss| code_of(endpoints, brought(iss)).is_ok();
        assert!(is_taken(&endpoints, None) && is_taken(&endpoints, Some("https://h")));
        assert!(!is_taken(&endpoints, Some("https://h/")) && !is_taken(&endpoints, Some("")));
        endpoints.names_itself = true;
        assert!(!is_taken(&endpoints, None));
        endpoints.issuer = None;
        assert!(is_taken(&endpoints, Some("https://other")));
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (name, code, retryable) in [
            ("access_denied", ErrorCode::NeedsLogin, false),
            ("login_required", ErrorCode::NeedsLogin, false),
            ("temporarily_unavailable", ErrorCode::RefreshFailed, true),
            ("invalid_scope", ErrorCode::Config, false),
        ] {
            let error = refused(name, Some("because\u{1b}[2J"));
            assert_eq!(
                (error.code().clone(), error.is_retryable()),
                (code, retryable)
            );
            assert!(error.message().contains(name) && !error.message().contains('\u{1b}'));
        }
    }
}
