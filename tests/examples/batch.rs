//! `batch`: killed, interrupted and failed runs, each taken up by the next one, and what it says at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use credpool::testing::{
    AnthropicUpstream, Gate, KeyBehaviour, OpenAiUpstream, ReceivedRequest, Reply, Upstream,
};
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, SOON, example};

const THREADS: usize = 16;

/// The files of a batch.
struct Batch {
    directory: TempDir,
    prompts: usize,
}

impl Batch {
    fn of(prompts: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lines: Vec<_> = (1..=prompts).map(|n| format!("prompt {n}")).collect();
        fs::write(directory.path().join("prompts"), lines.join("\n")).unwrap();
        Self { directory, prompts }
    }

    fn results(&self) -> PathBuf {
        self.directory.path().join("results")
    }

    fn command(&self) -> Command {
        let mut command = example("batch");
        command.arg(self.directory.path().join("prompts"));
        command.arg(self.results());
        command
    }

    /// With one key for this server.
    fn start(&self, upstream: &Upstream) -> Program {
        let mut command = self.command();
        command.env("OPENAI_API_KEY", "sk-1");
        Program::start(command.env("OPENAI_BASE_URL", upstream.url()))
    }

    /// Every line is whole.
    fn answers(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.results()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The prompts that have an answer: the right one, and only one.
    fn answered(&self) -> BTreeSet<String> {
        let answers = self.answers();
        let prompts: BTreeSet<_> = answers
            .iter()
            .map(|answer| text(&answer["prompt"]))
            .collect();
        assert_eq!(prompts.len(), answers.len(), "a prompt has two answers");
        for answer in &answers {
            assert_eq!(
                text(&answer["reply"]),
                format!("Re: {}", text(&answer["prompt"]))
            );
        }
        prompts
    }

    /// Runs it at a server that answers; the prompts that were asked.
    fn run_to_the_end(&self) -> BTreeSet<String> {
        let (upstream, asked) = upstream(reply);
        let (code, said) = self.start(&upstream).end();
        let whole = format!("{0} of {0} prompts have an answer", self.prompts);
        assert!(code == Some(0) && said.contains(&whole), "{code:?}: {said}");
        assert_eq!(self.answered().len(), self.prompts);
        let prompts: Vec<_> = asked.try_iter().collect();
        let distinct: BTreeSet<_> = prompts.iter().cloned().collect();
        assert_eq!(distinct.len(), prompts.len(), "a prompt was asked twice");
        distinct
    }
}

/// A server that tells which prompts it is asked.
fn upstream(
    answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> (Upstream, Receiver<String>) {
    let (sender, asked) = unbounded();
    let upstream = Upstream::start(move |request| {
        let prompt = prompt_of(request);
        let reply = answer(&prompt);
        let _ = sender.send(prompt);
        reply
    });
    (upstream, asked)
}

fn prompt_of(request: &ReceivedRequest) -> String {
    text(&request.json()["messages"][0]["content"])
}

fn reply(prompt: &str) -> Reply {
    let message = json!({"role": "assistant", "content": format!("Re: {prompt}")});
    let completion = json!({
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3},
    });
    Reply::json(200, completion.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Waits for so many prompts.
fn wait_for(asked: &Receiver<String>, prompts: usize) {
    for _ in 0..prompts {
        asked.recv_timeout(SOON).unwrap();
    }
}

#[test]
fn a_killed_run_is_taken_up_where_its_whole_lines_end() {
    const QUICK: usize = 20;
    let batch = Batch::of(60);
    let gate = Gate::new();
    let (stalling, asked) = upstream(move |prompt| {
        let number: usize = prompt.strip_prefix("prompt ").unwrap().parse().unwrap();
        match reply(prompt) {
            quick if number <= QUICK => quick,
            slow => slow.stall_before_head(&gate),
        }
    });
    let program = batch.start(&stalling);
    // Then each thread waits for a slow answer, so that it has handed over all others.
    wait_for(&asked, QUICK + THREADS);
    program.kill();
    assert!(batch.answered().len() >= QUICK - 1);

    // As if the machine had stopped in the middle of a line.
    let file = File::options().write(true).open(batch.results()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    let text = fs::read_to_string(batch.results()).unwrap();
    let kept = text.lines().count() - 1;

    let asked = batch.run_to_the_end();
    assert_eq!(asked.len(), batch.prompts - kept);
    let whole = text.lines().take(kept);
    let whole: Vec<Value> = whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        batch.answers()[..kept],
        whole[..],
        "the lines of before are as they were"
    );
    assert!(batch.run_to_the_end().is_empty(), "nothing is missing");
}

#[test]
fn ctrl_c_waits_for_the_calls_under_way_and_the_next_run_goes_on() {
    let batch = Batch::of(50);
    let gate = Gate::new();
    let (stalling, asked) = upstream({
        let gate = gate.clone();
        move |prompt| reply(prompt).stall_before_head(&gate)
    });
    let mut program = batch.start(&stalling);
    wait_for(&asked, THREADS);
    program.interrupt();
    program.wait_for("Ctrl-C again");
    gate.open();
    let (code, said) = program.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("16 of 50 prompts have an answer"), "{said}");
    assert_eq!(batch.answered().len(), THREADS);
    assert_eq!(stalling.request_count(), THREADS, "nothing new was asked");
    assert_eq!(batch.run_to_the_end().len(), 50 - THREADS);
}

#[test]
fn a_second_ctrl_c_abandons_the_calls_under_way() {
    let batch = Batch::of(50);
    let gate = Gate::new();
    let (stalling, asked) = upstream(move |prompt| reply(prompt).stall_before_head(&gate));
    let mut program = batch.start(&stalling);
    wait_for(&asked, THREADS);
    program.interrupt();
    program.wait_for("Ctrl-C again");
    program.interrupt();
    let (code, said) = program.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("0 of 50 prompts have an answer"), "{said}");
    for _ in 0..THREADS {
        assert!(stalling.wait_abandoned(SOON), "nobody pays for the rest");
    }
    assert_eq!(batch.run_to_the_end().len(), 50);
}

#[test]
fn a_prompt_that_fails_is_told_and_asked_again_by_the_next_run() {
    let batch = Batch::of(30);
    let (refusing, _asked) = upstream(|prompt| match prompt {
        "prompt 7" => Reply::json(400, r#"{"error":{"message":"I cannot read that."}}"#),
        prompt => reply(prompt),
    });
    let (code, said) = batch.start(&refusing).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("\"prompt 7\"") && said.contains("I cannot read that."),
        "{said}"
    );
    assert!(said.contains("29 of 30 prompts have an answer"), "{said}");
    let again = batch.run_to_the_end();
    assert_eq!(again, BTreeSet::from(["prompt 7".to_owned()]));
}

#[test]
fn a_batch_ends_when_no_key_is_left() {
    let batch = Batch::of(500);
    let (refusing, _asked) = upstream(|_| Reply::json(401, r#"{"error":{"message":"No."}}"#));
    let (code, said) = batch.start(&refusing).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("openai-1: cooling for 30m"), "{said}");
    assert!(said.contains("0 of 500 prompts have an answer"), "{said}");
    assert!(
        refusing.request_count() <= THREADS,
        "{}",
        refusing.request_count()
    );
    assert!(said.matches("\"prompt ").count() <= 2 * THREADS, "{said}");
}

#[test]
fn two_runs_do_not_write_to_the_same_results() {
    let batch = Batch::of(20);
    let gate = Gate::new();
    let (stalling, asked) = upstream(move |prompt| reply(prompt).stall_before_head(&gate));
    let first = batch.start(&stalling);
    wait_for(&asked, THREADS);
    let (code, said) = batch.start(&stalling).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another run writes to"), "{said}");
    assert_eq!(stalling.request_count(), THREADS);
    first.kill();
    assert_eq!(batch.run_to_the_end().len(), 20, "the dead run has no lock");
}

#[test]
fn the_cost_of_each_key_is_that_of_its_answers_over_all_runs() {
    let batch = Batch::of(40);
    let (openai, anthropic) = (OpenAiUpstream::start(), AnthropicUpstream::start());
    openai.set_key("sk-openai-a", KeyBehaviour::QuotaUsedUp);
    openai.set_key("sk-openai-b", KeyBehaviour::Serve);
    anthropic.set_key("sk-anthropic", KeyBehaviour::Serve);
    let mut command = batch.command();
    command.env("OPENAI_API_KEY", "sk-openai-a, sk-openai-b");
    command.env("OPENAI_BASE_URL", openai.base_url());
    command.env("ANTHROPIC_API_KEY", "sk-anthropic");
    command.env("ANTHROPIC_BASE_URL", anthropic.base_url());
    let (code, said) = Program::start(&mut command).end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("40 of 40 prompts have an answer"), "{said}");
    assert!(said.contains("openai-1: cooling for 30m"), "{said}");

    let mut by_key = BTreeMap::<String, (u64, u64)>::new();
    for answer in batch.answers() {
        assert_eq!(
            text(&answer["reply"]),
            format!("You said: {}", text(&answer["prompt"]))
        );
        let key = text(&answer["key"]);
        // Millionths of a dollar for a thousand tokens in and out.
        let (model, input, output) = match key.as_str() {
            "openai-2" => ("gpt-5-mini", 250, 2_000),
            "anthropic-1" => ("claude-haiku-4-5", 1_000, 5_000),
            other => panic!("{other} answered"),
        };
        assert_eq!(text(&answer["model"]), model);
        let tokens = |kind: &str| answer["usage"][kind].as_u64().unwrap();
        let of_key = by_key.entry(key).or_default();
        of_key.0 += 1;
        of_key.1 += input * tokens("input") + output * tokens("output");
    }
    assert_eq!(by_key.len(), 2, "both vendors were asked");
    let shown = |said: &str| {
        for (key, (answers, billionths)) in &by_key {
            let line = said.lines().find(|line| line.starts_with(key)).unwrap();
            assert!(line.contains(&format!(" {answers} answers")), "{line}");
            assert!(
                line.ends_with(&format!("$0.{:06}", billionths / 1_000)),
                "{line}"
            );
        }
    };
    shown(&said);
    let results = fs::read_to_string(batch.results()).unwrap();
    assert!(
        !said.contains("sk-") && !results.contains("sk-"),
        "a key is shown"
    );

    let (code, said) = Program::start(&mut command).end();
    assert_eq!(code, Some(0), "{said}");
    shown(&said);
    assert_eq!(
        openai.calls("sk-openai-b") + anthropic.calls("sk-anthropic"),
        40
    );
}

#[test]
fn without_arguments_and_keys_it_shows_what_it_does() {
    let (code, said) = Program::start(&mut example("batch")).end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("200 of 200 prompts have an answer"), "{said}");
}
