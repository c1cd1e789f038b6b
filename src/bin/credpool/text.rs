//! Texts from stores and vendors, fit for a terminal.

use std::borrow::Cow;

use console::measure_text_width;

/// A text without control characters: a record or an answer could move the cursor otherwise.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// `1 credential`, `40 credentials`.
pub(crate) fn count(number: usize, one: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {one}{end}")
}

/// Some names, and how many more there are.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let mut names = names.into_iter();
    let mut text: Vec<&str> = names.by_ref().take(most).collect();
    let more = names.count();
    let and = format!("and {more} more");
    if more > 0 {
        text.push(&and);
    }
    text.join(", ")
}

/// A paragraph as lines that fit, all but the first indented.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(20);
    let mut lines = Vec::new();
    let mut line = String::from(" ");
    for word in clean(text).split_whitespace() {
        let is_begun = !line.trim().is_empty();
        if is_begun && measure_text_width(&line) + 1 + measure_text_width(word) > width {
            lines.push(std::mem::replace(&mut line, String::from("   ")));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Whether a store's place of a record (an id, a path, a key) is that of this id.
pub(crate) fn is_place_of(place: &str, id: &str) -> bool {
    let name = place.rsplit(['/', '#']).next().unwrap_or_default();
    let file = [".credential", ".json"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    [place, name].contains(&id) || file == Some(id) || place == format!("{id:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_taken_out() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{9b}d"), "a [2Jb  c d");
        assert!(matches!(clean("ordinary, größer"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_list_says_how_many_more_there_are() {
        assert_eq!(listed(["a", "b"], 2), "a, b");
        assert_eq!(listed(["a", "b", "c", "d"], 2), "a, b, and 2 more");
        assert_eq!(count(1, "credential"), "1 credential");
    }

    #[test]
    fn a_place_is_that_of_an_id() {
        for place in ["a", "\"a\"", "a.credential", "sub/a.json", "/x.db#a"] {
            assert!(is_place_of(place, "a"), "{place}");
        }
        for place in ["banana", "banana.credential", "a.state", ""] {
            assert!(!is_place_of(place, "a"), "{place}");
        }
    }
}
