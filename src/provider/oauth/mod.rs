//! OAuth grants: refresh token, client credentials, service account assertion.

mod answer;
mod client_credentials;
mod endpoint;
mod exchange;
mod held;
mod merge;
mod refresh_token;
mod service_account;
mod setting;
mod subject;

use serde_json::Value;

use crate::auth::{Auth, Exchange, ServiceAccount};
use crate::error::Error;
use crate::executor::Attempt;

pub(crate) use self::endpoint::{Grant, TokenRequest};
pub(crate) use self::merge::{Answer, Place};

/// Gets new tokens in the way that the credential's own members call for, and returns the record with them: a ready-made
/// [`ProviderExecutor::refresh`](crate::ProviderExecutor::refresh), and that of every executor of this crate.
///
/// | the credential has | the grant |
/// |---|---|
/// | a Google service account in its metadata ([`Auth::service_account`]) | a signed assertion, [RFC 7523](https://www.rfc-editor.org/rfc/rfc7523#section-2.1) |
/// | `grant_type` = `client_credentials` ([`Auth::client_credentials`]) | the client's own secret, [RFC 6749 section 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4) |
/// | an [`Exchange`] in its metadata ([`Auth::workload`]), or a Google file of type `external_account` ([`Auth::external_account`]) | token exchange, [RFC 8693](https://www.rfc-editor.org/rfc/rfc8693), or a JWT, [RFC 7523](https://www.rfc-editor.org/rfc/rfc7523) |
/// | a login that another program holds ([`import`](crate::import)) | none: that program's file is read again |
/// | anything else | its refresh token: [`refresh_grant`] |
///
/// Each is a form (JSON where an exchange says so), sent once over a connection of its own within 30 seconds. The new access token goes where the old one
/// is, else to the top of the metadata; its end likewise, into `expires_at` where there is none yet.
///
/// A **client** has the settings of [`refresh_grant`], of which `token_url`, `client_id` and `client_secret` are needed. No
/// refresh token is requested or kept.
///
/// A **service account** is the JSON file that Google gives out: `client_email`, `private_key` (PEM), and where they are
/// there `private_key_id` and `token_uri`. They are members of the metadata, or of an object or text `service_account` in
/// it. These attributes change the request:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `scope` | the scopes, with spaces between them | `https://www.googleapis.com/auth/cloud-platform` and `https://www.googleapis.com/auth/generative-language.retriever` |
/// | `subject` | the user as which the account acts, in a domain that allows it | none |
/// | `token_url` | where to ask; what the assertion says of its audience stays | `token_uri`, else `https://oauth2.googleapis.com/token` |
///
/// An **exchange** sends `subject_token` and `subject_token_type`, or `assertion`, or `client_assertion` and `client_assertion_type`, as its
/// grant calls for, with its own parameters; with attributes `client_id` and `client_secret` also an `Authorization` header. The subject token is got
/// anew each time: 64 KiB at most. A metadata server is asked by `GET`. A service account is impersonated with the token that was got, by a second
/// request in JSON; only the last token is kept.
///
/// ```
/// use credpool::provider::refresh_tokens;
/// use credpool::testing::{GeminiUpstream, KeyBehaviour, service_account_file};
/// use credpool::{Attempt, Auth, SystemClock};
///
/// let upstream = GeminiUpstream::start();
/// let file = service_account_file(&upstream.token_url());
/// upstream.set_service_account(&file, KeyBehaviour::Serve);
///
/// let auth = Auth::service_account("gemini", &file)?;
/// let auth = refresh_tokens(&Attempt::for_tests(SystemClock), &auth)?;
/// assert_eq!(auth.metadata.unwrap().text("access_token"), Some("access-1"));
/// # Ok::<(), credpool::Error>(())
/// ```
///
/// # Errors
/// As [`refresh_grant`]. What a server has against an exchange is `refresh_failed`, and is tried again: the next subject token may be better. So is a
/// subject token that cannot be got. A client or a service account that the server refuses, that is not fit for use, or that belongs to
/// a record without metadata (which has no place for a token) is code `config`. Messages never quote a key, an assertion or
/// a secret.
pub fn refresh_tokens(attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
    let request = match ServiceAccount::of(auth) {
        Some(account) => service_account::request(attempt, auth, account)?,
        None if auth.uses_client_credentials() => client_credentials::request(auth)?,
        None => {
            return match Exchange::of(auth) {
                Some(exchange) => exchange::run(attempt, auth, exchange),
                None => refresh_grant(attempt, auth),
            };
        }
    };
    asked(attempt, auth, request, Place::TOP)
}

