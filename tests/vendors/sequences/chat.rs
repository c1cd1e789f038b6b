//! Chat completions by stream: what every server may do, in the dialect of each.

mod dialects;
mod own;

use credpool::{FailureKind, Usage};
use serde_json::Value;

use super::{Body, Case, DONE, Want, data};
use crate::replay::Api;

/// How a vendor's ordinary stream looks.
struct Dialect {
    vendor: &'static str,
    source: &'static str,
    /// Before any content.
    greeting: Vec<Value>,
    /// What brings `Hi there`, in two pieces.
    content: [Value; 2],
    /// What ends the reply, and may follow its end.
    end: Vec<Value>,
    usage: Option<Usage>,
    /// Whether it closes with `[DONE]`.
    done: bool,
    /// How it says in mid-stream that something is wrong, and what that is.
    error: (Value, FailureKind),
}

impl Dialect {
    fn case(&self, name: &str, body: String, want: Want) -> Case {
        Case {
            vendor: self.vendor,
            name: name.to_owned(),
            source: self.source,
            api: Api::Chat,
            payload: None,
            body: Body::Stream(body),
            want,
        }
    }

    /// What every server may do.
    fn cases(&self) -> Vec<Case> {
        let [hi, there] = self.content.clone().map(|piece| data(&[piece]));
        let greeting = data(&self.greeting);
        let done = if self.done { DONE } else { "" };
        let (first, rest) = self.end.split_first().unwrap();
        let end = data(std::slice::from_ref(first));
        let after = data(rest);
        let whole = format!("{greeting}{hi}{there}{end}{after}");
        let error = data(std::slice::from_ref(&self.error.0));
        let ok = Want::Whole("Hi there", self.usage);
        vec![
            self.case("the ordinary stream", format!("{whole}{done}"), ok.clone()),
            self.case("the other way of ending", format!("{whole}{}", if self.done { "" } else { DONE }), ok.clone()),
            self.case(
                "line ends of two bytes, comments, an empty event and a byte order mark",
                format!("\u{feff}: hello\n\n{greeting}{hi}data:\n\n: still here\n\n{there}{end}{after}{done}").replace('\n', "\r\n"),
                ok.clone(),
            ),
            self.case(
                "the end without its blank line",
                format!("{greeting}{hi}{there}{}", end.trim_end()),
                Want::Whole("Hi there", None),
            ),
            self.case("cut after the greeting", greeting.clone(), Want::Next(Some(FailureKind::Transient))),
            self.case(
                "closed by [DONE] before the end",
                format!("{greeting}{hi}{there}{DONE}"),
                Want::Fails("Hi there", "stream_truncated"),
            ),
            self.case(
                "cut within its last event",
                format!("{greeting}{hi}{there}{}", &end[..end.len() - 4]),
                Want::Fails("Hi there", "stream_truncated"),
            ),
            self.case(
                "its error before any content",
                format!("{greeting}{error}{DONE}"),
                Want::Next(Some(self.error.1)),
            ),
            self.case(
                "its error after content",
                format!("{greeting}{hi}{error}"),
                Want::Fails("Hi", "upstream"),
            ),
        ]
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = dialects::all().iter().flat_map(Dialect::cases).collect();
    cases.extend(own::cases());
    cases
}
