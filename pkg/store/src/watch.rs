// SPDX-License-Identifier: Apache-2.0

//! Following a resource: every commit after a revision, once and in order.

use std::sync::Arc;

use knarr_types::Revision;
use tokio::sync::watch;

use crate::record::Commit;
use crate::ring::{Found, Ring};
use crate::view::Scope;
use crate::wakes::Seat;

/// What a watcher is told.
#[derive(Debug)]
pub enum WatchEvent {
    /// The next commits, in order; never empty.
    Commits(Vec<Arc<Commit>>),
    /// Commits that this watcher has not seen are no longer kept: list again (410).
    Expired,
    /// The store is closed.
    Closed,
}

/// A position among the commits of a resource. Holds no commits: a slow one costs nothing.
pub struct Watcher {
    ring: Arc<Ring>,
    seat: Seat,
    scope: Scope,
    cursor: Revision,
    fed: watch::Receiver<Revision>,
}

impl Watcher {
    pub(crate) fn new(ring: Arc<Ring>, scope: Scope, from: Revision, fed: watch::Receiver<Revision>) -> Self {
        let seat = ring.join(&scope);
        Self { ring, seat, scope, cursor: from, fed }
    }

    /// Waits for what comes next. Cancel-safe: what was not returned comes again. Where the scope is
    /// an index, a commit that leaves it is told too: look at `before` and `after`.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            match self.ring.read(&self.scope, &self.seat, self.cursor) {
                Found::Commits(commits) => {
                    self.cursor = commits.last().map_or(self.cursor, |commit| commit.revision);
                    return WatchEvent::Commits(commits);
                }
                Found::Nothing(woken) => woken.await,
                Found::Expired => return WatchEvent::Expired,
                Found::Closed => return WatchEvent::Closed,
            }
        }
    }

    /// What has come already, without waiting; `None` where nothing has. As [`Self::next`] otherwise.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        match self.ring.read(&self.scope, &self.seat, self.cursor) {
            Found::Commits(commits) => {
                self.cursor = commits.last().map_or(self.cursor, |commit| commit.revision);
                Some(WatchEvent::Commits(commits))
            }
            Found::Nothing(_) => None,
            Found::Expired => Some(WatchEvent::Expired),
            Found::Closed => Some(WatchEvent::Closed),
        }
    }

    /// A revision up to which this watcher has been told everything: what a bookmark carries. `None`
    /// where something is still to be told.
    pub fn bookmark(&mut self) -> Option<Revision> {
        // First the revision, then the ring: commits are in the ring before the revision says so.
        let fed = *self.fed.borrow();
        match self.ring.read(&self.scope, &self.seat, self.cursor) {
            Found::Nothing(_) => {
                self.cursor = self.cursor.max(fed);
                Some(self.cursor)
            }
            _ => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.ring.leave(&self.scope, &self.seat);
    }
}
