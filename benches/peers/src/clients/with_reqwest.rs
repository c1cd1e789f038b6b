//! `reqwest`, blocking, and on tokio's runtime for several threads: the answer's bytes, which are not parsed.

use std::fs;
use std::future::Future;
use std::io::BufReader;
use std::pin::Pin;

use reqwest::{Certificate, Client, Response, blocking};

use super::{Asynchronous, Blocking, Calls, events_in};
use crate::protocol::{EVENTS, Outcome, Setup};

pub(super) struct RawBlocking {
    client: blocking::Client,
    calls: Calls,
}

pub(super) struct RawAsync {
    client: Client,
    calls: Calls,
}

fn root(setup: &Setup) -> Outcome<Option<Certificate>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = setup.root.as_ref().map(fs::read).transpose()?;
    Ok(pem.map(|pem| Certificate::from_pem(&pem)).transpose()?)
}

impl RawBlocking {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        let mut client = blocking::Client::builder();
        if let Some(root) = root(setup)? {
            client = client.tls_certs_only([root]);
        }
        let (client, calls) = (client.build()?, Calls::new(setup));
        Ok(Self { client, calls })
    }

    fn post(&self, payload: &str) -> blocking::Response {
        let request = self.client.post(&self.calls.url);
        let answer = request
            .header("authorization", "Bearer sk-bench")
            .header("content-type", "application/json")
            .body(payload.to_owned())
            .send();
        answer
            .and_then(blocking::Response::error_for_status)
            .expect("an answer")
    }
}

impl Blocking for RawBlocking {
    fn call(&self, stream: bool) {
        if stream {
            let answer = self.post(&self.calls.streamed);
            assert_eq!(events_in(BufReader::new(answer)), EVENTS);
        } else {
            let body = self.post(&self.calls.plain).bytes().expect("a body");
            assert!(body.ends_with(b"}"));
        }
    }
}

impl RawAsync {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        let mut client = Client::builder();
        if let Some(root) = root(setup)? {
            client = client.tls_certs_only([root]);
        }
        let (client, calls) = (client.build()?, Calls::new(setup));
        Ok(Self { client, calls })
    }

    async fn post(&self, payload: &str) -> Response {
        let request = self.client.post(&self.calls.url);
        let answer = request
            .header("authorization", "Bearer sk-bench")
            .header("content-type", "application/json")
            .body(payload.to_owned())
            .send();
        answer
            .await
            .and_then(Response::error_for_status)
            .expect("an answer")
    }

    async fn plain(&self) {
        let answer = self.post(&self.calls.plain).await;
        let body = answer.bytes().await.expect("a body");
        assert!(body.ends_with(b"}"));
    }

    async fn streamed(&self) {
        let mut answer = self.post(&self.calls.streamed).await;
        let (mut line, mut events) = (Vec::new(), 0);
        while let Some(bytes) = answer.chunk().await.expect("a part of the body") {
            let mut rest = &bytes[..];
            while let Some(end) = memchr::memchr(b'\n', rest) {
                line.extend_from_slice(&rest[..end]);
                events += usize::from(line.starts_with(b"data: {"));
                line.clear();
                rest = &rest[end + 1..];
            }
            line.extend_from_slice(rest);
        }
        assert_eq!(events, EVENTS);
    }
}

impl Asynchronous for RawAsync {
    fn call(&self, stream: bool) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        if stream {
            Box::pin(self.streamed())
        } else {
            Box::pin(self.plain())
        }
    }
}
