//! Credentials that another program holds: they are used as that program wrote them, and renewed by it alone.

use std::path::{Path, PathBuf};

use super::Auth;

impl Auth {
    /// The program that holds the login, by its name in [`HELD_BY`].
    pub(crate) fn holder(&self) -> Option<&str> {
        self.attributes.filled(HELD_BY)
    }

    /// The file of the holder, and the member of it, where they are known.
    pub(crate) fn held_in(&self) -> Option<(&Path, &str)> {
        self.holder()?;
        let file = self.attributes.get(HELD_IN).filter(|file| !file.is_empty());
        let member = self.attributes.get(HELD_AS).unwrap_or_default();
        file.map(|file| (Path::new(file), member))
    }

    /// As the holder's: without what gets new tokens, which only one program may send.
    pub(crate) fn held(mut self, holder: &str, file: Option<&Path>, member: &str) -> Self {
        if let Some(metadata) = &mut self.metadata {
            for name in RENEWAL {
                metadata.remove(name);
            }
        }
        self.attributes.insert(HELD_BY, holder);
        if let Some(file) = file {
            let file = std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file));
            self.attributes
                .insert(HELD_IN, file.to_string_lossy().into_owned());
            self.attributes.insert(HELD_AS, member);
        }
        self
    }

    /// As this pool's own.
    pub(crate) fn no_longer_held(mut self) -> Self {
        for name in HELD {
            self.attributes.remove(name);
        }
        self
    }
}

/// The attributes that say so.
const HELD: [&str; 3] = [HELD_BY, HELD_IN, HELD_AS];

/// The program that holds the login.
const HELD_BY: &str = "held_by";
/// The absolute path of that program's file.
const HELD_IN: &str = "held_in";
/// The member of that file which is the login; empty where the file is one.
const HELD_AS: &str = "held_as";

/// What gets new tokens, or is told with them alone.
const RENEWAL: [&str; 3] = ["refresh_token", "client_secret", "id_token"];
