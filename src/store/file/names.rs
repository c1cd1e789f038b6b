//! File names for ids. Nothing of an id reaches a path unless it is one plain component.

use sha2::{Digest, Sha256};

use crate::auth::first_eight;

/// The file of a record in this store's own form.
pub(super) fn credential_file(id: &str) -> String {
    format!("{}{CREDENTIAL}", safe_name(id))
}

/// Where earlier versions put the record, if they put it elsewhere: under its id as it is. On Windows they could not.
pub(super) fn former_credential_file(id: &str) -> Option<String> {
    former_name(id).map(|name| format!("{name}{CREDENTIAL}"))
}

/// What earlier versions had for a [`safe_name`], if it was another.
pub(super) fn former_name(id: &str) -> Option<&str> {
    Some(id).filter(|id| !cfg!(windows) && is_plain(id) && !is_portable_part(id))
}

/// The file of the runtime state beside the file of a credential. The two kinds of names never meet, because no safe name
/// ends in `.json`.
pub(super) fn state_file(path: &str) -> String {
    format!("{}{STATE}", path.strip_suffix(CREDENTIAL).unwrap_or(path))
}

/// Whether it may be the file of a runtime state.
pub(super) fn is_state(name: &str) -> bool {
    name.ends_with(STATE)
}

/// The file beside which a file of a runtime state is, if it is one.
pub(super) fn owner_of_state(path: &str) -> Option<String> {
    let owner = path.strip_suffix(STATE)?;
    Some(if is_json(owner) {
        owner.to_owned()
    } else {
        format!("{owner}{CREDENTIAL}")
    })
}

/// A name that is one plain path component, and another one for every id, also where upper and lower case are one.
pub(in crate::store) fn safe_name(id: &str) -> String {
    if is_plain(id) && is_portable_part(id) {
        return id.to_owned();
    }
    let mut name: String = id
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))
        .take(SLUG)
        .collect();
    name.push('~');
    name.push_str(&digest(id.as_bytes()));
    name
}

/// 16 hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", first_eight(&Sha256::digest(bytes)))
}

/// Whether the store may have put a record in its own form under this name.
pub(super) fn is_credential(name: &str) -> bool {
    name.ends_with(CREDENTIAL)
}

/// Whether other tools take a file of this name for a token file.
pub(super) fn is_json(name: &str) -> bool {
    name.len()
        .checked_sub(JSON.len())
        .and_then(|start| name.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(JSON))
}

/// Whether `path` names a token file below the store's directory: normal components alone, `/` between them.
pub(super) fn is_token_path(path: &str) -> bool {
    let parts = || path.split('/');
    is_json(path)
        && parts().count() <= MAX_DEPTH
        && parts().all(|part| part.len() <= MAX_COMPONENT && !leads_elsewhere(part))
}

/// Whether a file can have this path on any system: Windows has devices of some names, whatever their ending
/// (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>), and drops a dot or a blank at the end of a name.
pub(super) fn is_portable(path: &str) -> bool {
    path.split('/').all(is_portable_part)
}

fn is_portable_part(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default();
    let stem = stem.trim_end().to_ascii_lowercase();
    let is_port = |kind| {
        let number = stem.strip_prefix(kind);
        number.is_some_and(|number| matches!(number.as_bytes(), [b'0'..=b'9']))
    };
    !(part.ends_with(['.', ' '])
        || DEVICES.contains(&stem.as_str())
        || PORTS.into_iter().any(is_port))
}

fn leads_elsewhere(part: &str) -> bool {
    matches!(part, "" | "." | "..")
        || part.contains('\0')
        || (cfg!(windows) && part.contains(['\\', ':']))
}

fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_PLAIN
        && !id.starts_with('.')
        // Keeps `x.json.state` for the token file `x.json`.
        && !id.ends_with(JSON)
        && id
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// How many components a token file's path may have.
pub(super) const MAX_DEPTH: usize = 8;

