//! [`Signer`]: signs requests as a whole.

use http::request::Parts;

use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::error::Error;

/// Signs requests whose head and body are complete: for a vendor whose credentials are not sent, but prove themselves by a signature over
/// each request. See [`Vendor::signer`](super::Vendor::signer).
///
/// ```
/// use credpool::provider::http::Signer;
/// use credpool::{Auth, Error, Timestamp};
/// use http::HeaderValue;
/// use http::request::Parts;
///
/// /// A signature that is the sum of the body's bytes and the key's.
/// struct Sum;
///
/// impl Signer for Sum {
///     fn sign(&self, auth: &Auth, head: &mut Parts, body: &[u8], _: Timestamp) -> Result<(), Error> {
///         let key = auth.attributes.get("api_key").unwrap_or_default();
///         let sum: u32 = key.bytes().chain(body.iter().copied()).map(u32::from).sum();
///         let mut value = HeaderValue::from(sum);
///         value.set_sensitive(true);
///         head.headers.insert("x-signature", value);
///         Ok(())
///     }
///
///     fn largest_body(&self) -> usize {
///         1 << 20
///     }
/// }
/// ```
pub trait Signer: Send + Sync {
    /// Signs a request at the time `now` of the manager's clock: changes its headers, and nothing else of its head.
    ///
    /// # Errors
    /// Code `config`, about the credential, where it has nothing to sign with.
    fn sign(&self, auth: &Auth, head: &mut Parts, body: &[u8], now: Timestamp)
    -> Result<(), Error>;

    /// How many bytes the body of a [raw call](crate::Manager::execute_raw) may have that comes from a reader. It is read into memory
    /// before anything is sent; a longer one is refused with code `config`.
    fn largest_body(&self) -> usize;

    /// Whether another signature will do than that of `request`, by what an answer with an error status tells: the server's time, for
    /// example. The request is then signed and sent once more, within the same attempt. Never by default.
    fn learns_from(&self, request: &Parts, refused: &Error, now: Timestamp) -> bool {
        let _ = (request, refused, now);
        false
    }
}
