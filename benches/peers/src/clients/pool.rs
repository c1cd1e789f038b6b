//! The pool, with its executor for OpenAI and its default settings.

use std::fs;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::pick;
use credpool::{Auth, Manager, Options, Request};

use super::{Blocking, control};
use crate::load::elapsed_micros;
use crate::protocol::{EVENTS, MODEL, Outcome, Setup, payload};

pub(super) struct Pool {
    manager: Manager,
    setup: Setup,
    plain: Request,
    streamed: Request,
}

impl Pool {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        Ok(Self {
            manager: manager(setup, setup.credentials)?,
            setup: setup.clone(),
            plain: Request::new(MODEL, payload(false)),
            streamed: Request::new(MODEL, payload(true)),
        })
    }

    fn plain_call(&self, manager: &Manager) {
        let response = manager.execute(["openai"], &self.plain, &Options::new());
        assert!(response.expect("an answer").reply_text.is_some());
    }
}

impl Blocking for Pool {
    fn call(&self, stream: bool) {
        if !stream {
            self.plain_call(&self.manager);
            return;
        }
        let chunks = self
            .manager
            .execute_stream(["openai"], &self.streamed, &Options::new());
        let chunks = chunks
            .expect("a stream")
            .map(|chunk| chunk.expect("a chunk"));
        assert_eq!(chunks.count(), EVENTS);
    }

    fn fail_over(&self, status: u16) -> Option<u32> {
        // Keys without a past; the connection is there.
        let manager = manager(&self.setup, 2).expect("a pool");
        self.plain_call(&manager);
        self.plain_call(&manager);
        control(&self.setup.base_url, &format!("/fail/{status}")).expect("the upstream");
        let start = Instant::now();
        self.plain_call(&manager);
        let took = elapsed_micros(start);
        manager.shutdown(Duration::from_secs(10)).expect("an end");
        Some(took)
    }

    fn pick(&self) {
        assert!(pick(&self.manager, "openai", MODEL, &Options::new()));
    }
}

fn manager(setup: &Setup, credentials: usize) -> Outcome<Manager> {
    let mut builder = Manager::builder();
    if let Some(root) = &setup.root {
        builder = builder.root_certificates(fs::read(root)?);
    }
    let manager = builder.build()?;
    manager.register_executor(OpenAi::new());
    for number in 0..credentials {
        let auth = Auth::api_key("openai", format!("sk-bench-{number:06}"))
            .with_id(format!("credential-{number:06}"))
            .with_attribute("base_url", &*setup.base_url);
        manager.register(auth)?;
    }
    Ok(manager)
}
