//! A form in memory ([RFC 7578](https://www.rfc-editor.org/rfc/rfc7578), `multipart/form-data`), with another text in one of its parts and
//! nothing else changed.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem;

/// A form: its bytes, and the boundary between its parts.
pub(crate) struct Form<'a> {
    body: &'a [u8],
    /// What each delimiter begins with, behind its line break.
    dash_boundary: Vec<u8>,
}

/// Why another text cannot be put in: a clause about the form.
pub(crate) type Refusal = &'static str;

/// One part: its header fields, with names in lower case, and where its content is, if it has a place.
struct Part {
    fields: Vec<(String, String)>,
    content: Option<Range<usize>>,
}

impl<'a> Form<'a> {
    /// The body as a form; `None` where the headers do not say that it is one.
    pub(crate) fn of(headers: &HeaderMap, body: &'a [u8]) -> Option<Result<Self, Refusal>> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (kind, parameters) = with_parameters(kind);
        kind.eq_ignore_ascii_case("multipart/form-data")
            .then(|| Self::by(headers, parameters, body))
    }

    fn by(
        headers: &HeaderMap,
        parameters: Option<Parameters>,
        body: &'a [u8],
    ) -> Result<Self, Refusal> {
        if headers.contains_key(CONTENT_ENCODING) {
            return Err("the form has a content-encoding");
        }
        let parameters = parameters.ok_or(NO_BOUNDARY)?;
        let boundary = only(&parameters, "boundary", NO_BOUNDARY)?.ok_or(NO_BOUNDARY)?;
        let is_one = headers.get_all(CONTENT_TYPE).iter().nth(1).is_none();
        // https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1
        if !is_one || !(1..=70).contains(&boundary.len()) {
            return Err(NO_BOUNDARY);
        }
        Ok(Self {
            body,
            dash_boundary: [b"--", boundary.as_bytes()].concat(),
        })
    }

    /// The form with this text in the one part of that name; `None` where no part has the name.
    ///
    /// # Errors
    /// Where servers may differ on which bytes are that part's text.
    pub(crate) fn with_text(&self, name: &str, text: &str) -> Result<Option<Bytes>, Refusal> {
        let place = self.place(name)?;
        if text.contains(['\r', '\n']) {
            return Err("a line break would go into the form");
        }
        let put = |place: Range<usize>| {
            let (before, after) = (&self.body[..place.start], &self.body[place.end..]);
            [before, text.as_bytes(), after].concat().into()
        };
        Ok(place.map(put))
    }

    /// The text of the one part of that name.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let place = self.place(name).ok()??;
        std::str::from_utf8(&self.body[place]).ok()
    }

    fn place(&self, name: &str) -> Result<Option<Range<usize>>, Refusal> {
        let mut place = None;
        self.each_part(&mut |part| {
            if part.name()?.as_deref() != Some(name) {
                return Ok(());
            }
            if place.is_some() {
                return Err("the form has more than one part for it");
            }
            place = Some(
                part.text()
                    .ok_or("the form's part for it is no plain text")?,
            );
            Ok(())
        })?;
        Ok(place)
    }

    fn each_part(&self, see: &mut dyn FnMut(Part) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let line = [b"\n", &self.dash_boundary[..]].concat();
        let first = self.body.starts_with(&self.dash_boundary).then_some(0);
        let others = memmem::find_iter(self.body, &line).map(|at| at + 1);
        let mut start = None;
        for at in first.into_iter().chain(others) {
            let before = self.body[..at].strip_suffix(b"\r\n");
            if at > 0 && before.is_none() {
                return Err(
                    "a line of the form begins with its boundary behind another line break than CRLF",
                );
            }
            if let (Some(start), Some(before)) = (start, before) {
                see(self.part(start, before.len())?)?;
            }
            let behind = at + self.dash_boundary.len();
            match self.end_of_delimiter(behind)? {
                Some(next) => start = Some(next),
                None => return Ok(()),
            }
        }
        Err("the form has no closing boundary")
    }

    /// Where the part behind a delimiter begins; `None` where it is the one that closes the form.
    fn end_of_delimiter(&self, behind: usize) -> Result<Option<usize>, Refusal> {
        let rest = &self.body[behind..];
        let (closes, rest) = match rest.strip_prefix(b"--") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        let rest = &rest[padding.count()..];
        match rest.strip_prefix(b"\r\n") {
            _ if closes && rest.is_empty() => Ok(None),
            Some(_) if closes => Ok(None),
            Some(next) => Ok(Some(self.body.len() - next.len())),
            None => Err("a line of the form begins with its boundary and goes on"),
        }
    }

    fn part(&self, start: usize, end: usize) -> Result<Part, Refusal> {
        // The line break of the delimiter behind it may be the one that ends its headers.
        let whole = self.body.get(start..end + 2).unwrap_or_default();
        let (head, content) = match whole.strip_prefix(b"\r\n") {
            Some(_) => (&whole[..0], start + 2),
            None => {
                let head = memmem::find(whole, b"\r\n\r\n");
                let head = head.ok_or("a part of the form has no end of its headers")?;
                (&whole[..head], start + head + 4)
            }
        };
        Ok(Part {
            fields: fields(&String::from_utf8_lossy(head))?,
            content: (content <= end).then_some(content..end),
        })
    }
}

