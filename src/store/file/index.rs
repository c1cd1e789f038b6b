//! The index of the directory: where each record is, and what has changed since a cursor.

use std::collections::{BTreeMap, BTreeSet};

use super::fingerprint::Marks;
use super::names;
use super::record::{Form, Home};

/// May be out of date: what it says is verified before it is used.
#[derive(Debug, Default)]
pub(super) struct Index {
    scanned: bool,
    files: BTreeMap<String, Seen>,
    /// The homes of every id, the one that is used first.
    homes: BTreeMap<String, Vec<Home>>,
    /// The last home of those whose files another hand removed: a save brings them back there.
    former: BTreeMap<String, Home>,
    /// In which version an id last changed by another hand.
    changed: BTreeMap<String, u64>,
    /// Records that the directory held before another one took its place, which lacks them: where they were, and in which
    /// version that came. They are lost, not removed.
    lost: BTreeMap<String, (String, u64)>,
    version: u64,
    /// Counts this store's own writes.
    writes: u64,
}

/// A record's files as they were last seen.
#[derive(Debug, Default)]
struct Seen {
    marks: Marks,
    /// The records in it; where it cannot be parsed, the former ones.
    records: Vec<(String, Home)>,
    problem: Option<(String, u64)>,
    /// The own write that it comes from.
    write: u64,
}

/// A record's files as they were read.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) path: String,
    pub(super) marks: Marks,
    /// None: it is gone.
    pub(super) records: Result<Vec<(String, Home)>, String>,
}

/// What has changed since a version.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) ids: Vec<String>,
    /// Paths of files that cannot be parsed, and why.
    pub(super) problems: Vec<(String, String)>,
}

impl Index {
    pub(super) fn is_scanned(&self) -> bool {
        self.scanned
    }

    pub(super) fn home(&self, id: &str) -> Option<&Home> {
        self.homes.get(id)?.first()
    }

    /// Where a record was before its files were removed.
    pub(super) fn former_home(&self, id: &str) -> Option<&Home> {
        self.former.get(id)
    }

    /// Whether the directory has, or had, any.
    pub(super) fn has_records(&self) -> bool {
        !self.homes.is_empty() || !self.lost.is_empty()
    }

    /// Another directory has taken the place of the one that was known.
    pub(super) fn replaced(&mut self) {
        self.version += 1;
        self.files.clear();
        for (id, homes) in std::mem::take(&mut self.homes) {
            if let Some(home) = homes.into_iter().next() {
                self.lost
                    .insert(id.clone(), (home.path.clone(), self.version));
                self.former.insert(id, home);
            }
        }
    }

    /// Whether the record was in a former directory, and is not in the one that has taken its place.
    pub(super) fn has_lost(&self, id: &str) -> bool {
        self.lost.contains_key(id)
    }

    /// Where the records were that the directory lacks, why that is reported, and since which version.
    pub(super) fn lost(&self) -> impl Iterator<Item = (&String, &str, u64)> {
        let lost = self.lost.values();
        lost.map(|(path, since)| (path, LOST, *since))
    }

