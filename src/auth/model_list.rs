//! [`ModelList`]: the models that a credential serves, and their names at its vendor, parsed from attribute `models`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Auth;

/// Which models a credential serves. A credential without a list serves every model under the name that was asked for.
#[derive(Debug)]
pub(crate) struct ModelList {
    /// What is said of single names.
    named: BTreeMap<Arc<str>, Entry>,
    /// Names with wildcards that are served, and those that are not.
    served: Vec<Box<str>>,
    excluded: Vec<Box<str>>,
    /// Nothing but exclusions and aliases is listed: all other names are served, too.
    is_open: bool,
}

/// What a list says of one name.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Served,
    Excluded,
    /// The name is an alias of the vendor's name.
    Alias(Arc<str>),
}

impl ModelList {
    /// The list of a credential; `None` where it has none.
    ///
    /// # Errors
    /// What is wrong with it, to follow the attribute's name.
    pub(crate) fn of(auth: &Auth) -> Result<Option<Self>, String> {
        Self::text_of(auth).map(Self::parse).transpose()
    }

    /// What the list of a credential is parsed from.
    pub(crate) fn text_of(auth: &Auth) -> Option<&str> {
        auth.attributes.filled(MODELS)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self {
            named: BTreeMap::new(),
            served: Vec::new(),
            excluded: Vec::new(),
            is_open: true,
        };
        let entries = text.split([',', '\n']).map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            list.add(entry)?;
        }
        list.check_aliases()?;
        Ok(list)
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        if let Some((alias, model)) = entry.split_once('=') {
            return self.add_alias(alias.trim(), model.trim());
        }
        let excluded = entry.strip_prefix('!').map(str::trim_start);
        let name = checked_name(excluded.unwrap_or(entry))?;
        self.is_open &= excluded.is_some();
        match (excluded, name.contains('*')) {
            (Some(_), true) => self.excluded.push(name.into()),
            (None, true) => self.served.push(name.into()),
            (Some(_), false) => self.put(name, Entry::Excluded)?,
            (None, false) => self.put(name, Entry::Served)?,
        }
        Ok(())
    }

    fn add_alias(&mut self, alias: &str, model: &str) -> Result<(), String> {
        if alias.is_empty() || model.is_empty() {
            let what = "has an alias without a name on both sides: write ALIAS=MODEL";
            return Err(what.to_owned());
        }
        for name in [alias, model] {
            checked_name(name)?;
            if name.contains('*') {
                let what = format!(
                    "has a wildcard in the alias `{alias}={model}`: an alias is one name for one model"
                );
                return Err(what);
            }
        }
        self.put(alias, Entry::Alias(model.into()))
    }

    fn put(&mut self, name: &str, entry: Entry) -> Result<(), String> {
        if self.named.get(name).is_some_and(|former| *former != entry) {
            return Err(format!("says two things of `{name}`"));
        }
        self.named.insert(name.into(), entry);
        Ok(())
    }

    fn check_aliases(&self) -> Result<(), String> {
        for (alias, model) in self.aliases() {
            if let Some(Entry::Alias(_)) = self.named.get(model) {
                return Err(format!(
                    "has the alias `{alias}={model}`, but `{model}` is an alias itself: name the vendor's model"
                ));
            }
        }
        Ok(())
    }

    /// The vendor's name of a model that is asked for by `name`; `None` where the credential does not serve it. Calls without a model are
    /// always served.
    ///
    /// A name that is listed by itself counts before wildcards, and of those an exclusion before the others.
    pub(crate) fn resolve<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if name.is_empty() {
            return Some(name);
        }
        match self.named.get(name) {
            Some(Entry::Served) => return Some(name),
            Some(Entry::Alias(model)) => return Some(model),
            Some(Entry::Excluded) => return None,
            None => {}
        }
        let any = |patterns: &[Box<str>]| patterns.iter().any(|pattern| matches(pattern, name));
        let is_served = !any(&self.excluded) && (self.is_open || any(&self.served));
        is_served.then_some(name)
    }

    /// The vendor's name of what is an alias.
    pub(crate) fn alias(&self, name: &str) -> Option<&Arc<str>> {
        match self.named.get(name)? {
            Entry::Alias(model) => Some(model),
            Entry::Served | Entry::Excluded => None,
        }
    }

    /// All aliases, each with the vendor's name.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.named.iter().filter_map(|(name, entry)| match entry {
            Entry::Alias(model) => Some((name, model)),
            Entry::Served | Entry::Excluded => None,
        })
    }

    /// The names that are served and listed by themselves, aliases among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let served = |(_, entry): &(&Arc<str>, &Entry)| **entry != Entry::Excluded;
        self.named.iter().filter(served).map(|(name, _)| name)
    }
}

