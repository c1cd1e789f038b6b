//! Parses a token endpoint's answer, in whatever form: it may be the only copy of the next refresh token.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::auth::Wiped;
use crate::json::parse_lenient;
use crate::percent;

/// The answer as an object with the names of
/// [RFC 6749 section 5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1); null where it is none.
///
/// Also read are a form, as GitHub sends it
/// (<https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>);
/// names in camel case, as of AWS (<https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html>);
/// tokens inside another object, as of Lark (`data`) or Slack (`authed_user`,
/// <https://docs.slack.dev/reference/methods/oauth.v2.access>);
/// and tokens that are numbers.
pub(super) fn read(body: &[u8]) -> Wiped<Value> {
    let json = parse_lenient(body).ok().filter(Value::is_object);
    let mut json = Wiped::new(json.or_else(|| form(body)).unwrap_or_default());
    if let Some(members) = json.as_object_mut() {
        rename(members);
        if !has_tokens(members) {
            lift(members);
        }
    }
    json
}

/// Puts the members of the object that holds the tokens beside it.
fn lift(members: &mut Map<String, Value>) {
    for name in OBJECTS {
        let Some(inner) = members.get_mut(name).and_then(Value::as_object_mut) else {
            continue;
        };
        rename(inner);
        if has_tokens(inner) {
            let mut inner = Wiped::new(std::mem::take(inner));
            for (_, name) in NAMES {
                if let Some(value) = inner.remove(name) {
                    members.insert(name.to_owned(), value);
                }
            }
            return;
        }
    }
}

/// Gives the members of an answer the names and types that they have in the standard.
fn rename(members: &mut Map<String, Value>) {
    for (other, name) in NAMES {
        if !members.contains_key(name)
            && let Some(value) = members.remove(other)
        {
            members.insert(name.to_owned(), value);
        }
    }
    for name in TOKENS {
        if let Some(Value::Number(number)) = members.get(name)
            && !number.is_f64()
        {
            let text = number.to_string();
            members.insert(name.to_owned(), text.into());
        }
    }
}

fn has_tokens(members: &Map<String, Value>) -> bool {
    let mut tokens = TOKENS
        .iter()
        .filter_map(|name| members.get(*name)?.as_str());
    tokens.any(|token| !token.is_empty())
}

/// The fields of a form; none where the text does not look like an answer in this form.
fn form(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.contains(|c: char| c.is_whitespace() || c == '<') {
        return None;
    }
    let mut fields = Map::new();
    for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        if !fields.contains_key(name) {
            fields.insert(name.to_owned(), decoded(value).into());
        }
    }
    let fields = Wiped::new(fields);
    let is_answer = has_tokens(&fields) || fields.contains_key("error");
    is_answer.then(|| fields.into_inner().into())
}

/// A form's value without its escapes (<https://url.spec.whatwg.org/#urlencoded-parsing>).
fn decoded(value: &str) -> String {
    // As large as it gets: a text that grows leaves copies of the secret behind.
    let spaced = Zeroizing::new(value.replace('+', " "));
    String::from_utf8(percent::decoded(&spaced))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// What is read of an answer, in camel case and in the standard's spelling.
const NAMES: [(&str, &str); 6] = [
    ("accessToken", "access_token"),
    ("refreshToken", "refresh_token"),
    ("idToken", "id_token"),
    ("tokenType", "token_type"),
    ("expiresIn", "expires_in"),
    ("scope", "scope"),
];

const TOKENS: [&str; 2] = ["access_token", "refresh_token"];

/// Where servers put the tokens when not at the top.
const OBJECTS: [&str; 5] = ["data", "authed_user", "token", "tokens", "result"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tokens(body: impl AsRef<[u8]>) -> (Option<String>, Option<String>) {
        let json = read(body.as_ref());
        let text = |name| Some(json.get(name)?.as_str()?.to_owned());
        (text("access_token"), text("refresh_token"))
    }

    #[test]
    fn tokens_are_found_in_every_form() {
        let both = (Some("a/1".to_owned()), Some("r 1".to_owned()));
        for body in [
            r#"{"access_token":"a/1","refresh_token":"r 1"}"#,
            "\u{feff}{\"access_token\":\"a/1\",\"refresh_token\":\"r 1\"}",
            r#"{"access_token":"a\/1","refresh_token":"r 1","name":"\ud83d"}"#,
            r#"{"access_token":"a/1","refresh_token":"r 1","limits":{"most":1e400}}"#,
            r#"{"accessToken":"a/1","refreshToken":"r 1","expiresIn":60}"#,
            r#"{"code":0,"msg":"ok","data":{"access_token":"a/1","refresh_token":"r 1"}}"#,
            r#"{"ok":true,"access_token":"","authed_user":{"id":"U","access_token":"a/1","refresh_token":"r 1"}}"#,
            r#"{"result":{"accessToken":"a/1","refreshToken":"r 1"}}"#,
            "access_token=a%2F1&expires_in=28800&refresh_token=r+1&scope=&token_type=bearer",
            "\u{feff}access_token=a/1&refresh_token=r%201\r\n",
        ] {
            assert_eq!(tokens(body), both, "{body}");
        }
        let body = b"{\"access_token\":\"a/1\",\"refresh_token\":\"r 1\",\"name\":\"Jos\xe9\"}";
        assert_eq!(tokens(body), both);
        let numbers = tokens(r#"{"access_token":12,"refresh_token":18446744073709551615}"#);
        assert_eq!(
            numbers,
            (Some("12".into()), Some("18446744073709551615".into()))
        );
        // The tokens of one object belong together.
        let slack =
            r#"{"access_token":"bot","authed_user":{"access_token":"a","refresh_token":"r"}}"#;
        assert_eq!(tokens(slack), (Some("bot".to_owned()), None));
        let lifetime = read(br#"{"data":{"accessToken":"a","expiresIn":60},"expires_in":1}"#);
        assert_eq!(lifetime["expires_in"], 60);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for body in [
            "",
            "[]",
            "\"access_token=a\"",
            "<a href=\"/?x&access_token=a\">",
            "please see /?x&access_token=a for more",
            "access_token=",
            "x=1&y=2",
            "{\"access_token\":\"a\",\"refr",
        ] {
            assert_eq!(*read(body.as_bytes()), Value::Null, "{body}");
        }
        assert_eq!(
            *read(b"error=bad_refresh_token&error_description=The+token%21&error=x"),
            json!({"error": "bad_refresh_token", "error_description": "The token!"})
        );
    }

    proptest! {
        #[test]
        fn a_form_brings_what_was_put_in(access in "\\PC{1,40}", refresh in "\\PC{1,40}") {
            let mut form = "access_token=".to_owned();
            form.extend(percent::encoded(&access));
            form.push_str("&refresh_token=");
            form.extend(percent::encoded(&refresh));
            prop_assert_eq!(tokens(form), (Some(access), Some(refresh)));
        }

        #[test]
        fn no_body_breaks_it(body in any::<Vec<u8>>(), text in "[%+&=a-f0-9]{0,24}") {
            read(&body);
            read(format!("access_token={text}").as_bytes());
        }
    }
}
