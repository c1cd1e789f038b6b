//! API keys in files that an orchestrator mounts: followed as they change, never written.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;
mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Availability, Error, FailurePolicy, FileStore, Manager, ManualClock, MountedKeys,
    Outcome, Store,
};
use support::{Fake, eventually, manual};
use watched::Watched;

const SECOND: Duration = Duration::from_secs(1);

/// A volume as Kubernetes mounts it: links to files below `..data`, which leads to a directory with a time in its name.
struct Volume {
    home: tempfile::TempDir,
    versions: usize,
}

impl Volume {
    fn of(keys: &[(&str, &str)]) -> Self {
        let mut volume = Self {
            home: tempfile::tempdir().unwrap(),
            versions: 0,
        };
        volume.replace(keys);
        volume
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// Replaces all keys in one step: the link is renamed, then the former directory goes.
    fn replace(&mut self, keys: &[(&str, &str)]) {
        let former = fs::read_link(self.path().join("..data")).ok();
        self.versions += 1;
        let version = format!("..2026_11_27_20_10_{:02}.123456789", self.versions);
        fs::create_dir(self.path().join(&version)).unwrap();
        for (name, key) in keys {
            fs::write(self.path().join(&version).join(name), key).unwrap();
            let _ = symlink(Path::new("..data").join(name), self.path().join(name));
        }
        symlink(&version, self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        if let Some(former) = former {
            fs::remove_dir_all(self.path().join(former)).unwrap();
        }
    }

    /// All that is there, links as what they lead to.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if let Ok(target) = fs::read_link(&path) {
                    found.insert(path, target.into_os_string().into_encoded_bytes());
                } else if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.path(), &mut found);
        found
    }
}

struct Process {
    manager: Manager,
    clock: ManualClock,
    store: Watched,
}

impl Process {
    fn over(store: MountedKeys) -> Self {
        let clock = manual();
        let store = Watched::new(Arc::new(store));
        let manager = Manager::builder()
            .clock(clock.clone())
            .policy(FailurePolicy::default().with_jitter(0.0).without_waiting())
            .store(store.clone())
            .build()
            .unwrap();
        manager.register_executor(Fake::new("p"));
        manager.load().unwrap();
        manager.start_hot_reload(SECOND).unwrap();
        Self {
            manager,
            clock,
            store,
        }
    }

    /// Lets two looks at the store pass.
    fn looks(&self) {
        for _ in 0..2 {
            let looks = self.store.looks();
            eventually("a look", || {
                if self.clock.timers() > 0 {
                    self.clock.advance(SECOND);
                }
                self.store.looks() > looks
            });
        }
    }

    fn keys(&self) -> Vec<(String, String)> {
        let mut keys: Vec<_> = self
            .manager
            .list()
            .iter()
            .map(|auth| {
                let key = auth.attributes.get("api_key").unwrap();
                (auth.id.clone(), key.to_owned())
            })
            .collect();
        keys.sort();
        keys
    }

    fn sees(&self, expected: &[(&str, &str)]) {
        self.looks();
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, key)| ((*id).to_owned(), (*key).to_owned()))
            .collect();
        eventually("the keys", || self.keys() == expected);
    }

    fn availability(&self, id: &str) -> Availability {
        let reports = self.manager.explain("p", "m");
        let report = reports.iter().find(|report| &*report.auth_id == id);
        report.unwrap().availability
    }
}

fn open(volume: &Volume) -> MountedKeys {
    let template = Auth::new("p").with_attribute("base_url", "https://llm.example");
    MountedKeys::open(volume.path(), template).unwrap()
}

#[test]
fn a_swapped_link_is_followed() {
    let mut volume = Volume::of(&[("a", "sk-a-1\n"), ("b", "sk-b-1\n")]);
    let process = Process::over(open(&volume));
    process.sees(&[("a", "sk-a-1"), ("b", "sk-b-1")]);
    let auth = process.manager.get_by_id("a").unwrap();
    assert_eq!(auth.provider, "p");
    assert_eq!(auth.attributes.get("base_url"), Some("https://llm.example"));

    volume.replace(&[("a", "sk-a-2\n"), ("b", "sk-b-1\n"), ("c", "sk-c-1\n")]);
    process.sees(&[("a", "sk-a-2"), ("b", "sk-b-1"), ("c", "sk-c-1")]);

    volume.replace(&[("c", "sk-c-1\n")]);
    process.sees(&[("c", "sk-c-1")]);

    volume.replace(&[("a", "sk-a-3\n"), ("c", "sk-c-1\n")]);
    process.sees(&[("a", "sk-a-3"), ("c", "sk-c-1")]);
}

#[test]
fn a_volume_that_changes_while_it_is_read_is_read_as_one() {
    let mut volume = Volume::of(&[("a", "1"), ("b", "1")]);
    let store = Arc::new(open(&volume));
    let reader = Arc::clone(&store);
    let (gone, stop) = crossbeam_channel::bounded::<()>(0);
    let thread = std::thread::spawn(move || {
        let mut reads = 0;
        while stop.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
            let records = reader.list().unwrap().records;
            let keys: Vec<_> = records
                .iter()
                .filter_map(|auth| auth.attributes.get("api_key"))
                .collect();
            assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
            reads += 1;
        }
        reads
    });
    for version in 2..200 {
        let key = version.to_string();
        volume.replace(&[("a", &key), ("b", &key)]);
    }
    drop(gone);
    assert!(thread.join().unwrap() > 0);
}

