//! The assertion of a Google service account: [RFC 7523](https://www.rfc-editor.org/rfc/rfc7523), as in
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::endpoint::{Grant, TokenRequest, check_place};
use super::setting::GOOGLE;
use crate::auth::{Auth, ServiceAccount, make_room};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::executor::Attempt;

pub(super) fn request<'a>(
    attempt: &Attempt,
    auth: &'a Auth,
    account: Result<ServiceAccount, &str>,
) -> Result<TokenRequest<'a>, Error> {
    let unfit = |what: &str| auth.unfit(&format!("its service account cannot be used: {what}"));
    check_place(auth)?;
    let account = account.map_err(unfit)?;
    let assertion = assertion(auth, &account, attempt.clock().now()).map_err(unfit)?;
    let token_url = match auth.attributes.filled("token_url") {
        Some(token_url) => Cow::Borrowed(token_url),
        None => Cow::Owned(audience(&account).to_owned()),
    };
    let mut request = TokenRequest::new(Grant::ServiceAccount, token_url);
    request.secret_field("assertion", &assertion);
    Ok(request)
}

/// The claims, signed: header, claims and signature of
/// [RFC 7515 section 3.1](https://www.rfc-editor.org/rfc/rfc7515#section-3.1).
fn assertion(
    auth: &Auth,
    account: &ServiceAccount,
    now: Timestamp,
) -> Result<Zeroizing<String>, &'static str> {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.private_key_id {
        header["kid"] = id.as_str().into();
    }
    let issued_at = now.unix_timestamp();
    let mut claims = json!({
        "iss": account.client_email,
        "scope": auth.attributes.filled("scope").unwrap_or(SCOPE),
        "aud": audience(account),
        "iat": issued_at,
        "exp": issued_at.saturating_add(LIFETIME),
    });
    if let Some(subject) = auth.attributes.filled("subject") {
        claims["sub"] = subject.into();
    }
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut assertion = Zeroizing::new(format!("{}.{}", part(header), part(claims)));
    let signature = account.sign(assertion.as_bytes())?;
    make_room(&mut assertion, 1 + 4 * signature.len().div_ceil(3));
    assertion.push('.');
    assertion.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(assertion)
}

/// The audience of an assertion: the server's own name, whatever its address.
fn audience(account: &ServiceAccount) -> &str {
    account.token_uri.as_deref().unwrap_or(GOOGLE)
}

/// What <https://ai.google.dev/gemini-api/docs/oauth> asks for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform \
                     https://www.googleapis.com/auth/generative-language.retriever";

/// The longest that Google takes, in seconds.
const LIFETIME: i64 = 3600;
