//! The clients that are measured, each in a process of its own.

mod bare;
mod pool;
mod with_reqwest;
mod with_ureq;

use std::future::Future;
use std::io::{BufRead, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::protocol::{Job, Measured, Outcome, Setup, payload};
use crate::{load, machine};

pub(crate) use bare::control;

/// What is measured. The pool is in all figures, the others in those where they have a counterpart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `credpool` with its executor for OpenAI.
    Pool,
    /// `ureq`, with as many idle connections as there are callers.
    Ureq,
    /// `ureq` as it is by default: three idle connections to a host.
    UreqDefaults,
    ReqwestBlocking,
    ReqwestAsync,
    /// The Router of `LiteLLM`, on asyncio.
    Litellm,
    /// Bytes that were made before, on bare sockets: how much the upstream can answer.
    Bare,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Pool => "credpool",
            Self::Ureq => "ureq",
            Self::UreqDefaults => "ureq, defaults",
            Self::ReqwestBlocking => "reqwest, blocking",
            Self::ReqwestAsync => "reqwest, async",
            Self::Litellm => "LiteLLM Router",
            Self::Bare => "bare sockets",
        }
    }

    /// Its name as an argument of this program.
    pub(crate) fn argument(self) -> String {
        let name = serde_json::to_string(&self).unwrap_or_default();
        name.trim_matches('"').to_owned()
    }
}

/// A client that blocks. A call that fails panics, which ends the process.
pub(crate) trait Blocking: Sync {
    fn call(&self, stream: bool);

    /// How long a call takes whose first attempt is answered with `status`, or with none where it is 0.
    fn fail_over(&self, _status: u16) -> Option<u32> {
        None
    }

    /// Picks a credential, without a call.
    fn pick(&self) {}
}

pub(crate) trait Asynchronous: Send + Sync {
    fn call(&self, stream: bool) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a client without a pool sends, and where to.
struct Calls {
    url: String,
    plain: String,
    streamed: String,
}

impl Calls {
    fn new(setup: &Setup) -> Self {
        let url = format!("{}/chat/completions", setup.base_url);
        Self {
            url,
            plain: payload(false),
            streamed: payload(true),
        }
    }
}

/// How many events with content a stream has, line by line.
fn events_in(mut lines: impl BufRead) -> usize {
    let (mut line, mut events) = (String::new(), 0);
    while lines.read_line(&mut line).expect("a line") > 0 {
        events += usize::from(line.starts_with("data: {"));
        line.clear();
    }
    events
}

enum Client {
    Blocking(Box<dyn Blocking>),
    Asynchronous(tokio::runtime::Runtime, Arc<dyn Asynchronous>),
}

impl Client {
    fn start(kind: Kind, setup: &Setup) -> Outcome<Self> {
        Ok(match kind {
            Kind::Pool => Self::Blocking(Box::new(pool::Pool::new(setup)?)),
            Kind::Ureq => Self::Blocking(Box::new(with_ureq::Raw::new(setup, true)?)),
            Kind::UreqDefaults => Self::Blocking(Box::new(with_ureq::Raw::new(setup, false)?)),
            Kind::ReqwestBlocking => {
                Self::Blocking(Box::new(with_reqwest::RawBlocking::new(setup)?))
            }
            Kind::Bare => Self::Blocking(Box::new(bare::Bare::new(setup))),
            Kind::ReqwestAsync => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let client = Arc::new(with_reqwest::RawAsync::new(setup)?);
                Self::Asynchronous(runtime.enable_all().build()?, client)
            }
            Kind::Litellm => return Err("the Router is no client of this program".into()),
        })
    }

    fn run(&self, job: &Job) -> Outcome<Measured> {
        match (self, job) {
            (Self::Blocking(client), Job::Calls(load)) => Ok(load::blocking(&**client, load)),
            (Self::Asynchronous(runtime, client), Job::Calls(load)) => {
                Ok(load::asynchronous(runtime, client, load))
            }
            (Self::Blocking(client), Job::First) => {
                client.call(false);
                Ok(Measured::default())
            }
            (Self::Asynchronous(runtime, client), Job::First) => {
                runtime.block_on(client.call(false));
                Ok(Measured::default())
            }
            (Self::Blocking(client), Job::Picks { times }) => {
                let start = Instant::now();
                (0..*times).for_each(|_| client.pick());
                Ok(Measured {
                    calls: u64::from(*times),
                    seconds: start.elapsed().as_secs_f64(),
                    ..Measured::default()
                })
            }
            (Self::Blocking(client), Job::Failovers { status, times }) => {
                let took = (0..*times).map(|_| client.fail_over(*status));
                let micros = took.collect::<Option<Vec<u32>>>();
                Ok(Measured {
                    micros: micros.ok_or("this client does not fail over")?,
                    ..Measured::default()
                })
            }
            (Self::Asynchronous(..), Job::Picks { .. } | Job::Failovers { .. }) => {
                Err("this client has no pool".into())
            }
        }
    }
}

/// The process of a client: a set-up, then jobs, until the standard input ends.
pub(crate) fn serve(kind: Kind) -> Outcome<()> {
    // A caller that panics would otherwise leave the others waiting.
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        std::process::exit(1);
    }));
    let mut lines = std::io::stdin().lock().lines();
    let setup: Setup = serde_json::from_str(&lines.next().ok_or("no set-up")??)?;
    machine::stay_on(&setup.cores);
    let client = Client::start(kind, &setup)?;
    let mut answers = std::io::stdout().lock();
    for line in lines {
        let measured = client.run(&serde_json::from_str(&line?)?)?;
        writeln!(answers, "{}", serde_json::to_string(&measured)?)?;
        answers.flush()?;
    }
    Ok(())
}
