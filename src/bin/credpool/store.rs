//! Which store is meant, and how it is opened.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credpool::{Error, ErrorCode, FileStore, Sealed, SealingKey, Secret, Store};

use crate::args::Args;
use crate::failure::Failed;

/// A store by its address, and what it is sealed with.
pub(crate) struct Place {
    kind: Kind,
    keys: Option<Keys>,
}

enum Kind {
    Directory(PathBuf),
    Sqlite(PathBuf),
    Postgres(Secret),
    Redis(Secret, Option<String>),
}

#[derive(Clone)]
enum Keys {
    File(PathBuf),
    Variable(&'static str),
}

/// A store that is open.
pub(crate) struct Opened {
    /// As it is, without the keys.
    pub(crate) raw: Arc<dyn Store>,
    pub(crate) sealed: Option<Arc<Sealed<Arc<dyn Store>>>>,
    /// Where it is, without a password.
    pub(crate) name: String,
}

/// Whether a store that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Make,
    Refuse,
}

impl Place {
    /// The store that the arguments or the environment name.
    pub(crate) fn of(args: &Args) -> Result<Self, Failed> {
        let name = args
            .store_name
            .clone()
            .or_else(|| variable("CREDPOOL_STORE_NAME"));
        let address = address(args.store.as_deref(), "--store", "CREDPOOL_STORE")?;
        let kind = Kind::of(address, name)?;
        let file = args.seal_key_file.clone();
        let file = file.or_else(|| variable("CREDPOOL_SEAL_KEY_FILE").map(PathBuf::from));
        let variable =
            || variable("CREDPOOL_SEAL_KEY").map(|_| Keys::Variable("CREDPOOL_SEAL_KEY"));
        let keys = file.map(Keys::File).or_else(variable);
        Ok(Self { kind, keys })
    }

    /// The store that a copy goes to.
    pub(crate) fn of_copy(
        to: Option<&str>,
        name: Option<String>,
        key_file: Option<PathBuf>,
    ) -> Result<Self, Failed> {
        let kind = Kind::of(address(to, "--to", "CREDPOOL_TO")?, name)?;
        let keys = key_file.map(Keys::File);
        Ok(Self { kind, keys })
    }

    /// The file of its keys.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match &self.keys {
            Some(Keys::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Whether it is there and can be opened; its keys are not read.
    pub(crate) fn look_for(&self) -> Result<(), Failed> {
        self.kind.open(IfMissing::Refuse).map(drop)
    }

    pub(crate) fn open(&self, if_missing: IfMissing) -> Result<Opened, Failed> {
        let raw = self.kind.open(if_missing)?;
        let sealed = match self.keys.clone() {
            None => None,
            Some(keys) => Some(Arc::new(Sealed::new(Arc::clone(&raw), move || {
                keys.read()
            })?)),
        };
        let name = self.kind.name();
        Ok(Opened { raw, sealed, name })
    }
}

impl Opened {
    /// The store with its keys.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.sealed {
            Some(sealed) => Arc::clone(sealed) as Arc<dyn Store>,
            None => Arc::clone(&self.raw),
        }
    }
}

impl Keys {
    fn read(&self) -> Result<Vec<SealingKey>, Error> {
        match self {
            Self::File(path) => SealingKey::from_file(path),
            Self::Variable(name) => SealingKey::from_variable(name),
        }
    }
}

