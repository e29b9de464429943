// SPDX-License-Identifier: Apache-2.0

//! The last commits of a resource, in memory: what watches deliver and exact reads undo.
//!
//! Besides the ring of all commits there is a feed for each scope that somebody watches, so that a
//! commit wakes only those whom it concerns. A watcher is a position in a feed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use knarr_types::Revision;
use parking_lot::Mutex;
use tokio::sync::futures::OwnedNotified;

use crate::record::{Commit, Record};
use crate::view::Scope;
use crate::wakes::{Seat, Wakes};

/// Commits handed to a watcher at a time.
const READ_COMMITS: usize = 512;
/// The newest commits keep what was encoded of them: watchers that are on time share it.
const FRAMED_COMMITS: usize = 256;

/// The commits of one resource.
pub(crate) struct Ring(Mutex<Inner>);

struct Inner {
    all: Feed,
    scoped: HashMap<Scope, Feed>,
    closed: bool,
}

/// The commits of one scope that are still in the ring.
struct Feed {
    /// Commits of this scope up to here are gone.
    floor: Revision,
    commits: VecDeque<Arc<Commit>>,
    wakes: Arc<Wakes>,
}

/// What a watcher finds at its position.
pub(crate) enum Found {
    Commits(Vec<Arc<Commit>>),
    /// Nothing yet; resolves when there may be something.
    Nothing(OwnedNotified),
    /// Commits after its position are gone.
    Expired,
    /// There will be no more.
    Closed,
}

impl Feed {
    fn new(floor: Revision) -> Self {
        Self { floor, commits: VecDeque::new(), wakes: Arc::default() }
    }

    fn after(&self, cursor: Revision) -> usize {
        self.commits.partition_point(|commit| commit.revision <= cursor)
    }

    fn forget(&mut self, revision: Revision) {
        while self.commits.front().is_some_and(|commit| commit.revision <= revision) {
            self.commits.pop_front();
            self.floor = self.floor.max(revision);
        }
    }
}

impl Ring {
    /// Empty; commits up to `floor` are not there.
    pub(crate) fn new(floor: Revision) -> Self {
        Self(Mutex::new(Inner { all: Feed::new(floor), scoped: HashMap::new(), closed: false }))
    }

    /// Adds commits in the order of their revisions and wakes whom they concern.
    pub(crate) fn push(&self, commits: &[Arc<Commit>]) {
        let mut wakes: Vec<Arc<Wakes>> = Vec::new();
        {
            let mut inner = self.0.lock();
            for commit in commits {
                inner.all.commits.push_back(Arc::clone(commit));
                let older = inner.all.commits.len().checked_sub(FRAMED_COMMITS + 1);
                if let Some(old) = older.and_then(|at| inner.all.commits.get(at)) {
                    old.forget_frames();
                }
                if inner.scoped.is_empty() {
                    continue;
                }
                for scope in scopes(commit) {
                    if let Some(feed) = inner.scoped.get_mut(&scope) {
                        feed.commits.push_back(Arc::clone(commit));
                        wakes.push(Arc::clone(&feed.wakes));
                    }
                }
            }
            wakes.push(Arc::clone(&inner.all.wakes));
        }
        wakes.iter().for_each(Wakes::wake);
    }

    /// Drops the oldest commit.
    pub(crate) fn pop(&self) {
        let mut inner = self.0.lock();
        let Some(commit) = inner.all.commits.pop_front() else { return };
        inner.all.floor = commit.revision;
        if !inner.scoped.is_empty() {
            for scope in scopes(&commit) {
                if let Some(feed) = inner.scoped.get_mut(&scope) {
                    feed.forget(commit.revision);
                }
            }
        }
    }

