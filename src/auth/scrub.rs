//! Scrubs a credential's secrets from texts, in each form in which a secret may be spelt.

use std::borrow::Cow;
use std::ops::Deref;

use serde_json::Value;
use zeroize::Zeroizing;

use super::Auth;
use super::service_account::{KIND, object};
use crate::percent;

/// `text` with everything cut out that is a secret of `auth`.
pub(crate) fn scrub(text: &str, auth: &Auth) -> String {
    Secrets::of(auth).cut_out_of(text).into_owned()
}

/// The secrets of a credential: keys, tokens, cookies, passwords; as they are, and as they look inside a form, a URL or a JSON string.
pub(crate) struct Secrets<'a>(Vec<Text<'a>>);

/// A secret in a form of its own is wiped.
enum Text<'a> {
    AsIs(&'a str),
    Own(Zeroizing<String>),
}

impl<'a> Secrets<'a> {
    pub(crate) fn of(auth: &'a Auth) -> Self {
        let mut secrets = Vec::new();
        for (name, value) in auth.attributes.iter() {
            collect_text(name, value, &mut secrets);
        }
        if let Some(metadata) = &auth.metadata {
            for (name, value) in metadata.iter() {
                collect(name, value, &mut secrets);
            }
            // A token file may keep a service account's file as text.
            if let Some(Ok(members)) = metadata.text(KIND).map(object) {
                let mut inner = Vec::new();
                for (name, value) in &members {
                    collect(name, value, &mut inner);
                }
                secrets.extend(inner.iter().map(|secret| Text::own(&**secret)));
            }
        }
        if let Some((user_info, _)) = auth
            .proxy_url
            .expose()
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'))
        {
            let word = user_info.rsplit_once(':');
            secrets.push(Text::AsIs(word.map_or(user_info, |(_, word)| word)));
        }
        // A key of several lines may come back line by line.
        let lines: Vec<_> = secrets.iter().flat_map(|secret| lines_of(secret)).collect();
        secrets.extend(lines);
        secrets.retain(|secret| secret.len() >= SHORTEST);
        let others: Vec<_> = secrets
            .iter()
            .flat_map(|secret| other_forms(secret))
            .collect();
        secrets.extend(others);
        // A secret may contain another: the longest is replaced first.
        secrets.sort_unstable_by_key(|form| std::cmp::Reverse(form.len()));
        Self(secrets)
    }

    /// `text` with `***` in the place of each secret.
    pub(crate) fn cut_out_of<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let forms = self.0.iter();
        forms.fold(Cow::Borrowed(text), |text, form| {
            if text.contains(&**form) {
                Cow::Owned(text.replace(&**form, "***"))
            } else {
                text
            }
        })
    }
}

impl Text<'_> {
    fn own(text: impl Into<String>) -> Self {
        Self::Own(Zeroizing::new(text.into()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::AsIs(text) => text,
            Self::Own(text) => text,
        }
    }
}

/// How else a secret may be written.
fn other_forms(secret: &str) -> Vec<Text<'static>> {
    let Cow::Owned(encoded) = Cow::from(percent::encoded(secret)) else {
        return Vec::new();
    };
    let encoded = Zeroizing::new(encoded);
    let quoted = Zeroizing::new(serde_json::to_string(secret).unwrap_or_default());
    let escaped = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let mut forms = vec![
        Text::own(encoded.replace("%20", "+")),
        Text::own(encoded.to_lowercase()),
        Text::own(escaped.unwrap_or(secret)),
    ];
    forms.push(Text::Own(encoded));
    forms
}

/// The lines of a text that has more than one.
fn lines_of(secret: &str) -> Vec<Text<'static>> {
    if !secret.contains('\n') && !secret.contains("\\n") {
        return Vec::new();
    }
    let spelt_out = Zeroizing::new(secret.replace("\\n", "\n"));
    spelt_out
        .lines()
        .map(|line| Text::own(line.trim()))
        .collect()
}

fn collect<'a>(name: &str, value: &'a Value, secrets: &mut Vec<Text<'a>>) {
    match value {
        Value::String(text) => collect_text(name, text, secrets),
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect(name, value, secrets)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| collect(name, value, secrets)),
        _ => {}
    }
}

fn collect_text<'a>(name: &str, text: &'a str, secrets: &mut Vec<Text<'a>>) {
    if !names_a_secret(name) {
        return;
    }
    secrets.push(Text::AsIs(text));
    // `Bearer` and the like come back without the token, and the token without them.
    if let Some((_, token)) = text.trim().split_once(' ') {
        secrets.push(Text::AsIs(token.trim()));
    }
}