impl Kind {
    fn of(address: Secret, name: Option<String>) -> Result<Self, Failed> {
        let text = address.expose();
        let is = |schemes: &[&str]| schemes.iter().any(|scheme| text.starts_with(scheme));
        if is(&["postgres://", "postgresql://"]) {
            return Ok(Self::Postgres(address));
        }
        if is(&["redis://", "rediss://", "redis+unix://", "unix://"]) {
            return Ok(Self::Redis(address, name));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(path.into()));
        }
        if text.contains("://") {
            let message = "the store is none that is known";
            let hint =
                "name a directory, `sqlite:PATH`, `postgres://…`, `redis://…` or `rediss://…`";
            return Err(Failed::usage(message, hint));
        }
        let path = text.strip_prefix("file:").unwrap_or(text);
        Ok(Self::Directory(path.into()))
    }

    fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) | Self::Redis(url, None) => host_of(url.expose()),
            Self::Redis(url, Some(name)) => format!("{} ({name})", host_of(url.expose())),
        }
    }

    fn open(&self, if_missing: IfMissing) -> Result<Arc<dyn Store>, Failed> {
        match self {
            Self::Directory(path) => {
                if path.is_file() {
                    let message =
                        format!("the store {} is a file, and no directory", path.display());
                    let hint = format!("for a database: `sqlite:{}`", path.display());
                    return Err(Failed::usage(message, hint));
                }
                must_exist(path, if_missing)?;
                Ok(Arc::new(FileStore::open(path)?))
            }
            Self::Sqlite(path) => {
                must_exist(path, if_missing)?;
                Ok(Arc::new(credpool::SqliteStore::open(path)?))
            }
            Self::Redis(url, name) => {
                let store = credpool::RedisStore::connect(url.clone())?;
                Ok(match name {
                    Some(name) => Arc::new(store.with_name(name)),
                    None => Arc::new(store),
                })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(Arc::new(credpool::PostgresStore::connect(url.clone())?)),
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => Err(Failed::usage(
                "this command was built without PostgreSQL",
                "install it with libpq: `cargo install credpool --features cli,postgres`",
            )),
        }
    }
}

/// What is only looked at, or changed, is not made: a wrong path would be an empty store.
fn must_exist(path: &Path, if_missing: IfMissing) -> Result<(), Failed> {
    if if_missing == IfMissing::Make || path.exists() {
        return Ok(());
    }
    let message = format!("there is no store {}", path.display());
    let hint =
        "look at the path; `add`, `login`, `import` and `copy` make a store that is not there";
    let error = Error::new(ErrorCode::Store, message);
    Err(Failed::from(error).with_hint(hint))
}

/// An address from an argument, else from a variable.
fn address(argument: Option<&str>, option: &str, name: &str) -> Result<Secret, Failed> {
    if let Some(text) = argument {
        if shows_password(text) {
            let message =
                format!("{option} holds a password, which other users of this machine can read");
            let hint = format!("put the address into the variable {name} instead");
            return Err(Failed::usage(message, hint));
        }
        return Ok(Secret::new(text));
    }
    variable(name).map(Secret::from).ok_or_else(|| {
        let hint = format!("give it by `{option} STORE`, or in the variable {name}");
        Failed::usage("no store is named", hint)
    })
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a URL has a password, before its host or as a parameter. A doubtful one counts as one that has.
fn shows_password(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else {
        return false;
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let user = place.rsplit_once('@').map_or("", |(user, _)| user);
    let names_password = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name.to_ascii_lowercase().contains("pass")
    };
    user.contains(':') || parameters.split('&').any(names_password)
}

/// Scheme, host and path of a URL, without user, password and parameters.
fn host_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_seen() {
        for address in [
            "postgres://u:canary@db/fleet",
            "postgresql://u:can/ary@db/fleet",
            "rediss://:canary@host",
            "postgres://db/fleet?user=u&password=canary",
            "postgres://db/fleet?sslPassword=canary",
        ] {
            assert!(shows_password(address), "{address}");
            assert!(!host_of(address).contains("canary"), "{address}");
        }
        for address in [
            "postgres://u@db:5432/fleet?connect_timeout=5",
            "redis://host:6379/0",
            "redis://[::1]:6379",
            "sqlite:a:b@c",
            "credentials",
        ] {
            assert!(!shows_password(address), "{address}");
        }
    }

    #[test]
    fn an_address_names_a_kind() {
        let kind = |text: &str| Kind::of(Secret::new(text), None).map(|kind| kind.name());
        for (text, name) in [
            ("credentials", "credentials"),
            ("file:credentials", "credentials"),
            ("sqlite:a.db", "sqlite:a.db"),
            ("postgresql://u@db/fleet?x=1", "postgresql://db/fleet"),
            ("rediss://u:p@host:1/0", "rediss://host:1/0"),
        ] {
            assert_eq!(kind(text).unwrap(), name);
        }
        assert!(kind("mysql://host").is_err());
    }
}