/// The attribute, as names of models and aliases are added to it one by one.
pub(super) fn push(auth: &mut Auth, entries: impl IntoIterator<Item = String>) {
    let former = auth.attributes.filled(MODELS).map(str::to_owned);
    let all: Vec<String> = former.into_iter().chain(entries).collect();
    auth.attributes.insert(MODELS, all.join(", "));
}

fn checked_name(name: &str) -> Result<&str, String> {
    let is_odd = |sign: char| sign.is_whitespace() || sign.is_control() || "!=".contains(sign);
    if name.is_empty() {
        return Err("has an entry without a name".to_owned());
    }
    if name.contains(is_odd) {
        return Err(format!(
            "has the entry {name:?}, which is no name of a model: entries are separated by commas"
        ));
    }
    Ok(name)
}

/// Whether a name fits a pattern, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

pub(super) const MODELS: &str = "models";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> ModelList {
        ModelList::parse(text).unwrap()
    }

    #[test]
    fn a_list_says_what_is_served_under_which_name() {
        for (text, name, sent) in [
            ("gpt-5", "gpt-5", Some("gpt-5")),
            ("gpt-5", "gpt-5-mini", None),
            ("gpt-5*", "gpt-5-mini", Some("gpt-5-mini")),
            ("gpt-5*, !gpt-5-pro", "gpt-5-pro", None),
            ("gpt-5*, !gpt-5-pro", "gpt-5", Some("gpt-5")),
            ("!gpt-5-pro", "gpt-5-pro", None),
            ("! *-preview", "o9-preview", None),
            ("!gpt-5-pro", "anything", Some("anything")),
            ("fast=gpt-5-mini", "fast", Some("gpt-5-mini")),
            ("fast=gpt-5-mini", "gpt-5-mini", Some("gpt-5-mini")),
            ("fast=gpt-5-mini, !*", "fast", Some("gpt-5-mini")),
            ("fast=gpt-5-mini, !*", "gpt-5-mini", None),
            ("fast = gpt-5-mini, gpt-5", "gpt-5-mini", None),
            ("!gpt-*, gpt-5", "gpt-5", Some("gpt-5")),
            ("gpt-*, !*pro*", "gpt-5-pro-2", None),
            ("a\nb,,c,", "b", Some("b")),
            ("gpt-5", "", Some("")),
            ("!*", "", Some("")),
            ("GPT-5", "gpt-5", None),
        ] {
            assert_eq!(list(text).resolve(name), sent, "{text:?} for {name:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, what) in [
            ("fast=", "without a name"),
            ("=gpt-5", "without a name"),
            ("!", "without a name"),
            ("gpt-5-*=gpt-5", "wildcard"),
            ("fast=gpt-*", "wildcard"),
            ("a*=b*", "wildcard"),
            ("a=b, b=a", "alias itself"),
            ("a=b, b=c", "alias itself"),
            ("a=a", "alias itself"),
            ("a=b=c", "no name of a model"),
            ("a=b, a=c", "two things"),
            ("a, a=b", "two things"),
            ("a, !a", "two things"),
            ("gpt-5 gpt-4", "separated by commas"),
            ("!!a", "no name of a model"),
        ] {
            let error = ModelList::parse(text).map(|_| ()).unwrap_err();
            assert!(error.contains(what), "{text:?}: {error}");
        }
        assert!(ModelList::parse("a, a, b=c, b=c").is_ok());
    }

    #[test]
    fn names_and_aliases_are_told() {
        let list = list("b, fast=c, !d, e*");
        let names: Vec<_> = list.names().map(|name| &**name).collect();
        assert_eq!(names, ["b", "fast"]);
        assert_eq!(list.alias("fast").map(|model| &**model), Some("c"));
        assert_eq!(list.alias("b"), None);
    }

    proptest! {
        /// Against the plainest matcher there is.
        #[test]
        fn a_star_stands_for_any_text(pattern in "[ab*]{0,6}", name in "[ab]{0,8}") {
            fn plain(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.split_first(), name.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', rest)), None) => plain(rest, name),
                    (Some((b'*', rest)), Some((_, tail))) => plain(rest, name) || plain(pattern, tail),
                    (Some((sign, rest)), Some((first, tail))) => sign == first && plain(rest, tail),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &name), plain(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