#[test]
fn nothing_is_written_and_what_is_known_stays_in_memory() {
    let mut volume = Volume::of(&[("a", "sk-a-1"), ("b", "sk-b-1")]);
    let before = volume.contents();
    let process = Process::over(open(&volume));
    let limited = Error::upstream(429, "slow down").with_retry_after(600 * SECOND);
    let outcome = Outcome::failure("a", "p", "m", limited);
    process.manager.mark_result(&outcome);
    process.manager.set_disabled("b", true).unwrap();
    process.looks();
    eventually("the state is saved", || {
        process.manager.store_health().unsaved == 0
    });
    assert_eq!(volume.contents(), before);
    assert_eq!(process.availability("a"), Availability::Cooling);
    assert_eq!(process.availability("b"), Availability::Disabled);

    // A key that is replaced: what the former was refused for ends, what the operator has said stays.
    volume.replace(&[("a", "sk-a-1"), ("b", "sk-b-2")]);
    process.sees(&[("a", "sk-a-1"), ("b", "sk-b-2")]);
    assert_eq!(process.availability("a"), Availability::Cooling);
    assert_eq!(process.availability("b"), Availability::Disabled);

    // What the program removes, or replaces itself, stays so until the file changes.
    let own = (*process.manager.get_by_id("b").unwrap()).clone();
    process
        .manager
        .update(own.with_attribute("api_key", "own"))
        .unwrap();
    process.manager.remove("a").unwrap();
    process.sees(&[("b", "own")]);
    volume.replace(&[("a", "sk-a-2"), ("b", "sk-b-3")]);
    process.sees(&[("a", "sk-a-2"), ("b", "sk-b-3")]);
    process.manager.shutdown(Duration::from_secs(20)).unwrap();
}

#[test]
fn what_cannot_be_read_takes_no_key_away() {
    let mut volume = Volume::of(&[("a", "sk-a-1"), ("b", "sk-b-1")]);
    let process = Process::over(open(&volume));
    volume.replace(&[("a", ""), ("b", "two\nlines")]);
    process.sees(&[("a", "sk-a-1"), ("b", "sk-b-1")]);
    let skipped = process.manager.load().unwrap().skipped;
    let locations: Vec<_> = skipped.iter().map(|one| one.location.as_str()).collect();
    assert_eq!(locations.len(), 2, "{skipped:?}");
    assert!(locations[0].ends_with("/a") && locations[1].ends_with("/b"));
    volume.replace(&[("a", "sk-a-2"), ("b", "sk-b-2")]);
    process.sees(&[("a", "sk-a-2"), ("b", "sk-b-2")]);

    // The whole volume is away, and comes back.
    let away = volume.path().with_extension("away");
    fs::rename(volume.path(), &away).unwrap();
    process.looks();
    assert!(!process.manager.store_health().is_good());
    assert_eq!(process.keys().len(), 2);
    fs::rename(&away, volume.path()).unwrap();
    process.sees(&[("a", "sk-a-2"), ("b", "sk-b-2")]);
    eventually("the store is well", || {
        process.manager.store_health().is_good()
    });
}

#[test]
fn several_places_have_their_templates_and_their_ids() {
    let (one, other) = (
        Volume::of(&[("a", "sk-1")]),
        Volume::of(&[("a", "sk-2"), ("b", "sk-3")]),
    );
    let place = |volume: &Volume| volume.path().to_owned();
    let store = MountedKeys::open(place(&one), Auth::new("p"))
        .unwrap()
        .and(place(&other), Auth::new("q").with_id("team"))
        .unwrap()
        .and(place(&one).join("a"), Auth::new("r").with_id("single"))
        .unwrap();
    let listing = store.list().unwrap();
    let found: Vec<_> = listing
        .records
        .iter()
        .map(|auth| (auth.id.as_str(), auth.provider.as_str()))
        .collect();
    let expected = [
        ("a", "p"),
        ("single", "r"),
        ("team/a", "q"),
        ("team/b", "q"),
    ];
    assert_eq!(found, expected);
    assert!(listing.skipped.is_empty());

    let same = MountedKeys::open(place(&one), Auth::new("p")).unwrap();
    let same = same.and(place(&other), Auth::new("q")).unwrap();
    let listing = same.list().unwrap();
    assert_eq!((listing.records.len(), listing.skipped.len()), (2, 1));
    assert!(MountedKeys::open("/no/such/place", Auth::new("p")).is_err());
}

#[test]
fn other_records_are_kept_in_the_store_beside() {
    let mut volume = Volume::of(&[("a", "sk-canary-a")]);
    let home = tempfile::tempdir().unwrap();
    let files = || FileStore::open(home.path()).unwrap();
    files()
        .save(&Auth::api_key("p", "sk-old").with_id("a"))
        .unwrap();
    let process = Process::over(open(&volume).beside(files()));
    assert_eq!(process.keys(), [("a".into(), "sk-canary-a".into())]);

    let other = Auth::api_key("p", "sk-other").with_id("other");
    process.manager.register(other).unwrap();
    process.manager.set_disabled("a", true).unwrap();
    // Another process writes there, too.
    files()
        .save(&Auth::api_key("p", "sk-new").with_id("new"))
        .unwrap();
    volume.replace(&[("a", "sk-canary-b")]);
    process.sees(&[
        ("a", "sk-canary-b"),
        ("new", "sk-new"),
        ("other", "sk-other"),
    ]);
    files().delete("new").unwrap();
    process.sees(&[("a", "sk-canary-b"), ("other", "sk-other")]);
    process.manager.shutdown(Duration::from_secs(20)).unwrap();
    for entry in fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains("canary"), "{}", path.display());
    }
    assert!(home.path().join("other.credential").exists());
}
