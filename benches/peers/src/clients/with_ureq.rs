//! `ureq`, as a program uses it that needs no pool: the answer's bytes, which are not parsed.

use std::fs;
use std::io::BufReader;
use std::time::Instant;

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

use super::{Blocking, Calls, control, events_in};
use crate::load::elapsed_micros;
use crate::protocol::{EVENTS, Outcome, Setup};

pub(super) struct Raw {
    agent: Agent,
    base_url: String,
    calls: Calls,
}

impl Raw {
    /// Where `many` is false, the agent keeps as few idle connections as it does by default.
    pub(super) fn new(setup: &Setup, many: bool) -> Outcome<Self> {
        // By default a status is an error, and its body is lost.
        let mut config = Agent::config_builder().http_status_as_error(false);
        if many {
            config = config
                .max_idle_connections(1024)
                .max_idle_connections_per_host(1024);
        }
        if let Some(root) = &setup.root {
            let roots = [Certificate::from_pem(&fs::read(root)?)?];
            let roots = RootCerts::new_with_certs(&roots);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            agent: config.build().into(),
            base_url: setup.base_url.clone(),
            calls: Calls::new(setup),
        })
    }

    fn post(&self, key: &str, payload: &str) -> http::Response<Body> {
        self.agent
            .post(&self.calls.url)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .send(payload)
            .expect("an answer")
    }
}

impl Blocking for Raw {
    fn call(&self, stream: bool) {
        if stream {
            let answer = self.post("sk-bench", &self.calls.streamed);
            let events = events_in(BufReader::new(answer.into_body().into_reader()));
            assert_eq!(events, EVENTS);
        } else {
            let mut answer = self.post("sk-bench", &self.calls.plain);
            assert!(answer.status().is_success());
            let body = answer.body_mut().read_to_vec().expect("a body");
            assert!(body.ends_with(b"}"));
        }
    }

    /// By hand: the next key, immediately.
    fn fail_over(&self, status: u16) -> Option<u32> {
        control(&self.base_url, &format!("/fail/{status}")).ok()?;
        let start = Instant::now();
        for key in ["sk-first", "sk-second"] {
            let mut answer = self.post(key, &self.calls.plain);
            answer.body_mut().read_to_vec().expect("a body");
            if answer.status().is_success() {
                break;
            }
        }
        Some(elapsed_micros(start))
    }
}
