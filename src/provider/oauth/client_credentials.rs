//! The client credentials grant: [RFC 6749 section 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4).

use super::endpoint::{Grant, TokenRequest, check_place};
use super::setting::{setting, token_url};
use crate::auth::Auth;
use crate::error::Error;
use crate::provider::http::credential_header;

pub(super) fn request(auth: &Auth) -> Result<TokenRequest<'_>, Error> {
    check_place(auth)?;
    for name in ["client_id", "client_secret"] {
        if setting(auth, name).is_none() {
            let what = format!("the client credentials grant needs attribute {name}");
            return Err(credential_header::config(auth, &what));
        }
    }
    let mut request = TokenRequest::new(Grant::ClientCredentials, token_url(auth)?);
    request.add_client(auth)?;
    if let Some(scope) = setting(auth, "scope") {
        request.field("scope", scope);
    }
    Ok(request)
}
