//! `check`: asks each credential's vendor whether it accepts the credential. Nothing is recorded, and no token is spent.

use std::cmp::Reverse;
use std::fmt::Write;
use std::io::Read;
use std::sync::Arc;

use credpool::{
    Attempt, Auth, CallHandle, Clock, Error, ErrorCode, Expiry, FailureKind, FailurePolicy, Format,
    Manager, Options, ProviderExecutor, RawRequest, Request, RequestBody, Response, SystemClock,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::check_calls::{Call, call_for};
use super::errands::{self, Errand};
use crate::advice::{Action, Advice, kind_of, name_of};
use crate::args::Check;
use crate::failure::{Exit, Failed, Failure};
use crate::moment::{exact, now};
use crate::output::{Output, Tone, note};
use crate::pool::{Editor, Pool, is_of};
use crate::report::{Problem, named, said};
use crate::store::{IfMissing, Opened, Place};
use crate::table::{Column, Table};
use crate::text::count;
use crate::vendors::{executor, is_known};

/// What a vendor says of a credential: the element of `checked` in the document.
#[derive(Debug, Serialize)]
struct Verdict {
    id: String,
    provider: String,
    kind: &'static str,
    result: Answer,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// Why it was not asked, or in a few words what is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(skip)]
    advice: Advice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// The vendor accepts it.
    Accepted,
    /// It was not asked: there is no call for that, or the credential is disabled.
    NotAsked,
    /// It accepts it, and has no room for it now: a rate limit, or a fault of its own.
    Unclear,
    /// It refuses it, or cannot be asked with it.
    Refused,
}

pub(super) fn run(place: &Place, check: &Check, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let mut records = chosen(&opened, check)?;
    if check.refresh {
        records = refreshed(&opened, check, &records)?;
    }
    let mut verdicts = ask_all(&records, check)?;
    verdicts.sort_by_key(|verdict| Reverse((verdict.action, verdict.result)));
    let is_well = verdicts
        .iter()
        .all(|verdict| verdict.result < Answer::Unclear);
    if output.json {
        let document = serde_json::json!({
            "store": opened.name,
            "at": exact(now()),
            "checked": verdicts,
        });
        output.document(&document)?;
    } else {
        for line in lines(&verdicts, output) {
            output.line(&line)?;
        }
    }
    Ok(if is_well { Exit::Well } else { Exit::Unwell })
}

/// The records that are named; else those of the provider.
fn chosen(opened: &Opened, check: &Check) -> Result<Vec<Arc<Auth>>, Failed> {
    let pool = Pool::look(&*opened.store())?;
    let is_chosen = |auth: &Arc<Auth>| is_of(auth, check.provider.as_deref());
    let records: Result<Vec<_>, _> = match check.ids.as_slice() {
        [] => Ok(pool.records()),
        ids => ids.iter().map(|id| pool.record(id)).collect(),
    };
    Ok(records?.into_iter().filter(is_chosen).collect())
}

/// Refreshes the logins whose token has ended, and reads the records again.
fn refreshed(
    opened: &Opened,
    check: &Check,
    records: &[Arc<Auth>],
) -> Result<Vec<Arc<Auth>>, Failed> {
    let ended: Vec<_> = records
        .iter()
        .filter(|auth| has_ended(auth) && !auth.disabled)
        .collect();
    if ended.is_empty() {
        return Ok(records.to_vec());
    }
    let editor = Editor::open_with_keys(opened)?;
    for auth in ended {
        if let Err(error) = editor.manager.refresh_now(&auth.id) {
            note(&format!("{} was not refreshed: {error}", auth.id));
        }
    }
    editor.close()?;
    chosen(opened, check)
}

/// Asks for all of them concurrently, on the threads of a manager that has no store.
fn ask_all(records: &[Arc<Auth>], check: &Check) -> Result<Vec<Verdict>, Failed> {
    let manager = Manager::builder()
        .policy(once())
        .max_job_threads(check.parallel.into())
        .job_queue(records.len().max(1))
        .build()?;
    let bar = progress(records.len());
    let mut verdicts = Vec::new();
    let mut asked: Vec<(&Arc<Auth>, CallHandle)> = Vec::new();
    for auth in records {
        match ask_for(auth, !check.ids.is_empty()) {
            Ok(ask) => asked.push((auth, submit(&manager, auth, ask, check, &bar)?)),
            Err(verdict) => {
                bar.inc(1);
                verdicts.push(*verdict);
            }
        }
    }
    for (auth, answer) in asked {
        verdicts.push(Verdict::of(auth, &answer.wait()));
    }
    bar.finish_and_clear();
    Ok(verdicts)
}

/// One attempt, and its error as it is.
fn once() -> FailurePolicy {
    FailurePolicy::default()
        .without_waiting()
        .with_transient_attempts(1)
        .with_outage_detection(None)
        .with_pacing(false)
}

fn submit(
    manager: &Manager,
    auth: &Auth,
    ask: Ask,
    check: &Check,
    bar: &ProgressBar,
) -> Result<CallHandle, Failed> {
    // Without its state: a cooldown keeps no credential from being asked.
    let mut asked = Auth::new(&*auth.provider).with_id(&*auth.id);
    asked.attributes = auth.attributes.clone();
    asked.metadata.clone_from(&auth.metadata);
    asked.proxy_url = auth.proxy_url.clone();
    for name in LIMITS {
        asked.attributes.remove(name);
    }
    manager.register_executor(Asker {
        provider: auth.provider.clone(),
        ask,
        bar: bar.clone(),
    });
    manager.register(asked.runtime_only())?;
    let request = Request::new("", "{}");
    let options = Options::new()
        .with_pinned(&*auth.id)
        .with_timeout(check.timeout)
        .with_max_attempts(1);
    Ok(manager.submit([&auth.provider], request, options)?)
}

/// What a vendor is asked.
struct Ask {
    vendor: Box<dyn ProviderExecutor>,
    path: String,
}

/// What would keep a credential from being asked, here alone.
const LIMITS: [&str; 5] = ["limit_group", "max_concurrent", "models", "rpm", "tpm"];

/// Asks a vendor by its call, and never refreshes a token.
struct Asker {
    provider: String,
    ask: Ask,
    bar: ProgressBar,
}

impl ProviderExecutor for Asker {
    fn identifier(&self) -> &str {
        &self.provider
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let answer = self.ask(attempt, auth, options);
        self.bar.inc(1);
        answer
    }

    fn speaks(&self, _: &Format) -> bool {
        true
    }
}

impl Asker {
    fn ask(&self, attempt: &Attempt, auth: &Auth, options: &Options) -> Result<Response, Error> {
        let Ask { vendor, path } = &self.ask;
        let request = http::Request::get(&**path).body(RequestBody::empty());
        let request = RawRequest::from(request.map_err(Error::other)?);
        let answer = vendor.execute_raw(attempt, auth, &request, options)?;
        // The connection is not needed again; what a vendor lists does not matter.
        let mut start = Vec::new();
        let read = answer.body.take(START).read_to_end(&mut start);
        read.map_err(credpool::Body::error_in)?;
        Ok(Response::new(start))
    }
}

/// So much of an answer is read.
const START: u64 = 64 << 10;

fn has_ended(auth: &Auth) -> bool {
    matches!(auth.expiration_time(), Expiry::At(end) if end <= SystemClock.now())
        && auth.attributes.get("api_key").is_none()
}

/// What the vendor is asked; else why it is not.
fn ask_for(auth: &Auth, is_named: bool) -> Result<Ask, Box<Verdict>> {
    let verdict = |result, action, why: &str, text: &'static str| {
        Err(Box::new(Verdict {
            id: auth.id.clone(),
            provider: auth.provider.clone(),
            kind: kind_of(auth),
            result,
            action,
            fault: None,
            what_to_do: what_to_do(text, auth),
            error: None,
            why: why.to_owned(),
            advice: Advice { action, text },
        }))
    };
    if auth.disabled && !is_named {
        return verdict(Answer::NotAsked, Action::None, "disabled", "");
    }
    if auth.is_sealed() {
        let what = "name the keys of the store: `--seal-key-file FILE`";
        return verdict(Answer::Refused, Action::Act, "sealed", what);
    }
    let vendor = executor(&auth.provider);
    let is_placed = is_known(&auth.provider) || auth.attributes.get("base_url").is_some();
    let path = match call_for(&auth.provider, &*vendor, is_placed) {
        Call::Get(path) => path,
        Call::None(why) => return verdict(Answer::NotAsked, Action::None, why, ""),
    };
    if auth.status == credpool::Status::Pending && auth.generation() == 0 {
        let what = "log in for the first time: `credpool login ID`";
        return verdict(Answer::Refused, Action::Act, "no login yet", what);
    }
    if has_ended(auth) {
        if auth.attributes.get("held_by").is_some() {
            let what = "run the program that owns the login once: it alone renews the token";
            return verdict(Answer::Refused, Action::Act, "the token has ended", what);
        }
        let what = "the next call renews it; `credpool check ID --refresh` does it now";
        return verdict(Answer::NotAsked, Action::Wait, "the token has ended", what);
    }
    Ok(Ask { vendor, path })
}

