// SPDX-License-Identifier: Apache-2.0
//! What authorizers remember of the store: computed once, then kept commit by commit. Who reads it sees
//! every write that was acknowledged before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use knarr_store::{Record, Scope, Store, WatchEvent, Watcher};
use knarr_types::{Key, ResourceId, Revision};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// A state of an object, as a fold sees it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The object.
    pub json: &'a [u8],
    /// Its selectable fields.
    pub fields: &'a [(Arc<str>, Arc<str>)],
}

impl<'a> Seen<'a> {
    fn of(record: &'a Record) -> Self {
        Self { json: &record.json, fields: &record.fields }
    }

    /// A selectable field.
    pub(crate) fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| &**field == name).map(|(_, value)| &**value)
    }
}

/// Something computed from all objects of some resources, change by change.
pub(crate) trait Fold: Default {
    /// An object came, changed or went.
    fn apply(&mut self, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>);
}

/// A fold that follows the store. Nothing is computed before it is first read.
pub(crate) struct Followed<T> {
    store: Store,
    resources: Box<[ResourceId]>,
    /// All commits up to this revision are in `state`.
    seen: AtomicU64,
    state: RwLock<T>,
    /// One a resource, in the same order; empty before the first read.
    watchers: Mutex<Vec<Watcher>>,
}

impl<T: Fold> Followed<T> {
    /// Follows these resources.
    pub(crate) fn new(store: Store, resources: Vec<ResourceId>) -> Self {
        let (state, watchers) = (RwLock::default(), Mutex::default());
        Self { store, resources: resources.into(), seen: AtomicU64::new(0), state, watchers }
    }

    /// The state with all that is visible now. Allocates nothing where nothing has changed.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        if self.store.changed(&self.resources).0 > self.seen.load(Ordering::Acquire) {
            self.catch_up();
        }
        self.state.read()
    }

    fn catch_up(&self) {
        let mut watchers = self.watchers.lock();
        if watchers.is_empty() || !self.take_in(&mut watchers) {
            self.begin(&mut watchers);
        }
    }

    /// Takes in what was committed since; false where some of it is no longer kept.
    fn take_in(&self, watchers: &mut [Watcher]) -> bool {
        let mut state = self.state.write();
        let mut told = self.store.changed(&self.resources);
        for watcher in watchers {
            while let Some(event) = watcher.try_next() {
                let WatchEvent::Commits(commits) = event else { return matches!(event, WatchEvent::Closed) };
                for commit in commits {
                    let [before, after] = [&commit.before, &commit.after].map(|r| r.as_deref().map(Seen::of));
                    state.apply(&commit.key, before, after);
                }
            }
            // What came after the last look is taken in with the next read.
            told = told.min(watcher.bookmark().unwrap_or(Revision::ZERO));
        }
        self.seen.fetch_max(told.0, Ordering::AcqRel);
        true
    }

    /// Computes the state from nothing.
    fn begin(&self, watchers: &mut Vec<Watcher>) {
        let mut state = self.state.write();
        *state = T::default();
        watchers.clear();
        let mut told = Revision(u64::MAX);
        for resource in &self.resources {
            let snapshot = self.store.snapshot(resource);
            for record in snapshot.list(&Scope::All, None) {
                state.apply(&record.key, None, Some(Seen::of(record)));
            }
            told = told.min(snapshot.revision());
            watchers.push(self.store.watch(resource, snapshot.revision(), Scope::All));
        }
        self.seen.store(told.0, Ordering::Release);
    }
}
