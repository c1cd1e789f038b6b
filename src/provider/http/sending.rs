//! Sending one request of a call, signed where the credential signs.

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};

use super::call::VendorCall;
use crate::error::{Error, ErrorCode};
use crate::executor::Body;
use crate::request::RequestBody;
use crate::transport::Limits;

impl VendorCall<'_> {
    /// Sends a request, signed where the credential signs. An answer with another status than `accepts` takes is an error: a redirect,
    /// too, so that a key is never carried on to another place.
    pub(super) fn send_signed(
        &self,
        head: Parts,
        body: RequestBody,
        limits: &Limits,
        accepts: fn(StatusCode) -> bool,
    ) -> Result<Response<Body>, Error> {
        let send = |head: Parts, body: RequestBody, limits: &Limits| {
            let request = Request::from_parts(head, body);
            let answer = self.attempt.send(self.auth, request, limits)?;
            if accepts(answer.status()) {
                Ok(answer)
            } else {
                Err(self.upstream_error(answer))
            }
        };
        let Some(signer) = self.vendor.signer(self.auth) else {
            return send(head, body, limits);
        };
        let clock = self.attempt.clock();
        let body = whole(&body, signer.largest_body())?;
        let sign = || {
            let mut head = head.clone();
            signer.sign(self.auth, &mut head, &body, clock.now())?;
            Ok::<_, Error>(head)
        };
        let begun = clock.monotonic();
        let signed = sign()?;
        let sent = send(signed.clone(), body.clone().into(), limits);
        match &sent {
            Err(refused) if signer.learns_from(&signed, refused, clock.now()) => {
                log::debug!(
                    "credential {}: its signature was refused: {refused}; signing once more",
                    self.auth.id
                );
                let took = clock.monotonic().saturating_duration_since(begun);
                send(sign()?, body.clone().into(), &limits.after(took))
            }
            _ => sent,
        }
    }
}

/// All of a body, which a signature needs before the first byte is sent.
fn whole(body: &RequestBody, limit: usize) -> Result<Bytes, Error> {
    if let Some(bytes) = body.as_bytes() {
        return Ok(bytes.clone());
    }
    let read = body.read_whole(limit).map_err(|error| {
        let what = format!("the body of the request could not be read: {error}");
        Error::new(ErrorCode::Config, what)
    });
    read?.ok_or_else(|| {
        let what = format!(
            "the request is signed with its body, which is read into memory and may have {limit} bytes at most"
        );
        Error::new(ErrorCode::Config, what)
    })
}