    /// Drops everything up to `floor`: who has not passed it is told that its position is gone.
    pub(crate) fn reset(&self, floor: Revision) {
        let mut inner = self.0.lock();
        let Inner { all, scoped, .. } = &mut *inner;
        for feed in std::iter::once(all).chain(scoped.values_mut()) {
            feed.commits.clear();
            feed.floor = floor;
            feed.wakes.wake_at_once();
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        let mut inner = self.0.lock();
        inner.closed = true;
        let Inner { all, scoped, .. } = &mut *inner;
        for feed in std::iter::once(all).chain(scoped.values_mut()) {
            feed.wakes.wake_at_once();
        }
    }

    /// The oldest revision whose state can be told: commits up to it are gone.
    pub(crate) fn floor(&self) -> Revision {
        self.0.lock().all.floor
    }

    /// The commits with `from < revision`, newest first; `None` where some of them are gone.
    pub(crate) fn undo(&self, from: Revision) -> Option<Vec<Arc<Commit>>> {
        let inner = self.0.lock();
        let start = inner.all.after(from);
        (from >= inner.all.floor).then(|| inner.all.commits.range(start..).rev().cloned().collect())
    }

    /// A seat for a watcher of `scope`, whose feed is made where it is the first.
    pub(crate) fn join(&self, scope: &Scope) -> Seat {
        let mut inner = self.0.lock();
        let Inner { all, scoped, .. } = &mut *inner;
        if *scope == Scope::All {
            return all.wakes.seat();
        }
        let feed = scoped.entry(scope.clone()).or_insert_with(|| {
            let mut feed = Feed::new(all.floor);
            feed.commits.extend(all.commits.iter().filter(|commit| concerns(scope, commit)).cloned());
            feed
        });
        feed.wakes.seat()
    }

    /// Takes a watcher's seat away, and the feed with the last.
    pub(crate) fn leave(&self, scope: &Scope, seat: &Seat) {
        let mut inner = self.0.lock();
        if *scope == Scope::All {
            inner.all.wakes.leave(seat);
        } else if let Some(feed) = inner.scoped.get(scope) {
            feed.wakes.leave(seat);
            if feed.wakes.is_empty() {
                inner.scoped.remove(scope);
            }
        }
    }

    /// What the watcher of `scope` on this seat that has seen everything up to `cursor` gets next.
    pub(crate) fn read(&self, scope: &Scope, seat: &Seat, cursor: Revision) -> Found {
        let inner = self.0.lock();
        let Some(feed) = (if *scope == Scope::All { Some(&inner.all) } else { inner.scoped.get(scope) }) else {
            return Found::Closed;
        };
        if cursor < feed.floor {
            return Found::Expired;
        }
        let start = feed.after(cursor);
        if start < feed.commits.len() {
            return Found::Commits(feed.commits.range(start..).take(READ_COMMITS).cloned().collect());
        }
        if inner.closed { Found::Closed } else { Found::Nothing(seat.woken()) }
    }
}

/// Whether a watcher of `scope` must hear of a commit: one that enters, changes or leaves it.
fn concerns(scope: &Scope, commit: &Commit) -> bool {
    states(commit).any(|record| scope.contains(record))
}

fn states(commit: &Commit) -> impl Iterator<Item = &Arc<Record>> {
    commit.before.iter().chain(&commit.after)
}

/// The scopes, other than all, that a commit concerns.
fn scopes(commit: &Commit) -> Vec<Scope> {
    let (namespace, name) = (Arc::clone(&commit.key.namespace), Arc::clone(&commit.key.name));
    let mut scopes = vec![Scope::Namespace(Arc::clone(&namespace)), Scope::Object { namespace, name }];
    for (field, value) in states(commit).flat_map(|record| &record.fields) {
        let scope = Scope::Index { field: Arc::clone(field), value: Arc::clone(value) };
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

/// Which commits are kept, over all rings of a store: the oldest go first when the budget is spent.
#[derive(Default)]
pub(crate) struct Budget {
    order: VecDeque<(Arc<Ring>, usize)>,
    bytes: usize,
}

impl Budget {
    /// Takes a new commit of `ring` into account.
    pub(crate) fn add(&mut self, ring: &Arc<Ring>, commit: &Commit) {
        let bytes = commit.size_bytes();
        self.bytes += bytes;
        self.order.push_back((Arc::clone(ring), bytes));
    }

    /// Drops the oldest commits until no more than `limit` bytes are kept.
    pub(crate) fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some((ring, bytes)) = self.order.pop_front() else { return };
            ring.pop();
            self.bytes -= bytes;
        }
    }

    /// What is kept, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// No longer counts what a ring held that was reset.
    pub(crate) fn forget(&mut self, ring: &Arc<Ring>) {
        let bytes = &mut self.bytes;
        self.order.retain(|(other, size)| {
            let keep = !Arc::ptr_eq(other, ring);
            if !keep {
                *bytes -= size;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::{Key, ResourceId};

    use super::*;

    #[test]
    fn only_the_newest_commits_keep_what_was_encoded() {
        let commit = |revision| {
            let key = Key::new(ResourceId::new("", "pods"), "default", "a");
            Arc::new(Commit::new(Revision(revision), key, None, None))
        };
        let (ring, old) = (Ring::new(Revision(0)), commit(1));
        ring.push(std::slice::from_ref(&old));
        assert_eq!(old.frame(7, || "first".into()), old.frame(7, || "second".into()));
        let more: Vec<_> = (2..).take(FRAMED_COMMITS).map(commit).collect();
        ring.push(&more);
        assert_eq!(old.frame(7, || "third".into()), "third", "it was given back");
        let new = &more[0];
        assert_eq!(new.frame(7, || "first".into()), new.frame(7, || "second".into()));
    }
}
