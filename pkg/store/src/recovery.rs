// SPDX-License-Identifier: Apache-2.0

//! What the sequencer does when the outcome of a batch is unknown: it tells who waits, opens the
//! database again, reads what really happened, and goes on above every revision that it ever gave.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use knarr_types::Revision;
use slatedb::{CloseReason, Db, ErrorKind};

use crate::commit::HistoryMark;
use crate::database;
use crate::error::{OpenError, ProposeError};
use crate::load::{self, Loaded};
use crate::options::Tier;
use crate::record::Commit;
use crate::sequencer::Sequencer;
use crate::shared::{Control, Phase, Refusal};
use crate::view::Root;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How the kernel says that there is no room (ENOSPC, EDQUOT).
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

impl Sequencer {
    /// Ends the database whose state is unknown and comes back with a new one; breaks where the
    /// store was taken over by another server, or is to be closed.
    pub(crate) async fn recover(&mut self, error: &slatedb::Error) -> ControlFlow<()> {
        let fenced = error.kind() == ErrorKind::Closed(CloseReason::Fenced);
        tracing::error!(%error, fenced, "the outcome of a write is unknown");
        self.shared.phase.send_replace(if fenced { Phase::Closed } else { waiting(error) });
        self.shared.database.store(None);
        self.abandon();
        database::close(&self.db).await;
        if fenced {
            return ControlFlow::Break(());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match self.reopen().await {
                Ok(()) => {
                    self.shared.phase.send_replace(Phase::Open);
                    tracing::info!(revision = self.last.0, "the store is open again");
                    return ControlFlow::Continue(());
                }
                Err(error) => {
                    self.shared.phase.send_replace(waiting(&error));
                    tracing::warn!(%error, "the store cannot be opened again yet");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(control) = self.controls.recv() => if let Control::Close(done) = control {
                    self.stop();
                    let _ = done.send(());
                    return ControlFlow::Break(());
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells everyone whose write was on its way, and takes volatile writes back.
    fn abandon(&mut self) {
        self.flushes.clear();
        for batch in self.batches.drain(..) {
            for (reply, _) in batch.replies {
                let _ = reply.send(Err(Refusal::Final(ProposeError::Unknown)));
            }
            for (name, write) in batch.volatile {
                self.pending.entry(name).or_insert(write);
            }
        }
        self.shared.set_in_flight_since(None);
        if !self.pending.is_empty() {
            self.pending_since.get_or_insert_with(std::time::Instant::now);
        }
    }

    async fn reopen(&mut self) -> Result<(), OpenError> {
        let limits = &self.shared.limits;
        let db = self.ground.open(limits).await.map_err(|error| OpenError::Database(error.to_string()))?;
        let visible = self.shared.durable.root();
        let options = self.shared.all_options();
        let read = async {
            let loaded = load::load(&db, &self.shared.keys, &options, limits).await?;
            let (commits, _) =
                load::replay(&db, &self.shared.keys, &loaded.durable, visible.revision, usize::MAX).await?;
            Ok::<_, OpenError>((loaded, commits))
        };
        match read.await {
            Ok((loaded, commits)) => {
                self.adopt(db, loaded, commits, &visible);
                Ok(())
            }
            Err(error) => {
                database::close(&db).await;
                Err(error)
            }
        }
    }

    /// Goes on with what was read. Commits that became durable unseen are published now.
    fn adopt(&mut self, db: Db, loaded: Loaded, commits: Vec<Arc<Commit>>, visible: &Root) {
        let Loaded { durable: mut root, ceiling, history, .. } = loaded;
        let start = root.revision;
        keep_memory_tier(&mut root, visible, start);
        self.shared.database.store(Some(Arc::new(db.clone())));
        self.db = db;
        self.head = root.clone();
        (self.last, self.written) = (start, start);
        (self.ceiling, self.durable_ceiling) = (ceiling, ceiling);
        self.history = HistoryMark { bytes: self.history.bytes.max(history.bytes), ..history };
        self.history_written = history;
        self.shared.head.store(Arc::new(root.clone()));
        self.keep(&commits);
        self.shared.publish(&self.shared.durable, root, &commits);
        let volatile = Root { revision: start, ..Root::clone(&self.shared.volatile.root()) };
        self.shared.publish(&self.shared.volatile, volatile, &[]);
        for (resource, ring) in self.shared.rings() {
            let options = self.shared.options(&resource);
            if !options.history && !options.volatile {
                // What became durable unseen left no commits: who watches must list again.
                self.budget.forget(&ring);
                ring.reset(start);
            }
        }
        self.shrink();
    }
}

/// What the store waits for after an error. Causes come from the database as texts, so that is what is looked at.
fn waiting(error: &dyn std::error::Error) -> Phase {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if FULL.iter().any(|words| text.contains(words)) {
            return Phase::DiskFull;
        }
        cause = error.source();
    }
    Phase::Reopening
}

/// What lives in memory only is not in the database: it stays as it was.
fn keep_memory_tier(root: &mut Root, visible: &Root, start: Revision) {
    for view in visible.views.values() {
        let in_memory = view.records().filter(|record| (view.options.tier)(&record.key) == Tier::Memory);
        for record in in_memory {
            root.set(&record.key, start, Some(Arc::clone(record)), || Arc::clone(&view.options));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(waiting(&full), Phase::DiskFull);
        assert_eq!(waiting(&OpenError::Database(format!("unavailable: {full}"))), Phase::DiskFull);
        assert_eq!(waiting(&OpenError::Io { path: "x".into(), source: full }), Phase::DiskFull);
        assert_eq!(waiting(&std::io::Error::from_raw_os_error(5)), Phase::Reopening);
    }
}
