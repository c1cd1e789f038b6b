//! The account of a credential: its kind, and the text that names it.

use super::{Auth, Metadata, Secret};

/// What kind of account a credential is, and the text that names it.
///
/// ```
/// use credpool::{AccountKind, Auth};
///
/// let login = Auth::new("claude").with_metadata("email", "me@example.org");
/// let info = login.account_info().unwrap();
/// assert_eq!(info.kind, AccountKind::OAuth);
/// assert_eq!(info.text.expose(), "me@example.org");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountInfo {
    /// The kind.
    pub kind: AccountKind,
    /// The e-mail, the key or the cookie's name; read it with [`Secret::expose`].
    pub text: Secret,
}

/// The kinds of account.
///
/// ```
/// use credpool::{AccountKind, Auth};
///
/// let key = Auth::api_key("openai", "sk-1").runtime_only();
/// let kind = key.account_info().map(|info| info.kind);
/// assert_eq!(kind.map(AccountKind::as_str), Some("api_key"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccountKind {
    /// A login, named by its e-mail.
    OAuth,
    /// A key.
    ApiKey,
    /// A browser session.
    Cookie,
}

impl AccountKind {
    /// `oauth`, `api_key` or `cookie`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::ApiKey => "api_key",
            Self::Cookie => "cookie",
        }
    }
}

pub(super) fn account_info(auth: &Auth) -> Option<AccountInfo> {
    let named = auth.metadata.as_ref();
    let named = named.and_then(|metadata| named_in(metadata, &auth.provider));
    named.or_else(|| {
        let key = auth.key().filter(|_| auth.is_runtime_only());
        info(AccountKind::ApiKey, key?)
    })
}

/// The account that the metadata names.
fn named_in(metadata: &Metadata, provider: &str) -> Option<AccountInfo> {
    if provider.eq_ignore_ascii_case("gemini-web") {
        let label = metadata.text("label").map(str::trim);
        let cookies = ["secure_1psid", "__Secure-1PSID"].map(|name| metadata.text(name));
        let named = std::iter::once(label)
            .chain(cookies)
            .flatten()
            .find(|text| !text.is_empty());
        if let Some(text) = named {
            return info(AccountKind::Cookie, text);
        }
    }
    let email = metadata.text("email")?;
    if provider.eq_ignore_ascii_case("gemini-cli") && !email.trim().is_empty() {
        let email = email.trim();
        return match metadata.text("project_id").map(str::trim) {
            Some(project) if !project.is_empty() => {
                info(AccountKind::OAuth, &format!("{email} ({project})"))
            }
            _ => info(AccountKind::OAuth, email),
        };
    }
    info(AccountKind::OAuth, email)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the end of functions that may find none"
)]
fn info(kind: AccountKind, text: &str) -> Option<AccountInfo> {
    let text = text.into();
    Some(AccountInfo { kind, text })
}
