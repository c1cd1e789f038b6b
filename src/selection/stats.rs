//! Per-credential statistics of a selector, for each provider and model.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::candidates::Candidate;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Bounded: of more than 4,096 pairs of provider and model the one that was not written to for the longest time is forgotten.
#[derive(Debug, Default)]
pub(super) struct Notes<T> {
    pages: Map<Arc<str>, Map<Arc<str>, Page<T>>>,
    len: usize,
    writes: u64,
}

/// The notes about one provider's credentials for one model, by id.
#[derive(Debug, Default)]
pub(super) struct Page<T> {
    by_id: Map<Arc<str>, T>,
    last_written: u64,
}

impl<T: Default> Notes<T> {
    pub(super) fn page(&self, provider: &str, model: &str) -> Option<&Page<T>> {
        self.pages.get(provider)?.get(model)
    }

    /// The note about a candidate: on the page of the model that its call asks for, or on that of the vendor's name.
    pub(super) fn of<'a>(
        &'a self,
        of_asked: Option<&'a Page<T>>,
        provider: &str,
        candidate: &Candidate,
    ) -> Option<&'a T> {
        let page = match candidate.sent_as() {
            None => of_asked,
            Some(model) => self.page(provider, model),
        };
        page?.get(&candidate.id)
    }

    /// The note about a credential, to be written; a new one where there is none.
    pub(super) fn write(&mut self, provider: &str, model: &str, id: &str) -> &mut T {
        self.writes += 1;
        let known = self
            .pages
            .get(provider)
            .is_some_and(|models| models.contains_key(model));
        if !known {
            if self.len == MOST_PAGES {
                self.drop_oldest();
            }
            self.len += 1;
            let models = self.pages.entry(provider.into()).or_default();
            models.insert(model.into(), Page::default());
        }
        let models = self.pages.get_mut(provider).expect("it is known");
        let page = models.get_mut(model).expect("it is known");
        page.last_written = self.writes;
        if !page.by_id.contains_key(id) {
            page.by_id.insert(id.into(), T::default());
        }
        page.by_id.get_mut(id).expect("it is known")
    }

    pub(super) fn forget(&mut self, id: &str) {
        for page in self.pages.values_mut().flat_map(Map::values_mut) {
            page.by_id.remove(id);
        }
    }

    fn drop_oldest(&mut self) {
        let pages = self.pages.iter().flat_map(|(provider, models)| {
            models
                .iter()
                .map(move |(model, page)| (page.last_written, provider, model))
        });
        let oldest = pages
            .min_by_key(|(written, ..)| *written)
            .map(|(_, provider, model)| (Arc::clone(provider), Arc::clone(model)));
        if let Some((provider, model)) = oldest
            && let Some(models) = self.pages.get_mut(&provider)
        {
            self.len -= usize::from(models.remove(&model).is_some());
        }
    }
}

impl<T> Page<T> {
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        self.by_id.get(id)
    }
}

const MOST_PAGES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_apart_and_the_oldest_make_room() {
        let mut notes = Notes::<u32>::default();
        for n in 0..=MOST_PAGES {
            *notes.write("p", &n.to_string(), "a") += 7;
        }
        assert!(notes.page("p", "0").is_none());
        let latest = notes.page("p", &MOST_PAGES.to_string()).unwrap();
        assert_eq!((latest.get("a"), latest.get("b")), (Some(&7), None));
        assert!(notes.page("q", "1").is_none());
        notes.forget("a");
        assert_eq!(notes.page("p", "1").unwrap().get("a"), None);
        assert_eq!(notes.len, MOST_PAGES);
    }
}
