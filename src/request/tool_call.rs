//! [`ToolCall`] and [`ToolCallDelta`]: what a model asks the program to do.

use std::collections::BTreeMap;

/// A call of one of the program's tools that the model asks for. Tools that the vendor runs itself (a web search, for example) are none.
///
/// ```
/// use credpool::ToolCall;
///
/// let call = ToolCall::new("add", r#"{"a": 2, "b": 2}"#).with_id("call_1");
/// assert_eq!((call.name.as_str(), call.id.as_deref()), ("add", Some("call_1")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// Under which the tool's answer is sent back. Gemini gives none for many models.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// JSON text, `{}` where there are none. That of OpenAI's custom tools is plain text. The model wrote it: it may be no JSON, and where the
    /// reply was cut short, it ends in the middle.
    pub arguments: String,
}

/// What a chunk of a stream adds to one of the reply's tool calls. [`ToolCall::join`] puts them together.
///
/// ```
/// use credpool::{ToolCall, ToolCallDelta};
///
/// let deltas = [
///     ToolCallDelta::new(0).with_id("call_1").with_name("add"),
///     ToolCallDelta::new(0).with_arguments(r#"{"a": 2, "#),
///     ToolCallDelta::new(0).with_arguments(r#""b": 2}"#),
/// ];
/// assert_eq!(ToolCall::join(deltas)[0].arguments, r#"{"a": 2, "b": 2}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCallDelta {
    /// Which of the reply's tool calls, from zero on, in the order in which they begin.
    pub index: usize,
    /// The call's id: on its first delta.
    pub id: Option<String>,
    /// The tool's name: on its first delta.
    pub name: Option<String>,
    /// The next piece of the arguments; may be empty.
    pub arguments: String,
}

impl ToolCall {
    /// A call of a tool with arguments, which are JSON text.
    pub fn new(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            arguments: arguments.into(),
        }
    }

    /// Adds the call's id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The calls that the deltas of a stream come to, in the order of their indices.
    ///
    /// ```
    /// use credpool::{ToolCall, ToolCallDelta};
    ///
    /// let deltas = [
    ///     ToolCallDelta::new(0).with_id("call_1").with_name("weather"),
    ///     ToolCallDelta::new(0).with_arguments(r#"{"city":"#),
    ///     ToolCallDelta::new(0).with_arguments(r#""Rome"}"#),
    /// ];
    /// let whole = ToolCall::new("weather", r#"{"city":"Rome"}"#).with_id("call_1");
    /// assert_eq!(ToolCall::join(deltas), [whole]);
    /// ```
    pub fn join(deltas: impl IntoIterator<Item = ToolCallDelta>) -> Vec<Self> {
        let mut calls = BTreeMap::<usize, Self>::new();
        for delta in deltas {
            let call = calls.entry(delta.index).or_default();
            call.id = call.id.take().or(delta.id);
            if call.name.is_empty() {
                call.name = delta.name.unwrap_or_default();
            }
            call.arguments.push_str(&delta.arguments);
        }
        let whole = calls.into_values().map(|mut call| {
            if call.arguments.is_empty() {
                call.arguments.push_str("{}");
            }
            call
        });
        whole.collect()
    }
}

impl ToolCallDelta {
    /// Something of the call with this index.
    pub fn new(index: usize) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// Adds the call's id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds the tool's name.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds a piece of the arguments.
    pub fn with_arguments(mut self, arguments: impl Into<String>) -> Self {
        self.arguments = arguments.into();
        self
    }
}
