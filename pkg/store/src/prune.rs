// SPDX-License-Identifier: Apache-2.0

//! Forgetting the oldest commits: those beyond an age, or beyond a size. Deltas go backward, so
//! nothing newer depends on them.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use knarr_types::Revision;
use slatedb::Db;
use slatedb::config::ScanOptions;
use tokio::sync::oneshot;

use crate::commit::{HistoryMark, StoredCommit};
use crate::keys;
use crate::prepare::now_ms;
use crate::shared::{Control, Shared};
use crate::value;

/// Commits forgotten in one batch.
const BATCH_COMMITS: usize = 500;

/// Looks through the history now and then, for as long as the store is open.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some((every, mut phase)) =
            shared.upgrade().map(|shared| (shared.limits.prune_every, shared.phase.subscribe()))
        else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = phase.wait_for(|phase| *phase == crate::shared::Phase::Closed) => return,
        }
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = prune(&shared).await {
            tracing::warn!(error, "the history could not be pruned");
        }
    }
}

/// Forgets what is too old or too much.
pub(crate) async fn prune(shared: &Arc<Shared>) -> Result<(), String> {
    while let Some(db) = shared.database.load_full() {
        let mark = read_mark(shared, &db).await?;
        let Some(oldest) = oldest(shared, &db, mark).await? else { return Ok(()) };
        let (done, wait) = oneshot::channel();
        let Oldest { names, floor, bytes } = oldest;
        if shared.controls.send(Control::Prune { names, floor, bytes, done }).is_err() || wait.await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

struct Oldest {
    names: Vec<Bytes>,
    floor: Revision,
    bytes: u64,
}

async fn read_mark(shared: &Shared, db: &Db) -> Result<HistoryMark, String> {
    match db.get(keys::HISTORY).await.map_err(|error| error.to_string())? {
        Some(stored) => {
            let opened = value::open(&shared.keys, keys::HISTORY, &stored)?;
            Ok(HistoryMark::decode(&opened.body)?)
        }
        None => Ok(HistoryMark::default()),
    }
}

/// The oldest commits that must go; `None` where none must.
async fn oldest(shared: &Shared, db: &Db, mark: HistoryMark) -> Result<Option<Oldest>, String> {
    let text = |error: slatedb::Error| error.to_string();
    let max_age = u64::try_from(shared.limits.history_age.as_millis()).unwrap_or(u64::MAX);
    let before = now_ms().saturating_sub(max_age);
    let mut found = Oldest { names: Vec::new(), floor: mark.floor, bytes: 0 };
    let mut rows = db.scan_prefix_with_options(keys::COMMITS, .., &ScanOptions::new()).await.map_err(text)?;
    while found.names.len() < 2 * BATCH_COMMITS
        && let Some(row) = rows.next().await.map_err(text)?
    {
        let revision = keys::parse_revision(&row.key).ok_or("not the name of a commit")?;
        let commit = StoredCommit::decode(&value::open(&shared.keys, keys::COMMITS, &row.value)?.body)?;
        let too_much = mark.bytes.saturating_sub(found.bytes) > shared.limits.history_bytes;
        if commit.time_ms >= before && !too_much {
            break;
        }
        found.bytes += row.value.len() as u64;
        found.floor = revision;
        found.names.extend([keys::history(&commit.key, revision), row.key]);
    }
    Ok((!found.names.is_empty()).then_some(found))
}
