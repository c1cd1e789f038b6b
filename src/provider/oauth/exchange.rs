//! Token exchange, JWT grants and metadata servers: the requests of an [`Exchange`].

use http::header::AUTHORIZATION;
use serde_json::Value;

use super::endpoint::{Grant, TokenRequest, check_place, text};
use super::merge::Place;
use super::{refreshed, subject};
use crate::auth::{
    Auth, BodyForm, CLOUD_PLATFORM, Exchange, ExchangeGrant, Expiry, Impersonation, Wiped,
    read_time_text,
};
use crate::clock::until;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::percent::encoded;
use crate::provider::http::bearer_value;

pub(super) fn run(
    attempt: &Attempt,
    auth: &Auth,
    exchange: Result<Exchange, String>,
) -> Result<Auth, Error> {
    check_place(auth)?;
    let exchange = exchange
        .map_err(|what| auth.unfit(&format!("its token exchange cannot be used: {what}")))?;
    let mut json = request(attempt, auth, &exchange)?.send(attempt, auth)?;
    if let Some(impersonation) = &exchange.impersonation {
        json = impersonate(attempt, auth, impersonation, &json)?;
    }
    Ok(refreshed(attempt, auth, &json, Place::TOP))
}

fn request<'a>(
    attempt: &Attempt,
    auth: &Auth,
    exchange: &'a Exchange,
) -> Result<TokenRequest<'a>, Error> {
    let grant = Grant::Exchange(exchange.grant);
    let mut request = if exchange.grant == ExchangeGrant::MetadataServer {
        TokenRequest::new(grant, with_query(exchange))
    } else {
        TokenRequest::new(grant, &*exchange.token_url).with_body(exchange.body)
    };
    for (name, value) in &exchange.headers {
        let (name, value) = subject::header(auth, name, value)?;
        request.header(name, value);
    }
    let Some(source) = &exchange.subject else {
        return Ok(request);
    };
    let subject = subject::get(attempt, auth, source)?;
    match exchange.grant {
        ExchangeGrant::TokenExchange => {
            request.secret_field("subject_token", subject.expose());
            request.shown_field("subject_token_type", &exchange.subject_token_type);
        }
        ExchangeGrant::JwtBearer => request.secret_field("assertion", subject.expose()),
        ExchangeGrant::ClientAssertion => {
            request.shown_field("client_assertion_type", CLIENT_ASSERTION_TYPE);
            request.secret_field("client_assertion", subject.expose());
        }
        ExchangeGrant::MetadataServer => {}
    }
    for (name, value) in &exchange.parameters {
        request.shown_field(name.as_str(), value);
    }
    if auth.setting("client_secret").is_some() {
        request.add_client_header(auth)?;
    }
    Ok(request)
}

/// The address of a metadata server with the parameters.
fn with_query(exchange: &Exchange) -> String {
    let mut url = exchange.token_url.clone();
    for (name, value) in &exchange.parameters {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend(encoded(name));
        url.push('=');
        url.extend(encoded(value));
    }
    url
}

/// Trades the token for one of a service account:
/// <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>.
fn impersonate(
    attempt: &Attempt,
    auth: &Auth,
    impersonation: &Impersonation,
    json: &Value,
) -> Result<Wiped<Value>, Error> {
    let token = text(json, "access_token").unwrap_or_default();
    let grant = Grant::Impersonation;
    let mut request = TokenRequest::new(grant, &*impersonation.url).with_body(BodyForm::Json);
    request.header(AUTHORIZATION, bearer_value(auth, token)?);
    let scope = auth.attributes.filled("scope").unwrap_or(CLOUD_PLATFORM);
    request.list_field("scope", scope);
    request.shown_field("lifetime", &format!("{}s", impersonation.lifetime));
    let mut answer = request.send(attempt, auth)?;
    let end = text(&answer, "expireTime").and_then(read_time_text);
    let Some(end) = end.and_then(Expiry::at) else {
        let what = "the impersonation's answer does not say when its token ends";
        return Err(Error::new(ErrorCode::RefreshFailed, what).with_auth_id(&auth.id));
    };
    answer["expires_in"] = until(attempt.clock().now(), end).as_secs().into();
    Ok(answer)
}

/// [RFC 7523 section 2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2).
const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
