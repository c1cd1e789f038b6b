//! Sealed stores: each process has a wrapper of its own, and operators replace the keys while all of them work.

use std::sync::{Arc, Weak};
use std::thread;

use credpool::{Auth, Error, Sealed, SealingKey, Store};
use parking_lot::Mutex;
use serde_json::Value;

use crate::backend::{Backend, Saving, put_into};
use crate::gate::Stops;
use crate::operators;
use crate::promises::present;
use crate::random::Random;
use crate::timeline::Pid;
use crate::truth::Presence;
use crate::world::World;

type Handle = Sealed<Arc<dyn Store>>;

pub struct SealedBackend {
    inner: Box<dyn Backend>,
    keys: Arc<Mutex<Vec<SealingKey>>>,
    handles: Mutex<Vec<Weak<Handle>>>,
}

impl SealedBackend {
    pub fn over(inner: Box<dyn Backend>) -> Self {
        Self {
            inner,
            keys: Arc::new(Mutex::new(vec![key(0)])),
            handles: Mutex::default(),
        }
    }

    fn seal(&self, store: Arc<dyn Store>) -> Handle {
        let keys = Arc::clone(&self.keys);
        Sealed::new(store, move || Ok(keys.lock().clone())).unwrap()
    }

    /// Every process reads its keys again, as its operator has it do.
    fn reload_all(&self) {
        let handles = self.handles.lock().clone();
        for handle in handles.iter().filter_map(Weak::upgrade) {
            handle.reload_keys().unwrap();
        }
    }

    fn add_key(&self) {
        let mut keys = self.keys.lock();
        let number = keys.iter().filter_map(number_of).max().unwrap_or(0);
        keys.push(key(number.wrapping_add(1)));
    }

    fn record(&self, id: &str) -> Option<Auth> {
        self.look().load(id).ok().flatten()
    }
}

fn key(number: u8) -> SealingKey {
    SealingKey::from_bytes([number; 32])
}

fn number_of(key: &SealingKey) -> Option<u8> {
    (0..=u8::MAX).find(|number| self::key(*number).id() == key.id())
}

impl Backend for SealedBackend {
    fn open(&self, pid: Pid) -> Arc<dyn Store> {
        Arc::new(self.seal(self.inner.open(pid)))
    }

    fn open_before(&self, stops: &Stops) -> Arc<dyn Store> {
        let store = stops.before(self.inner.open(stops.pid));
        let handle = Arc::new(self.seal(store));
        self.handles.lock().push(Arc::downgrade(&handle));
        handle
    }

    fn look(&self) -> Arc<dyn Store> {
        Arc::new(self.seal(self.inner.look()))
    }

    fn text(&self, id: &str) -> Option<Value> {
        serde_json::to_value(self.record(id)?).ok()
    }

    fn put(&self, id: &str, value: &Value, _: Saving) {
        put_into(&*self.look(), value, self.text(id));
    }

    fn remove(&self, id: &str) {
        self.inner.remove(id);
    }

    fn is_gone(&self, id: &str) -> bool {
        self.inner.is_gone(id)
    }

    fn keeps_recoveries(&self) -> bool {
        self.inner.keeps_recoveries()
    }

    fn remembers_removal(&self, id: &str) -> bool {
        self.inner.remembers_removal(id)
    }

    fn put_half(&self, id: &str, _: &Value) -> bool {
        let text = self.inner.text(id);
        text.is_some_and(|text| self.inner.put_half(id, &text))
    }

    fn unmount(&self) -> bool {
        self.inner.unmount()
    }

    fn mount(&self) {
        self.inner.mount();
    }

    fn change_keys(&self, random: &mut Random) -> Option<KeyChange> {
        match random.below(4) {
            0 => {
                self.add_key();
                self.reload_all();
                Some(done("a key is added"))
            }
            // The processes learn it when they meet it.
            1 => {
                self.add_key();
                self.keys.lock().rotate_right(1);
                Some(done("a new key seals"))
            }
            _ => {
                self.keys.lock().rotate_right(1);
                self.reload_all();
                let (handle, keys) = (self.seal(self.inner.look()), Arc::clone(&self.keys));
                Some(Box::new(move || {
                    let skipped = handle.reseal().unwrap();
                    if skipped.is_empty() {
                        keys.lock().truncate(1);
                    }
                    format!("another key seals all, but for {skipped:?}")
                }))
            }
        }
    }

    fn check_opens(&self, id: &str) -> Result<(), Error> {
        self.look().load(id).map(drop)
    }

    fn shows_token(&self, id: &str) -> bool {
        let text = self.inner.text(id).unwrap_or_default().to_string();
        ["\"at-", "\"rt-", "\"sk-"]
            .iter()
            .any(|token| text.contains(token))
    }
}

/// What becomes of keys, and says so when it is done.
pub type KeyChange = Box<dyn FnOnce() -> String + Send>;

fn done(what: &'static str) -> KeyChange {
    Box::new(move || what.to_owned())
}

/// While a process changes a record.
pub fn change_keys(world: &mut World, random: &mut Random) {
    if world.is_troubled() {
        return;
    }
    if let Some(change) = world.backend.change_keys(random) {
        let change = thread::spawn(change);
        operators::update_fresh(world, random);
        let what = change.join().unwrap();
        world.note(format!("of the sealed store: {what}"));
    }
}

pub fn a_sealed_store_shows_no_token(world: &mut World) {
    for id in present(world, Presence::Present) {
        if world.backend.shows_token(&id) {
            let what = format!("the store shows a token or a key of {id}");
            let promise = "a_sealed_store_shows_no_token";
            world.truth().lock().breach(promise, what);
        }
    }
}

pub fn no_change_of_keys_loses_a_record(world: &mut World) {
    for id in present(world, Presence::Present) {
        if let Err(error) = world.backend.check_opens(&id) {
            let promise = "no_change_of_keys_loses_a_record";
            world.truth().lock().breach(promise, error.to_string());
        }
    }
}
