//! [`Members`]: the top level of a JSON object as places in its text, for edits that change nothing else of it.

use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The text with another string in a member of its top level, and nothing else changed. `None` where it is no JSON object, or has no such
/// member.
pub(crate) fn with_text(json: &[u8], name: &str, text: &str) -> Option<Bytes> {
    let place = Members::of(json)?.value(name)?;
    let text = serde_json::to_vec(text).ok()?;
    Some(
        [&json[..place.start], &text, &json[place.end..]]
            .concat()
            .into(),
    )
}

/// The string in a member of the top level of JSON.
pub(crate) fn text_of(json: &[u8], name: &str) -> Option<String> {
    let place = Members::of(json)?.value(name)?;
    serde_json::from_slice(&json[place]).ok()
}

/// The top level of a JSON object, as text.
pub(crate) struct Members<'a> {
    json: &'a [u8],
    /// Behind the opening brace.
    pub(crate) start: usize,
    pub(crate) is_empty: bool,
}

/// One member, as places in the text.
pub(crate) struct Member {
    pub(crate) name: String,
    /// With the space around it, without a comma.
    pub(crate) whole: Range<usize>,
    pub(crate) value: Range<usize>,
}

impl<'a> Members<'a> {
    pub(crate) fn of(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<IgnoredAny>(json).ok()?;
        let brace = skip_space(json, 0);
        let start = brace + 1;
        (json.get(brace) == Some(&b'{')).then(|| Self {
            json,
            start,
            is_empty: json.get(skip_space(json, start)) == Some(&b'}'),
        })
    }

    /// Where the value of the last member `name` is.
    pub(crate) fn value(&self, name: &str) -> Option<Range<usize>> {
        let members = self.members()?;
        let member = members.into_iter().rfind(|member| member.name == name);
        member.map(|member| member.value)
    }

    /// All members in their order; `None` where a name is no text.
    pub(crate) fn members(&self) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        let mut next = (!self.is_empty).then_some(self.start);
        while let Some(at) = next {
            let (name, end) = read::<String>(self.json, skip_space(self.json, at))?;
            let start = skip_space(self.json, skip_space(self.json, end) + 1);
            let (_, end) = read::<IgnoredAny>(self.json, start)?;
            let border = skip_space(self.json, end);
            members.push(Member {
                name,
                whole: at..border,
                value: start..end,
            });
            next = (self.json.get(border) == Some(&b',')).then_some(border + 1);
        }
        Some(members)
    }
}

/// The JSON value at `start`, and where it ends.
fn read<'a, T: serde::Deserialize<'a>>(json: &'a [u8], start: usize) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(json.get(start..)?).into_iter();
    let value = values.next()?.ok()?;
    Some((value, start + values.byte_offset()))
}

fn skip_space(json: &[u8], from: usize) -> usize {
    let rest = json.get(from..).unwrap_or_default();
    let space = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    from + space.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_changes_and_nothing_else() {
        for (json, expected) in [
            (
                r#" {"n":1.50, "model" : "a" ,"x":{"model":"a"}}"#,
                Some(r#" {"n":1.50, "model" : "b\"" ,"x":{"model":"a"}}"#),
            ),
            (r#"{"mod\u0065l":null}"#, Some(r#"{"mod\u0065l":"b\""}"#)),
            (r#"{"x":{"model":"a"}}"#, None),
            (r#"["model"]"#, None),
            ("{", None),
        ] {
            let changed = with_text(json.as_bytes(), "model", "b\"");
            assert_eq!(changed.as_deref(), expected.map(str::as_bytes), "{json}");
        }
    }
}
