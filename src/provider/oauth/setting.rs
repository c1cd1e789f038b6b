//! Settings of a credential's grant: attributes, else metadata.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::auth::{Auth, make_room};
use crate::error::Error;
use crate::percent::encoded;

/// Where to ask for tokens. Google's files of a user's login never say so; Google's libraries know.
pub(super) fn token_url(auth: &Auth) -> Result<&str, Error> {
    auth.setting("token_url")
        .or_else(|| auth.setting("token_uri"))
        .or_else(|| auth.is_authorized_user().then_some(GOOGLE))
        .ok_or_else(|| auth.unfit("a refresh needs attribute token_url"))
}

/// `Basic` and the client's name and secret, in the encoding of
/// [RFC 6749 section 2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1).
pub(super) fn basic(id: &str, secret: &str) -> Zeroizing<String> {
    let mut pair = Zeroizing::default();
    make_room(&mut pair, 3 * (id.len() + secret.len()) + 1);
    pair.extend(encoded(id));
    pair.push(':');
    pair.extend(encoded(secret));
    let mut text = Zeroizing::default();
    make_room(&mut text, "Basic ".len() + 4 * pair.len().div_ceil(3));
    text.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut text);
    text
}

/// Google's token endpoint: <https://developers.google.com/identity/protocols/oauth2/web-server#offline>.
pub(super) const GOOGLE: &str = "https://oauth2.googleapis.com/token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_is_asked_for_its_own_files_alone() {
        let user = Auth::new("gemini").with_metadata("type", "authorized_user");
        assert_eq!(
            token_url(&user).unwrap(),
            "https://oauth2.googleapis.com/token"
        );
        let placed = user.with_metadata("token_uri", "https://login.example.org/token");
        assert_eq!(
            token_url(&placed).unwrap(),
            "https://login.example.org/token"
        );
        for kind in ["external_account", "gemini", ""] {
            token_url(&Auth::new("gemini").with_metadata("type", kind)).unwrap_err();
        }
    }
}
