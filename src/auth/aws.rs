//! [`AwsKey`]: access keys of AWS, which sign requests and are never sent.

use super::Auth;

/// An access key: its id, its secret, and the token of a session that it belongs to.
pub(crate) struct AwsKey<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) session_token: Option<&'a str>,
}

impl Auth {
    /// A credential that is an [access key of AWS](https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html), in
    /// metadata `access_key_id` and `secret_access_key`. One of a session (`AssumeRole`, SSO) has `session_token` beside them; another
    /// session's key is registered in its place.
    ///
    /// [`Bedrock`](crate::provider::Bedrock) signs its requests with it.
    ///
    /// ```
    /// use credpool::Auth;
    ///
    /// let auth = Auth::aws_access_key("bedrock", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    ///     .with_metadata("session_token", "FwoGZXIvYXdzE…")
    ///     .with_attribute("region", "eu-central-1");
    /// assert!(!format!("{auth:?}").contains("wJalr"));
    /// ```
    pub fn aws_access_key(
        provider: impl Into<String>,
        id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        Self::new(provider)
            .with_metadata(ID, id.into())
            .with_metadata(SECRET, secret.into())
    }

    /// The access key in the metadata.
    pub(crate) fn aws_key(&self) -> Option<AwsKey<'_>> {
        let metadata = self.metadata.as_ref()?;
        let filled = |name| {
            let text = metadata.text(name)?;
            (!text.trim().is_empty()).then_some(text)
        };
        Some(AwsKey {
            id: filled(ID)?,
            secret: filled(SECRET)?,
            session_token: filled("session_token"),
        })
    }
}

const ID: &str = "access_key_id";
const SECRET: &str = "secret_access_key";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scrub;

    #[test]
    fn no_part_of_it_is_shown() {
        let auth = Auth::aws_access_key("p", "AKIACANARY1", "canary/secret+2")
            .with_metadata("session_token", "canary-session-3");
        let text = "AKIACANARY1 canary/secret+2 canary%2Fsecret%2B2 canary-session-3";
        assert_eq!(scrub(text, &auth), "*** *** *** ***");
    }

    #[test]
    fn it_is_a_key_that_nothing_renews() {
        let auth = Auth::aws_access_key("p", "AKIA", "secret").with_id("a");
        assert!(auth.is_api_key() && !auth.has_nothing_to_send());
        let session = auth.clone().with_metadata("session_token", "t");
        assert!(session.is_api_key());
        let info = auth.clone().runtime_only().account_info().unwrap();
        assert_eq!(info.text.expose(), "AKIA");
        assert!(Auth::aws_access_key("p", "AKIA", " ").aws_key().is_none());
    }

    #[test]
    fn another_secret_ends_what_the_former_was_refused_for() {
        let auth = Auth::aws_access_key("p", "AKIA", "secret").with_id("a");
        let other = Auth::aws_access_key("p", "AKIA", "another").with_id("a");
        assert_ne!(auth.identity(), other.identity());
        assert_eq!(auth.identity(), auth.clone().identity());
    }
}