    /// What to give to [`seen`](Self::seen) with what is read from now on.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    pub(super) fn marks(&self, path: &str) -> Option<Marks> {
        self.files.get(path).map(|seen| seen.marks.clone())
    }

    /// This store has written a record.
    pub(super) fn wrote(&mut self, id: &str, home: &Home, marks: impl FnOnce(&mut Marks)) {
        self.writes += 1;
        let seen = self.files.entry(home.path.clone()).or_default();
        marks(&mut seen.marks);
        seen.write = self.writes;
        seen.problem = None;
        let record = (id.to_owned(), home.clone());
        if !seen.records.contains(&record) {
            let mut records = vec![record];
            if home.form == Form::Held {
                records.extend(seen.records.iter().cloned());
            }
            let former = std::mem::replace(&mut seen.records, records.clone());
            self.unlink(former);
            self.link(records);
        }
    }

    /// This store has removed a record's files.
    pub(super) fn removed(&mut self, id: &str, path: &str) {
        self.writes += 1;
        if let Some(seen) = self.files.remove(path) {
            self.unlink(seen.records);
        }
        self.former.remove(id);
        self.lost.remove(id);
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The files of records to look at, for files that have changed: their states' too.
    pub(super) fn owners(&self, noted: &BTreeSet<String>) -> BTreeSet<String> {
        let mut owners = BTreeSet::new();
        for path in noted {
            let Some(owner) = names::owner_of_state(path) else {
                owners.insert(path.clone());
                continue;
            };
            if !self.files.contains_key(&owner) {
                // Another program's file may have several.
                let held = self.files.iter();
                let held = held.filter(|(_, seen)| seen.marks.has_further(path));
                owners.extend(held.map(|(path, _)| path.clone()));
            }
            owners.insert(owner);
        }
        owners
    }

    /// Takes in what was read since `writes`. `present`: those of the files that were looked at that are there; `covers`: whether a path was
    /// looked at.
    pub(super) fn seen_all(
        &mut self,
        writes: u64,
        present: &[String],
        covers: impl Fn(&str) -> bool,
        sights: Vec<Sight>,
    ) -> TakenIn {
        let present: BTreeSet<&String> = present.iter().collect();
        let known = self.files.keys();
        let gone = known.filter(|path| !present.contains(path) && covers(path));
        let gone = gone.cloned().collect();
        self.scanned = true;
        self.take_all(writes, sights, gone)
    }

    /// The same where only the files at `paths` were looked at.
    pub(super) fn seen_some(
        &mut self,
        writes: u64,
        present: &[String],
        paths: &BTreeSet<String>,
        sights: Vec<Sight>,
    ) -> TakenIn {
        let present: BTreeSet<&String> = present.iter().collect();
        let known = paths.iter().filter(|path| self.files.contains_key(*path));
        let gone = known.filter(|path| !present.contains(path));
        let gone = gone.cloned().collect();
        self.take_all(writes, sights, gone)
    }

    fn take_all(&mut self, writes: u64, sights: Vec<Sight>, gone: Vec<String>) -> TakenIn {
        let version = self.version + 1;
        let mut changed = BTreeSet::new();
        let mut overtaken = BTreeSet::new();
        let mut news = false;
        let gone = gone.into_iter().map(Sight::gone);
        for sight in sights.into_iter().chain(gone) {
            let known = self.files.get(&sight.path);
            if known.is_some_and(|seen| seen.write > writes) {
                overtaken.insert(sight.path);
                continue;
            }
            news |= self.take(sight, version, &mut changed);
        }
        if news {
            self.version = version;
        }
        self.changed
            .extend(changed.into_iter().map(|id| (id, version)));
        TakenIn {
            version: self.version,
            overtaken,
        }
    }

    /// `None`: everything.
    pub(super) fn since(&self, version: Option<u64>) -> News {
        if version == Some(self.version) {
            return News::default();
        }
        let everything = version.is_none();
        let version = version.unwrap_or(0);
        let changed = self.changed.iter();
        let mut ids: BTreeSet<&String> = changed
            .filter(|(id, changed)| {
                (everything || **changed > version) && !self.lost.contains_key(*id)
            })
            .map(|(id, _)| id)
            .collect();
        if everything {
            ids.extend(self.homes.keys());
        }
        let unread = self.files.iter().filter_map(|(path, seen)| {
            let (reason, found) = seen.problem.as_ref()?;
            Some((path, reason.as_str(), *found))
        });
        News {
            ids: ids.into_iter().cloned().collect(),
            problems: unread
                .chain(self.lost())
                .filter(|(_, _, found)| everything || *found > version)
                .map(|(path, reason, _)| (path.clone(), reason.to_owned()))
                .collect(),
        }
    }

    /// Whether it is news.
    fn take(&mut self, sight: Sight, version: u64, changed: &mut BTreeSet<String>) -> bool {
        let Sight {
            path,
            mut marks,
            records,
        } = sight;
        if let Some(seen) = self.files.get_mut(&path) {
            marks = marks.after(&seen.marks);
            let is_gone = records.as_ref().is_ok_and(Vec::is_empty);
            if !is_gone && seen.marks.say_the_same(&marks) {
                seen.marks = marks;
                return false;
            }
        }
        let former = self.files.remove(&path);
        let former_records = former.map(|seen| seen.records).unwrap_or_default();
        let (records, problem) = match records {
            Ok(records) => (records, None),
            // The records in it have not gone: another program may be in the middle of writing it.
            Err(reason) => (former_records.clone(), Some((reason, version))),
        };
        if problem.is_none() {
            let ids = former_records.iter().chain(&records);
            changed.extend(ids.map(|(id, _)| id.clone()));
        }
        if former_records != records {
            self.unlink(former_records);
            self.link(records.clone());
        }
        if !records.is_empty() || problem.is_some() {
            let seen = Seen {
                marks,
                records,
                problem,
                write: 0,
            };
            self.files.insert(path, seen);
        }
        true
    }

    fn link(&mut self, records: Vec<(String, Home)>) {
        for (id, home) in records {
            self.former.remove(&id);
            self.lost.remove(&id);
            let homes = self.homes.entry(id.clone()).or_default();
            homes.push(home);
            homes.sort_by_cached_key(|home| (home.rank(&id), home.path.clone()));
        }
    }

    fn unlink(&mut self, records: Vec<(String, Home)>) {
        for (id, home) in records {
            let Some(homes) = self.homes.get_mut(&id) else {
                continue;
            };
            homes.retain(|known| *known != home);
            if homes.is_empty() {
                self.homes.remove(&id);
                self.former.insert(id, home);
            }
        }
    }
}

/// What became of a look.
#[derive(Debug)]
pub(super) struct TakenIn {
    pub(super) version: u64,
    /// Files that this store wrote while they were being read. What was read may be older than that, or tell of another change: they are
    /// to be looked at again.
    pub(super) overtaken: BTreeSet<String>,
}

impl Sight {
    pub(super) fn gone(path: String) -> Self {
        Self {
            path,
            marks: Marks::default(),
            records: Ok(Vec::new()),
        }
    }
}

const LOST: &str =
    "is missing from the directory that replaced the former one; its credential stays";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_while_it_was_read_is_to_be_looked_at_again() {
        let (mut index, home) = (Index::default(), Home::native("a"));
        let paths = BTreeSet::from([home.path.clone()]);
        let look = |index: &mut Index, writes| {
            let sight = Sight {
                path: home.path.clone(),
                marks: Marks::default(),
                records: Ok(vec![("a".to_owned(), home.clone())]),
            };
            index.seen_some(
                writes,
                std::slice::from_ref(&home.path),
                &paths,
                vec![sight],
            )
        };
        let before = index.writes();
        index.wrote("a", &home, |_| {});
        assert_eq!(look(&mut index, before).overtaken, paths);
        let after = index.writes();
        assert!(look(&mut index, after).overtaken.is_empty());
    }
}