impl Verdict {
    fn of(auth: &Auth, answer: &Result<Response, Error>) -> Self {
        let fault = answer.as_ref().err().map(fault_of);
        let advice = match fault {
            None => Advice::NONE,
            Some(FailureKind::NotFound) => Advice {
                action: Action::Act,
                text: "correct its address, the setting base_url: `credpool show ID`",
            },
            Some(fault) => Advice::of_fault(fault, auth),
        };
        let action = advice.action;
        Self {
            id: auth.id.clone(),
            provider: auth.provider.clone(),
            kind: kind_of(auth),
            result: match action {
                Action::None => Answer::Accepted,
                Action::Wait => Answer::Unclear,
                Action::Act => Answer::Refused,
            },
            action,
            fault: fault.map(FailureKind::as_str),
            what_to_do: what_to_do(advice.text, auth),
            why: match (&answer, fault) {
                (Err(error), Some(fault)) => format!("{}: {}", name_of(fault), said(error)),
                _ => String::new(),
            },
            error: answer.as_ref().err().map(|error| Problem {
                code: error.code().as_str().to_owned(),
                http_status: error.http_status(),
                message: error.message().to_owned(),
            }),
            advice,
        }
    }
}

fn what_to_do(text: &str, auth: &Auth) -> Option<String> {
    (!text.is_empty()).then(|| named(text, &auth.provider, &auth.id))
}