impl Part {
    fn name(&self) -> Result<Option<String>, Refusal> {
        let Some(parameters) = self.disposition()? else {
            return Ok(None);
        };
        if parameters.iter().any(|(name, _)| name == "name*") {
            return Err("a part of the form spells its name in an extended form");
        }
        only(&parameters, "name", "a part of the form has two names")
    }

    fn disposition(&self) -> Result<Option<Parameters>, Refusal> {
        let odd = "a part of the form has a content-disposition that is none";
        let Some(disposition) = only(&self.fields, "content-disposition", odd)? else {
            return Ok(None);
        };
        with_parameters(&disposition).1.ok_or(odd).map(Some)
    }

    /// Where its content is, if that is text as it stands.
    fn text(self) -> Option<Range<usize>> {
        let disposition = self.disposition().ok()??;
        let is_file = |(name, _): &(String, String)| name.starts_with("filename");
        let field = |name| only(&self.fields, name, "").ok();
        let encoding = field("content-transfer-encoding")?.unwrap_or_default();
        let kind = field("content-type")?.unwrap_or_else(|| "text/plain".to_owned());
        let (kind, parameters) = with_parameters(&kind);
        let charset = only(&parameters?, "charset", "").ok()?.unwrap_or_default();
        let is_one_of = |word: &str, known: &[&str]| {
            let mut known = known.iter();
            known.any(|known| known.eq_ignore_ascii_case(word))
        };
        let is_text = !disposition.iter().any(is_file)
            && is_one_of(kind, &["text/plain"])
            && is_one_of(&charset, &["", "utf-8", "us-ascii"])
            && is_one_of(&encoding, &["", "7bit", "8bit", "binary"]);
        self.content.filter(|_| is_text)
    }
}

/// Names, in lower case, and values.
type Parameters = Vec<(String, String)>;

/// The value of a name; `None` where it has none.
///
/// # Errors
/// `twice` where it has two.
fn only(all: &Parameters, name: &str, twice: Refusal) -> Result<Option<String>, Refusal> {
    let mut values = all.iter().filter(|(known, _)| known == name);
    let value = values.next().map(|(_, value)| value.clone());
    if values.next().is_some() {
        return Err(twice);
    }
    Ok(value)
}

/// Header fields, those over several lines included.
fn fields(head: &str) -> Result<Parameters, Refusal> {
    let odd = "a part of the form has headers that are none";
    let mut fields = Parameters::new();
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        if line.contains(['\r', '\n']) {
            return Err(odd);
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut().ok_or(odd)?;
            value.push_str(line);
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(odd)?;
        fields.push((
            name.trim_end().to_ascii_lowercase(),
            value.trim().to_owned(),
        ));
    }
    Ok(fields)
}

/// A value and its parameters (<https://www.rfc-editor.org/rfc/rfc9110#section-5.6.6>); `None` instead of these where they are none.
fn with_parameters(text: &str) -> (&str, Option<Parameters>) {
    let (value, rest) = text.split_once(';').unwrap_or((text, ""));
    (value.trim(), parameters(rest))
}

fn parameters(text: &str) -> Option<Parameters> {
    let mut all = Parameters::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = behind.find(';').unwrap_or(behind.len());
                (behind[..end].trim().to_owned(), &behind[end..])
            }
        };
        all.push((name.trim().to_ascii_lowercase(), value));
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(';') {
            Some(next) => next.trim(),
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains([' ', '"', ';', ',']);
    all.iter().all(|(name, _)| is_name(name)).then_some(all)
}

/// The text up to the closing quote, and what stands behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

