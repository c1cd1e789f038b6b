//! The client credentials grant: [RFC 6749 section 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4).

use super::endpoint::{Grant, TokenRequest, check_place};
use super::setting::token_url;
use crate::auth::Auth;
use crate::error::Error;

pub(super) fn request(auth: &Auth) -> Result<TokenRequest<'_>, Error> {
    check_place(auth)?;
    for name in ["client_id", "client_secret"] {
        if auth.setting(name).is_none() {
            let what = format!("the client credentials grant needs attribute {name}");
            return Err(auth.unfit(&what));
        }
    }
    let mut request = TokenRequest::new(Grant::ClientCredentials, token_url(auth)?);
    request.add_client(auth)?;
    request.add_scope(auth);
    Ok(request)
}