/// What an error means. One that is no vendor's answer is about the way to it, or about the credential's settings.
fn fault_of(error: &Error) -> FailureKind {
    match error.code() {
        ErrorCode::Config => FailureKind::Misconfigured,
        ErrorCode::DeadlineExceeded | ErrorCode::Transport => FailureKind::Transient,
        _ => FailurePolicy::default().classify(error).fault,
    }
}

fn progress(length: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("asking the vendors {bar:30} {pos}/{len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

const COLUMNS: [Column; 4] = [
    Column {
        name: "CREDENTIAL",
        from_width: 0,
        most: 28,
    },
    Column {
        name: "PROVIDER",
        from_width: 76,
        most: 18,
    },
    Column {
        name: "RESULT",
        from_width: 0,
        most: 10,
    },
    Column {
        name: "WHY",
        from_width: 0,
        most: 200,
    },
];

fn lines(verdicts: &[Verdict], output: &Output) -> Vec<String> {
    let mut table = Table::of(&COLUMNS);
    for verdict in verdicts {
        let (result, tone) = match verdict.result {
            Answer::Accepted => ("accepted", Tone::Good),
            Answer::NotAsked => ("not asked", Tone::Quiet),
            Answer::Unclear => ("unclear", Tone::Waiting),
            Answer::Refused => ("refused", Tone::Bad),
        };
        let cells = vec![
            verdict.id.clone(),
            verdict.provider.clone(),
            result.to_owned(),
            verdict.why.clone(),
        ];
        table.row(&cells, tone);
    }
    let width = output.width();
    let mut lines = if verdicts.is_empty() {
        Vec::new()
    } else {
        table.lines(output, width)
    };
    let of = |answer| {
        verdicts
            .iter()
            .filter(|verdict| verdict.result == answer)
            .count()
    };
    let mut sums = format!(
        "{}: {} accepted",
        count(verdicts.len(), "credential"),
        of(Answer::Accepted)
    );
    for (answer, what) in [
        (Answer::Refused, "refused"),
        (Answer::Unclear, "unclear"),
        (Answer::NotAsked, "not asked"),
    ] {
        if of(answer) > 0 {
            let _ = write!(sums, ", {} {what}", of(answer));
        }
    }
    lines.push(String::new());
    lines.push(output.paint(Tone::Heading, &sums));
    let errands = verdicts.iter().map(|verdict| Errand {
        id: &verdict.id,
        provider: &verdict.provider,
        advice: &verdict.advice,
    });
    let errands = errands::lines(errands, output, width);
    lines.extend((!errands.is_empty()).then(String::new));
    lines.extend(errands);
    lines
}
