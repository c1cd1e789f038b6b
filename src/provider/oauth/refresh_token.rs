//! The refresh grant: [RFC 6749 section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6).

use super::endpoint::{Grant, TokenRequest};
use super::merge::Place;
use super::setting::token_url;
use crate::auth::{Auth, TOKEN_OBJECTS};
use crate::error::{Error, ErrorCode};

/// The request, and where the tokens are in the metadata.
pub(super) fn request(auth: &Auth) -> Result<(TokenRequest<'_>, Place), Error> {
    let (token, place) = refresh_token(auth)?;
    let mut request = TokenRequest::new(Grant::RefreshToken, token_url(auth)?);
    request.refresh_token(token);
    request.add_client(auth)?;
    request.add_scope(auth);
    Ok((request, place))
}

fn refresh_token(auth: &Auth) -> Result<(&str, Place), Error> {
    let metadata = auth.metadata.as_ref();
    let top = metadata.and_then(|metadata| metadata.text("refresh_token"));
    let nested = TOKEN_OBJECTS.iter().map(|name| {
        let token = metadata?.get(name)?.get("refresh_token")?.as_str();
        Some((token?, Place::inside(name)))
    });
    std::iter::once(top.map(|token| (token, Place::WITH_REFRESH_TOKEN)))
        .chain(nested)
        .flatten()
        .find(|(token, _)| !token.is_empty())
        .ok_or_else(|| {
            let what = format!(
                "credential {:?} has no refresh token: log in again",
                auth.id
            );
            Error::new(ErrorCode::NeedsLogin, what).with_auth_id(&auth.id)
        })
}
