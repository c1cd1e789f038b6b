//! Many prompts over all keys of two vendors, on 16 threads, with progress and the cost of each key: `cargo run --example batch`.
//!
//! `cargo run --example batch -- PROMPTS RESULTS` asks each line of the file `PROMPTS` once and appends a line of JSON for each answer to
//! `RESULTS`. Run it again, after a crash, Ctrl-C or failures: it asks only what has no answer there. Ctrl-C waits for the calls under way,
//! a second one abandons them. Exit codes: 0 every prompt has an answer, 1 some failed, 130 Ctrl-C.
//!
//! The keys are in `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`, several separated by commas; `OPENAI_BASE_URL` and `ANTHROPIC_BASE_URL` change
//! where they are used. Without keys, servers on loopback answer; without arguments, the prompts are made up. `RUST_LOG=credpool=debug` shows
//! which key fails, and for how long it is not used.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use credpool::provider::{Anthropic, OpenAi};
use credpool::testing::{AnthropicUpstream, KeyBehaviour, OpenAiUpstream};
use credpool::{
    Auth, Availability, CancelToken, Error, ErrorCode, FailurePolicy, Manager, Options, Request,
    Usage,
};
use crossbeam_channel::{Receiver, bounded, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;

type Failure = Box<dyn StdError>;

const THREADS: usize = 16;
const GPT: &str = "gpt-5-mini";
const CLAUDE: &str = "claude-haiku-4-5";

fn main() -> Result<ExitCode, Failure> {
    env_logger::init();
    let scratch = tempfile::tempdir()?;
    let mut paths = env::args_os().skip(1).map(PathBuf::from);
    let prompts = match paths.next() {
        Some(path) => fs::read_to_string(path)?,
        None => {
            let squares = (1..=200).map(|n| format!("What is {n} squared?"));
            squares.collect::<Vec<_>>().join("\n")
        }
    };
    let results = paths.next().unwrap_or(scratch.path().join("results"));
    let mut results = Results::open(&results)?;
    let mut known = results.prompts.clone();
    let missing = prompts
        .lines()
        .filter(|prompt| !prompt.trim().is_empty() && known.insert((*prompt).to_owned()));
    let (sender, missing_prompts) = unbounded();
    missing.for_each(|prompt| drop(sender.send(prompt.to_owned())));
    drop(sender);

    // A longer wait than that needs a person: nothing is waited for then.
    let policy = FailurePolicy::default().with_max_wait(Duration::from_secs(600));
    let manager = Manager::builder().policy(policy).build()?;
    manager.register_executor(OpenAi::new());
    manager.register_executor(Anthropic::new());
    for (provider, vendor) in [("openai", "OPENAI"), ("anthropic", "ANTHROPIC")] {
        let variable = |name| env::var(format!("{vendor}_{name}")).unwrap_or_default();
        let (keys, base_url) = (variable("API_KEY"), variable("BASE_URL"));
        register(&manager, provider, &keys, &base_url)?;
    }
    let stand_ins = stand_ins(&manager)?;

    let (stop, abandon) = (CancelToken::new(), CancelToken::new());
    let options = Options::new().with_cancel(abandon.clone());
    ctrlc::set_handler({
        let (stop, missing_prompts) = (stop.clone(), missing_prompts.clone());
        move || {
            if stop.is_cancelled() {
                return abandon.cancel();
            }
            stop.cancel();
            discard(&missing_prompts);
            eprintln!("Waiting for the calls under way; Ctrl-C again abandons them.");
        }
    })?;

    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {eta} left, {msg}")?;
    let progress = ProgressBar::new(known.len() as u64)
        .with_style(style)
        .with_position(results.prompts.len() as u64);
    let mut failed = 0;
    ask_all(&manager, &missing_prompts, &options, |answer| {
        match answer {
            Ok(answer) => {
                results.add(answer)?;
                progress.inc(1);
                progress.set_message(dollars(results.cost()));
            }
            Err(error) if error.code() == ErrorCode::Cancelled => {}
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprintln!("{error}"));
                if error.exhaustion().is_some() {
                    // No key is left.
                    discard(&missing_prompts);
                }
            }
        }
        Ok(())
    })?;
    progress.finish_and_clear();
    report(&results, known.len(), &manager);
    drop(stand_ins);
    Ok(match failed {
        _ if stop.is_cancelled() => ExitCode::from(130),
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Hands each answer to `record`, which is done with it before its thread asks for the next.
fn ask_all(
    manager: &Manager,
    prompts: &Receiver<String>,
    options: &Options,
    mut record: impl FnMut(Result<Answer, Error>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        let (sender, answers) = bounded(0);
        for _ in 0..THREADS {
            let sender = sender.clone();
            scope.spawn(move || {
                for prompt in prompts {
                    if sender.send(ask(manager, prompt, options)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        answers.into_iter().try_for_each(&mut record)
    })
}

fn ask(manager: &Manager, prompt: String, options: &Options) -> Result<Answer, Error> {
    let messages = json!([{"role": "user", "content": prompt}]);
    let claude = json!({"model": CLAUDE, "max_tokens": 4096, "messages": messages});
    let request = Request::from(json!({"model": GPT, "messages": messages})).for_provider(
        "anthropic",
        CLAUDE,
        claude.to_string(),
    );
    let response = manager
        .execute(["openai", "anthropic"], &request, options)
        .map_err(|error| error.context(format!("{prompt:?}")))?;
    Ok(Answer {
        prompt,
        reply: response.reply_text.unwrap_or_default(),
        finish_reason: response.finish_reason,
        key: response.auth_id.to_string(),
        model: response.sent_as.unwrap_or_else(|| GPT.into()).to_string(),
        usage: response.usage.unwrap_or_default(),
    })
}

/// A line of the results.
#[derive(Serialize, Deserialize)]
struct Answer {
    prompt: String,
    reply: String,
    finish_reason: Option<String>,
    key: String,
    model: String,
    usage: Usage,
}

/// The file of answers, and what they come to.
struct Results {
    file: File,
    prompts: HashSet<String>,
    by_key: BTreeMap<String, Spent>,
}

#[derive(Default)]
struct Spent {
    answers: u64,
    usage: Usage,
    cost: u64,
}

impl Results {
    /// A last line that a crash has cut is removed.
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock()
            .map_err(|error| format!("another run writes to {}: {error}", path.display()))?;
        let mut lines = Vec::new();
        file.read_to_end(&mut lines)?;
        let whole = lines
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut results = Self {
            file,
            prompts: HashSet::new(),
            by_key: BTreeMap::new(),
        };
        for answer in serde_json::Deserializer::from_slice(&lines[..whole]).into_iter() {
            results.count(answer?);
        }
        Ok(results)
    }

    fn add(&mut self, answer: Answer) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.count(answer);
        Ok(())
    }

    fn cost(&self) -> u64 {
        self.by_key.values().map(|spent| spent.cost).sum()
    }

    fn count(&mut self, answer: Answer) {
        let spent = self.by_key.entry(answer.key).or_default();
        spent.answers += 1;
        spent.usage += answer.usage;
        spent.cost += cost(&answer.model, &answer.usage);
        self.prompts.insert(answer.prompt);
    }
}

/// In billionths of a dollar for a token: of the prompt, from the cache, into the cache, of the reply. Put the prices of your own models here.
fn cost(model: &str, usage: &Usage) -> u64 {
    let [input, cached, cache_written, output] = match model {
        GPT => [250, 25, 250, 2_000],
        _ => [1_000, 100, 1_250, 5_000],
    };
    let fresh = usage
        .input
        .saturating_sub(usage.cached + usage.cache_written);
    input * fresh
        + cached * usage.cached
        + cache_written * usage.cache_written
        + output * usage.output
}

fn dollars(billionths: u64) -> String {
    format!(
        "${}.{:06}",
        billionths / 1_000_000_000,
        billionths / 1_000 % 1_000_000
    )
}

fn report(results: &Results, wanted: usize, manager: &Manager) {
    println!(
        "{} of {wanted} prompts have an answer",
        results.prompts.len()
    );
    for (key, spent) in &results.by_key {
        let (answers, cost) = (spent.answers, dollars(spent.cost));
        let (input, output) = (spent.usage.input, spent.usage.output);
        println!("{key:<12} {answers:>6} answers {input:>9} tokens in {output:>9} out {cost:>12}");
    }
    for (provider, model) in [("openai", GPT), ("anthropic", CLAUDE)] {
        let keys = manager.explain(provider, model).into_iter();
        keys.filter(|key| key.availability != Availability::Ready)
            .for_each(|key| println!("{key}"));
    }
}

fn discard<T>(queue: &Receiver<T>) {
    queue.try_iter().for_each(drop);
}

/// Servers on loopback, for where there are no keys: one of theirs is out of quota.
fn stand_ins(manager: &Manager) -> Result<(OpenAiUpstream, AnthropicUpstream), Failure> {
    let (openai, anthropic) = (OpenAiUpstream::start(), AnthropicUpstream::start());
    if manager.list().is_empty() {
        openai.set_key("sk-1", KeyBehaviour::QuotaUsedUp);
        openai.set_key("sk-2", KeyBehaviour::Serve);
        anthropic.set_key("sk-3", KeyBehaviour::Serve);
        register(manager, "openai", "sk-1,sk-2", &openai.base_url())?;
        register(manager, "anthropic", "sk-3", &anthropic.base_url())?;
    }
    Ok((openai, anthropic))
}

fn register(manager: &Manager, provider: &str, keys: &str, base_url: &str) -> Result<(), Error> {
    for (number, key) in (1..).zip(keys.split_terminator(',')) {
        let auth = Auth::api_key(provider, key.trim()).with_id(format!("{provider}-{number}"));
        manager.register(auth.with_attribute("base_url", base_url))?;
    }
    Ok(())
}
