// SPDX-License-Identifier: Apache-2.0

//! Reading an object's past: its commits, and what it was at a revision.

use std::sync::Arc;

use knarr_types::{Key, Revision};
use slatedb::Db;
use slatedb::config::ScanOptions;

use crate::commit::StoredCommit;
use crate::error::ReadError;
use crate::keys;
use crate::proposal::Author;
use crate::record::Record;
use crate::store::Store;
use crate::value;

/// One commit of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its revision.
    pub revision: Revision,
    /// The object's revision before it, where it had one; then that from which the state was
    /// computed, where it is another.
    pub parents: Vec<Revision>,
    /// Who made it.
    pub author: Author,
    /// When, in milliseconds of Unix time.
    pub time_ms: u64,
    /// Whether it removed the object.
    pub deleted: bool,
}

impl Store {
    /// The commits of an object that are kept, newest first.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub async fn history(&self, key: &Key) -> Result<Vec<CommitInfo>, ReadError> {
        let commits = self.stored_commits(key, Revision::ZERO).await?;
        let info = |(revision, commit): (Revision, StoredCommit)| CommitInfo {
            revision,
            parents: commit.parents,
            author: commit.author,
            time_ms: commit.time_ms,
            deleted: commit.deleted,
        };
        Ok(commits.into_iter().map(info).collect())
    }

    /// The object as it was at `revision`; `None` where it was not there.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] where the history does not reach back so far,
    /// [`ReadError::TooLarge`], [`ReadError::Storage`].
    pub async fn object_at(&self, key: &Key, revision: Revision) -> Result<Option<Arc<Record>>, ReadError> {
        let root = self.shared.tier(&key.resource).root();
        if revision > root.revision {
            return Err(ReadError::TooLarge { requested: revision, current: root.revision });
        }
        let mut state = root.get(key).cloned();
        let mut oldest = None;
        // What was committed after the root was read is not part of the walk.
        let commits = self.stored_commits(key, revision).await?;
        for (at, commit) in commits.into_iter().filter(|(at, _)| *at <= root.revision) {
            state = commit.before(state.as_deref()).map_err(|why| ReadError::Storage(why.to_owned()))?.map(Arc::new);
            oldest = Some(at);
        }
        match state {
            Some(record) if record.revision > revision => {
                Err(ReadError::Compacted { requested: revision, oldest: oldest.unwrap_or(record.revision) })
            }
            state => Ok(state),
        }
    }

    /// The commits of an object above `from`, newest first.
    async fn stored_commits(&self, key: &Key, from: Revision) -> Result<Vec<(Revision, StoredCommit)>, ReadError> {
        let storage = |error: slatedb::Error| ReadError::Storage(error.to_string());
        let closed = || ReadError::Storage("the store is closed".to_owned());
        let db: Arc<Db> = self.shared.database.load_full().ok_or_else(closed)?;
        let prefix = keys::history_prefix(key);
        let mut rows = db.scan_prefix_with_options(prefix, .., &ScanOptions::new()).await.map_err(storage)?;
        let mut revisions = Vec::new();
        while let Some(row) = rows.next().await.map_err(storage)? {
            revisions.extend(keys::parse_revision(&row.key).filter(|revision| *revision > from));
        }
        let mut commits = Vec::with_capacity(revisions.len());
        for revision in revisions.into_iter().rev() {
            // A commit pruned between the two reads is one that is no longer kept.
            let Some(stored) = db.get(keys::commit(revision)).await.map_err(storage)? else { break };
            let commit = value::open(&self.shared.keys, keys::COMMITS, &stored)
                .and_then(|opened| StoredCommit::decode(&opened.body))
                .map_err(|why| ReadError::Storage(format!("commit {revision}: {why}")))?;
            commits.push((revision, commit));
        }
        Ok(commits)
    }
}
