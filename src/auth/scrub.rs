use std::borrow::Cow;

use serde_json::Value;

use super::Auth;

/// `text` with everything cut out that is a secret of `auth`: keys, tokens, cookies, passwords; as they are, and as they look
/// inside a form, a URL or a JSON string.
pub(crate) fn scrub(text: &str, auth: &Auth) -> String {
    let mut secrets = Vec::new();
    for (name, value) in auth.attributes.iter() {
        collect_text(name, value, &mut secrets);
    }
    if let Some(metadata) = &auth.metadata {
        for (name, value) in metadata.iter() {
            collect(name, value, &mut secrets);
        }
    }
    if let Some((user_info, _)) = auth
        .proxy_url
        .expose()
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
    {
        secrets.push(
            user_info
                .rsplit_once(':')
                .map_or(user_info, |(_, word)| word),
        );
    }
    secrets.retain(|secret| secret.len() >= SHORTEST);
    let mut forms: Vec<_> = secrets.into_iter().flat_map(forms).collect();
    // A secret may hold another: the longest goes first.
    forms.sort_unstable_by_key(|form| std::cmp::Reverse(form.len()));
    forms
        .iter()
        .fold(text.to_owned(), |text, form| text.replace(&**form, "***"))
}

/// How a secret may be written.
fn forms(secret: &str) -> Vec<Cow<'_, str>> {
    let mut forms = vec![Cow::Borrowed(secret)];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if secret.bytes().all(plain) {
        return forms;
    }
    let encoded: String = secret
        .bytes()
        .map(|byte| match char::from(byte) {
            char if plain(byte) => char.to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let quoted = Value::from(secret).to_string();
    let escaped = &quoted[1..quoted.len() - 1];
    forms.push(encoded.replace("%20", "+").into());
    forms.push(encoded.to_lowercase().into());
    forms.push(encoded.into());
    forms.push(escaped.to_owned().into());
    forms
}

fn collect<'a>(name: &str, value: &'a Value, secrets: &mut Vec<&'a str>) {
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

fn collect_text<'a>(name: &str, text: &'a str, secrets: &mut Vec<&'a str>) {
    let name = name.to_ascii_lowercase();
    if SECRET_NAMES.iter().any(|part| name.contains(part)) && !NOT_SECRET.contains(&name.as_str()) {
        secrets.push(text);
    }
}

/// Shorter ones would cut common words.
const SHORTEST: usize = 6;

const SECRET_NAMES: [&str; 9] = [
    "key",
    "token",
    "secret",
    "password",
    "cookie",
    "psid",
    "auth",
    "assertion",
    "header",
];

const NOT_SECRET: [&str; 4] = ["token_url", "token_uri", "token_type", "auth_uri"];

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
}
