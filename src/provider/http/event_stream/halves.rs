//! [`ReplyHalves`]: characters that were cut in two between pieces of a reply.

use crate::json::Halves;
use crate::request::{StreamChunk, ToolCallDelta};

/// Puts halves of characters together, for each text of a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyHalves {
    text: Halves,
    reasoning: Halves,
    arguments: Halves,
    /// The tool call whose arguments came last.
    call: usize,
}

impl ReplyHalves {
    /// Whether a piece ended in the middle of a character.
    pub(super) fn are_open(&self) -> bool {
        self.text.are_open() || self.reasoning.are_open() || self.arguments.are_open()
    }

    /// Joins what a chunk brings to what was held back.
    pub(super) fn join(&mut self, chunk: &mut StreamChunk, has_progressed: bool) {
        join_text(&mut self.text, &mut chunk.text, has_progressed);
        join_text(&mut self.reasoning, &mut chunk.reasoning, has_progressed);
        self.join_arguments(&mut chunk.tool_calls, has_progressed);
    }

    fn join_arguments(&mut self, calls: &mut Vec<ToolCallDelta>, has_progressed: bool) {
        let mut lost = Vec::new();
        for call in calls.iter_mut() {
            if call.index != self.call {
                lost.extend(self.give_up());
                self.call = call.index;
            }
            call.arguments = self.arguments.joined(&call.arguments);
        }
        if calls.is_empty() && has_progressed {
            lost.extend(self.give_up());
        }
        calls.extend(lost);
    }

    /// What is left of a character in the arguments of the last call, whose other half has not come.
    fn give_up(&mut self) -> Option<ToolCallDelta> {
        let rest = self.arguments.given_up();
        let delta = ToolCallDelta::new(self.call).with_arguments(rest);
        (!rest.is_empty()).then_some(delta)
    }
}

fn join_text(halves: &mut Halves, piece: &mut Option<String>, has_progressed: bool) {
    let joined = match piece {
        Some(text) => halves.joined(text),
        None if has_progressed => halves.given_up().to_owned(),
        None => return,
    };
    *piece = Some(joined).filter(|text| !text.is_empty());
}