const NO_BOUNDARY: Refusal = "the form's content-type has no boundary";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
    }

    fn put(content_type: &str, body: &str) -> Option<Result<Option<String>, Refusal>> {
        let form = Form::of(&headers(content_type), body.as_bytes())?;
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        Some(form.and_then(|form| Ok(form.with_text("model", "new")?.map(text))))
    }

    const X: &str = "multipart/form-data; boundary=x";

    #[test]
    fn the_text_of_one_part_changes_and_no_other_byte() {
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\na--x \n--y\r\n-x\r--x\r\n";
        for (kind, head) in [
            (X, "Content-Disposition: form-data; name=\"model\""),
            (X, "content-disposition:form-data;name=model"),
            (X, "CONTENT-DISPOSITION: form-data ; NAME = \"mod\\el\" "),
            (X, "Content-Disposition: form-data;\r\n\tname=\"model\""),
            (
                X,
                "Content-Type: text/plain; charset=\"UTF-8\"\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit",
            ),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"x\"",
                "Content-Disposition: form-data; name=\"model\"",
            ),
        ] {
            for (before, after) in [("", ""), ("preamble\r\n", "\r\nepilogue\r\n--x\r\n")] {
                for old in ["old", "", "two\r\nlines", "a--x"] {
                    let body = |text: &str| {
                        format!(
                            "{before}--x\r\n{file}\r\n--x \t\r\n{head}\r\n\r\n{text}\r\n--x\r\n\r\nno name\r\n--x--{after}"
                        )
                    };
                    let form = headers(kind);
                    let (form, whole) = (&form, body(old));
                    let form = Form::of(form, whole.as_bytes()).unwrap().unwrap();
                    assert_eq!(form.text("model"), Some(old));
                    let found = put(kind, &body(old));
                    assert_eq!(found, Some(Ok(Some(body("new")))), "{kind} {head} {old}");
                }
            }
        }
    }

    #[test]
    fn what_servers_may_read_in_two_ways_is_refused() {
        let model = "Content-Disposition: form-data; name=\"model\"";
        let form = |parts: &[&str]| {
            let parts = parts.iter().map(|part| format!("--x\r\n{part}\r\n"));
            parts.collect::<String>() + "--x--\r\n"
        };
        let part = |head: &str| format!("{head}\r\n\r\nold");
        let own = part(model);
        for (body, why) in [
            (form(&[&own, &own]), "more than one part"),
            (
                form(&[&part(&format!("{model}; filename=\"m\""))]),
                "no plain text",
            ),
            (
                form(&[&part(&format!("{model}\r\nContent-Type: application/json"))]),
                "no plain text",
            ),
            (
                form(&[&part(&format!(
                    "{model}\r\nContent-Type: text/plain; charset=utf-16"
                ))]),
                "no plain text",
            ),
            (
                form(&[&part(&format!(
                    "{model}\r\nContent-Transfer-Encoding: base64"
                ))]),
                "no plain text",
            ),
            (
                form(&[&part(&format!("{model}\r\n{model}"))]),
                "content-disposition",
            ),
            (
                form(&[&part(
                    "Content-Disposition: form-data; name=\"model\"; name=\"x\"",
                )]),
                "two names",
            ),
            (
                form(&[&part("Content-Disposition: form-data; name*=UTF-8''model")]),
                "extended",
            ),
            (
                form(&[&part("Content-Disposition: form-data; name=\"model")]),
                "content-disposition",
            ),
            (form(&[&part("Content-Disposition")]), "headers"),
            (
                form(&[&part(
                    "A: b\nContent-Disposition: form-data; name=\"model\"",
                )]),
                "headers",
            ),
            (form(&[model]), "no end of its headers"),
            (form(&[&format!("{model}\r\n")]), "no plain text"),
            (form(&["no headers"]), "headers"),
            (form(&[&own, "\r\na\r\n--xy\r\nb"]), "goes on"),
            (form(&[&own, "\r\na\r\n--x--y\r\nb"]), "goes on"),
            (form(&[&own, "\r\na\n--x\r\nb"]), "line break"),
            (format!("--x\r\n{own}"), "no closing"),
            (format!("--x\r\n{own}\r\n--x"), "goes on"),
            (String::new(), "no closing"),
        ] {
            let found = put(X, &body).unwrap();
            let said = found.as_ref().err().copied().unwrap_or_default();
            assert!(said.contains(why), "{body:?}: {found:?}, not {why}");
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=x; boundary=y",
            "multipart/form-data; boundary=\"x",
        ] {
            assert_eq!(put(kind, &form(&[&own])), Some(Err(NO_BOUNDARY)), "{kind}");
        }
        let mut encoded = headers(X);
        encoded.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(Form::of(&encoded, b"").is_some_and(|form| form.is_err()));
        let two = Form::of(&headers(X), form(&[&own]).as_bytes()).map(|form| {
            let form = form.unwrap();
            form.with_text("model", "a\r\n--x").unwrap_err()
        });
        assert!(two.is_some_and(|why| why.contains("line break")));
    }

    #[test]
    fn a_form_without_the_part_and_what_is_no_form_are_left_alone() {
        let other = "--x\r\nContent-Disposition: form-data; name=\"Model\"\r\n\r\nold\r\n--x--";
        assert_eq!(put(X, other), Some(Ok(None)));
        assert_eq!(put(X, "--x--"), Some(Ok(None)));
        for kind in ["application/json", "multipart/related; boundary=x", ""] {
            assert_eq!(put(kind, other), None, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_form_it_is_refused_or_one_text_changes(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "--x", "\r\n", "\r\n\r\n", "--", "\n", "old", " ", "y", "--x\r\n", "\r\n--x\r\n", "\r\n--x--",
                "Content-Disposition: form-data; name=\"model\"\r\n\r\n", "content-disposition: form-data; name=file\r\n\r\n",
                "; filename=a", "\"", ";", "name=model",
            ]), 0..16),
        ) {
            let body = pieces.concat();
            if let Some(Ok(Some(changed))) = put(X, &body) {
                let after = changed.len() - changed.rfind("new").unwrap() - 3;
                let before = changed.len() - after - 3;
                prop_assert_eq!(&body[..before], &changed[..before]);
                prop_assert_eq!(&body[body.len() - after..], &changed[before + 3..]);
                // It can be changed again, and back.
                let again = put(X, &changed);
                prop_assert_eq!(again, Some(Ok(Some(changed))));
            }
        }
    }
}
