//! What to do, said once for all credentials that need the same.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::advice::{Action, Advice};
use crate::output::{Output, Tone};
use crate::report::{State, named};
use crate::text::{listed, wrapped};

/// What one credential needs.
pub(super) struct Errand<'a> {
    pub(super) id: &'a str,
    pub(super) provider: &'a str,
    pub(super) advice: &'a Advice,
}

impl<'a> Errand<'a> {
    pub(super) fn of(id: &'a str, provider: &'a str, state: &'a State) -> Self {
        let advice = &state.advice;
        Self {
            id,
            provider,
            advice,
        }
    }
}

/// A heading and the errands, those of a person first; nothing where there are none.
pub(super) fn lines<'a>(
    errands: impl Iterator<Item = Errand<'a>>,
    output: &Output,
    width: usize,
) -> Vec<String> {
    let mut alike: BTreeMap<(Reverse<Action>, &str), Vec<Errand<'a>>> = BTreeMap::new();
    for errand in errands.filter(|errand| errand.advice.action != Action::None) {
        let Advice { action, text } = *errand.advice;
        alike
            .entry((Reverse(action), text))
            .or_default()
            .push(errand);
    }
    if alike.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![output.paint(Tone::Heading, "What to do")];
    for ((Reverse(action), text), of) in alike {
        let text = match of.as_slice() {
            [one] => named(text, one.provider, one.id),
            _ => text.to_owned(),
        };
        let names = listed(of.iter().map(|errand| errand.id), MOST_NAMED);
        for line in wrapped(&format!("{names}: {text}"), width.min(WIDEST)) {
            lines.push(output.paint(action.tone(), &line));
        }
    }
    lines
}

/// Of more credentials the number is enough.
const MOST_NAMED: usize = 8;

/// Longer lines are hard to read.
const WIDEST: usize = 100;