const CREDENTIAL: &str = ".credential";
const STATE: &str = ".state";
const JSON: &str = ".json";
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const PORTS: [&str; 2] = ["com", "lpt"];
const MAX_PLAIN: usize = 100;
const MAX_COMPONENT: usize = 240;
const SLUG: usize = 40;

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn one_normal_component(name: &str) -> bool {
        let parts: Vec<_> = Path::new(name).components().collect();
        matches!(parts[..], [Component::Normal(part)] if part == name)
    }

    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-zA-Z0-9._~-]{0,8}",
            "[./\\\\a\u{0}~]{0,6}",
            "[aA]{1,2}(\\.json|\\.credential|\\.state)?",
            "[a-c]{99,101}",
            "(con|nul|com[0-9]|lpt1)(\\.[a-z.]{0,3})?",
        ]
    }

    proptest! {
        #[test]
        fn every_name_is_one_normal_component(id in hostile()) {
            for name in [credential_file(&id), state_file(&credential_file(&id))] {
                prop_assert!(one_normal_component(&name), "{name}");
                prop_assert!(name.len() <= 120);
                prop_assert!(!name.starts_with('.') && !is_json(&name) && is_portable(&name));
            }
            prop_assert!(is_portable(&safe_name(&id)));
        }

        #[test]
        fn two_ids_never_share_a_name_whatever_the_case(a in hostile(), b in hostile()) {
            let (one, other) = (safe_name(&a), safe_name(&b));
            prop_assert_eq!(a == b, one.eq_ignore_ascii_case(&other));
            prop_assert_eq!(&one, &one.to_lowercase());
        }

        #[test]
        fn a_token_path_stays_below_the_directory(path in prop_oneof![hostile(), "[a./]{0,12}\\.json"]) {
            if is_token_path(&path) {
                prop_assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_ne!(state_file(&path), state_file(&credential_file(&path)));
            }
        }
    }

    #[test]
    fn plain_ids_keep_their_name() {
        assert_eq!(credential_file("team-a.1_x"), "team-a.1_x.credential");
        assert_eq!(state_file("team-a.1_x.credential"), "team-a.1_x.state");
        assert_eq!(safe_name(&"a".repeat(100)), "a".repeat(100));
    }

    #[test]
    fn other_ids_get_a_slug_and_a_digest() {
        for id in [
            "A", ".a", "a/b", "../a", "", "é", "a~b", "x.json", "a b", "a\0b",
        ] {
            let name = safe_name(id);
            let (slug, digest) = name.split_once('~').unwrap();
            assert!(slug.len() <= SLUG && digest.len() == 16, "{name}");
        }
        assert!(safe_name("Team A").starts_with("teama~"));
        assert!(safe_name(&"a".repeat(4096)).len() == SLUG + 17);
    }

    #[test]
    fn names_of_devices_get_a_digest() {
        for id in [
            "con",
            "nul.x",
            "com0",
            "lpt9.a.b",
            "aux.",
            "a.",
            "prn.credential",
        ] {
            let name = safe_name(id);
            assert!(name.contains('~') && is_portable(&name), "{name}");
            assert_eq!(former_name(id), (!cfg!(windows)).then_some(id));
        }
        for id in [
            "cons",
            "com",
            "com10",
            "lpt",
            "a.nul",
            "console.x",
            "com-1",
            "null",
        ] {
            assert_eq!((safe_name(id), former_name(id)), (id.to_owned(), None));
        }
        for id in ["CON", "Nul", "a b", "x.json"] {
            assert_eq!(former_name(id), None, "it always had a digest");
        }
        for path in [
            "a/Con.json",
            "a./x.json",
            "a /x.json",
            "lpt1/x.json",
            "NUL .json",
            "sub/aux",
        ] {
            assert!(!is_portable(path), "{path}");
        }
        for path in ["a/x.json", ".a/x.json", "a/ x.json", "a b/console.json"] {
            assert!(is_portable(path), "{path}");
        }
    }

    #[test]
    fn token_paths() {
        for path in ["a.json", "sub/a.json", "A b.JSON", ".a.json"] {
            assert!(is_token_path(path), "{path}");
        }
        let deep = "d/".repeat(MAX_DEPTH) + "a.json";
        for path in [
            "",
            "a",
            "/a.json",
            "../a.json",
            "a/../b.json",
            "a//b.json",
            "./a.json",
            "a\0.json",
            "json",
            &deep,
        ] {
            assert!(!is_token_path(path), "{path}");
        }
        assert!(is_token_path(&deep[2..]));
    }
}