/// Gets new tokens with the credential's refresh token, as [RFC 6749 section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)
/// describes it, and returns the record with them. [`refresh_tokens`] does that and more.
///
/// The request is a form, sent once over a connection of its own within 30 seconds. Its settings are attributes, else
/// members of the metadata, else of a nested `token` object:
///
/// | name | meaning | default |
/// |---|---|---|
/// | `token_url` (or `token_uri`) | where to ask; `https`, or this machine | needed; with `type` = `authorized_user` ([`Auth::authorized_user`]) `https://oauth2.googleapis.com/token` |
/// | `client_id`, `client_secret`, `scope` | sent where they are set | |
/// | `client_auth` | `body`, or `basic` for an `Authorization` header (section 2.3.1) | `body` |
///
/// The refresh token is in the metadata, at its top or inside a nested `token` or `Token` object. What is returned
/// (`access_token`, `refresh_token`, `token_type`, `scope`, `id_token`) replaces what is there under the same name, and goes
/// beside the refresh token otherwise. Without a new refresh token the old one stays. The end of the token is put in place of
/// what says it so far, in its form, else into `expires_at`; an answer that names no lifetime above zero leaves none. So does the
/// time of the refresh, where `last_refresh`, `lastRefresh`, `last_refreshed_at` or `lastRefreshedAt` is there.
///
/// An answer may bring a new refresh token and no access token. It is kept all the same, because the old refresh token may be
/// spent; the record's tokens end now then, and the next refresh gets the access token with the new one.
///
/// ```
/// use credpool::{Attempt, Auth, Error, OAuthTokens};
///
/// fn refresh(attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
///     credpool::provider::refresh_grant(attempt, auth)
/// }
///
/// let auth = Auth::oauth("openai", OAuthTokens::new("access").with_refresh_token("refresh"))
///     .with_attribute("token_url", "https://login.example.org/token")
///     .with_attribute("client_id", "my-app");
/// ```
///
/// # Errors
/// Code `needs_login` when there is no refresh token or the server no longer takes it (`invalid_grant` and its relatives) or
/// asks for a person (`interaction_required`, `login_required`, `consent_required`);
/// `config` when a setting is missing or wrong, or the server does not know the client (`invalid_client`); `transport` when
/// there was no answer; `refresh_failed` with the HTTP status for every other answer. Retryable are `transport` and answers
/// 408, 429 and 5xx. Messages quote the answer's `error` and `error_description` alone.
pub fn refresh_grant(attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
    if let Some(tokens) = held::tokens(auth, attempt.clock().now()) {
        return tokens;
    }
    let (request, place) = refresh_token::request(auth)?;
    asked(attempt, auth, request, place)
}

fn asked(
    attempt: &Attempt,
    auth: &Auth,
    request: TokenRequest<'_>,
    place: Place,
) -> Result<Auth, Error> {
    let json = request.send(attempt, auth)?;
    Ok(refreshed(attempt, auth, &json, place))
}

fn refreshed(attempt: &Attempt, auth: &Auth, json: &Value, place: Place) -> Auth {
    let answer = Answer::read(json, attempt.clock().now());
    let mut refreshed = auth.clone();
    refreshed.metadata = Some(place.merged(auth, &answer));
    refreshed
}