/// Whether what is called so is a secret: a header too by its name alone, since programs tag their requests with others.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let names = |part: &str| SECRET_NAMES.iter().any(|secret| part.contains(secret));
    match name.strip_prefix("header:") {
        // A product's name may hold one of the words: `x-portkey-provider`.
        Some(header) => header
            .split(|char: char| !char.is_ascii_alphanumeric())
            .any(|word| names(word) && !NOT_SECRET_WORDS.contains(&word)),
        None => names(&name) && !NOT_SECRET.iter().any(|end| name.ends_with(end)),
    }
}

/// Shorter ones would cut common words.
const SHORTEST: usize = 6;

const SECRET_NAMES: [&str; 10] = [
    "key",
    "token",
    "secret",
    "passw",
    "cookie",
    "psid",
    "auth",
    "assertion",
    "credential",
    "signature",
];

/// Words of headers' names that hold one of those above and mean something else.
const NOT_SECRET_WORDS: [&str; 4] = ["portkey", "keyboard", "author", "tokenizer"];

/// What ends so says where or how, and is no secret whatever it begins with: `token_url`, `count_tokens_path`, `auth_type`.
const NOT_SECRET: [&str; 8] = [
    "_url", "_uri", "_path", "_type", "_method", "_style", "_expiry", "_at",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_every_secret_and_leaves_the_rest() {
        let auth = Auth::api_key("p", "sk-canary-1")
            .with_metadata("token", serde_json::json!({"access_token": "canary-2"}))
            .with_attribute("token_url", "https://example.org")
            .with_proxy_url("http://user:canary-3@127.0.0.1:1");
        let text = scrub("sk-canary-1 canary-2 canary-3 https://example.org", &auth);
        assert_eq!(text, "*** *** *** https://example.org");
    }
    #[test]
    fn a_key_of_many_lines_is_cut_line_by_line() {
        let pem = "-----BEGIN PRIVATE KEY-----\ncanary-line-1\ncanary-line-2\n-----END PRIVATE KEY-----\n";
        let file = serde_json::json!({"private_key": pem, "client_email": "robot@example.org"});
        let text = format!(
            "{pem}|canary-line-2|{}|robot@example.org",
            pem.replace('\n', "\\n")
        );
        for auth in [
            Auth::new("p").with_metadata("private_key", pem),
            Auth::new("p").with_metadata("private_key", pem.replace('\n', "\\n")),
            Auth::new("p").with_metadata(KIND, file.clone()),
            Auth::new("p").with_metadata(KIND, file.to_string()),
        ] {
            let scrubbed = scrub(&text, &auth);
            assert!(!scrubbed.contains("canary"), "{scrubbed}");
            assert!(scrubbed.ends_with("|robot@example.org"));
        }
    }

    #[test]
    fn cuts_a_secret_however_it_is_written() {
        let auth = Auth::api_key("p", "ab\"c/ d\\é");
        for form in [
            "ab\"c/ d\\é",
            "ab\\\"c/ d\\\\é",
            "ab%22c%2F%20d%5C%C3%A9",
            "ab%22c%2F+d%5C%C3%A9",
            "ab%22c%2f%20d%5c%c3%a9",
        ] {
            assert_eq!(scrub(&format!("<{form}>"), &auth), "<***>");
        }
        assert_eq!(scrub("ab%22c", &auth), "ab%22c");
    }

    #[test]
    fn a_header_is_secret_by_its_name() {
        for (name, value) in [
            ("header:x-cost-center", "billing"),
            ("header:X-Title", "tokens"),
            ("header:HTTP-Referer", "https://cohere.example"),
            ("header:x-portkey-provider", "openai"),
            ("header:x-author", "ada-lovelace"),
            ("header:OpenAI-Beta", "content_filter"),
            ("header:accept-language", "english"),
            ("count_tokens_path", "/responses/input_tokens"),
            ("token_url", "https://example.org/token"),
            ("auth_type", "service_account"),
        ] {
            let auth = Auth::new("p").with_attribute(name, value);
            assert_eq!(scrub(value, &auth), value, "{name}");
        }
        for name in [
            "header:authorization",
            "header:Proxy-Authorization",
            "header:api-key",
            "header:X-Api-Key",
            "header:x-goog-api-key",
            "header:Ocp-Apim-Subscription-Key",
            "header:cookie",
            "header:x-gateway-token",
            "header:x-portkey-api-key",
            "header:x-apikey",
            "header:x-client-secret",
            "header:x-amz-signature",
        ] {
            let auth = Auth::new("p").with_attribute(name, "Bearer canary-1");
            let text = scrub("Bearer canary-1 and canary-1", &auth);
            assert!(!text.contains("canary"), "{name}: {text}");
        }
    }
}
