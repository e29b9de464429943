// SPDX-License-Identifier: Apache-2.0

//! Reading the whole state from the database: at start, and after a batch whose outcome is unknown.

use std::sync::Arc;

use knarr_types::{Key, ResourceId, Revision};
use slatedb::config::{FlushOptions, FlushType, ScanOptions, WriteOptions};
use slatedb::{Db, IterationOrder, WriteBatch};

use crate::commit::{HistoryMark, StoredCommit};
use crate::error::OpenError;
use crate::keyring::KeyRing;
use crate::keys;
use crate::options::{Limits, ResourceOptions};
use crate::record::{Commit, Record};
use crate::shared::HashMap;
use crate::value::{self, FORMAT, OLDEST_READER, Opened, Reader, Sealed, State};
use crate::view::{Root, View};

/// A state is read in one go: large reads, and nothing kept.
const READ_AHEAD_BYTES: usize = 1 << 20;

pub(crate) type OptionsByResource = HashMap<ResourceId, Arc<ResourceOptions>>;

/// All that a start needs to know.
pub(crate) struct Loaded {
    pub(crate) durable: Root,
    pub(crate) volatile: Root,
    /// No revision above this may be handed out until a higher ceiling is durable.
    pub(crate) ceiling: Revision,
    pub(crate) history: HistoryMark,
}

/// Checks that the store is ours and readable, reserves revisions and reads all objects. The state
/// gets a revision above all that were ever handed out.
pub(crate) async fn load(
    db: &Db,
    keys: &KeyRing,
    options: &OptionsByResource,
    limits: &Limits,
) -> Result<Loaded, OpenError> {
    check_format(db, keys).await?;
    let old_ceiling = match get(db, keys, keys::CEILING).await? {
        Some(opened) => Revision(read(keys::CEILING, Reader(&opened.body).u64())?),
        None => Revision::ZERO,
    };
    let history = match get(db, keys, keys::HISTORY).await? {
        Some(opened) => read(keys::HISTORY, HistoryMark::decode(&opened.body))?,
        None => HistoryMark::default(),
    };
    let start = old_ceiling.next();
    let ceiling = Revision(start.0 + limits.revision_block);
    reserve(db, keys, start, ceiling).await?;
    let (durable, volatile) = load_objects(db, keys, options, start).await?;
    Ok(Loaded { durable, volatile, ceiling, history })
}

/// Refuses a store of a newer format or of another cluster, before anything is written.
async fn check_format(db: &Db, keys: &KeyRing) -> Result<(), OpenError> {
    if let Some(opened) = get(db, keys, keys::FORMAT).await? {
        let mut reader = Reader(&opened.body);
        let (_written_by, oldest_reader) = (read(keys::FORMAT, reader.u16())?, read(keys::FORMAT, reader.u16())?);
        if oldest_reader > FORMAT {
            return Err(OpenError::TooNew { oldest_reader, ours: FORMAT });
        }
    }
    if let Some(opened) = get(db, keys, keys::CLUSTER).await? {
        let found = String::from_utf8_lossy(&opened.body).into_owned();
        if found != keys.cluster() {
            return Err(OpenError::OtherCluster { expected: keys.cluster().to_owned(), found });
        }
    }
    Ok(())
}

/// Makes it durable that revisions up to `ceiling` may be handed out.
async fn reserve(db: &Db, keys: &KeyRing, start: Revision, ceiling: Revision) -> Result<(), OpenError> {
    let mut batch = WriteBatch::new();
    let format = [FORMAT.to_be_bytes(), OLDEST_READER.to_be_bytes()].concat();
    for (name, body) in [
        (keys::FORMAT, &format[..]),
        (keys::CLUSTER, keys.cluster().as_bytes()),
        (keys::CEILING, &ceiling.0.to_be_bytes()),
    ] {
        batch.put(name, Sealed::clear(body).at(start));
    }
    let database = |error: slatedb::Error| OpenError::Database(error.to_string());
    let options = WriteOptions { seqnum: start.0 };
    db.write_with_options(batch, &options).await.map_err(database)?;
    db.flush_with_options(FlushOptions { flush_type: FlushType::Wal }).await.map_err(database)
}

async fn load_objects(
    db: &Db,
    keys: &KeyRing,
    options: &OptionsByResource,
    start: Revision,
) -> Result<(Root, Root), OpenError> {
    let mut durable = Root::new(start);
    let mut volatile = Root::new(start);
    for (resource, options) in options {
        let root = if options.volatile { &mut volatile } else { &mut durable };
        root.views.insert(resource.clone(), Arc::new(View::new(Arc::clone(options), start)));
    }
    let scan = ScanOptions::new().with_read_ahead_bytes(READ_AHEAD_BYTES);
    let mut rows = db
        .scan_prefix_with_options(keys::OBJECTS, .., &scan)
        .await
        .map_err(|error| OpenError::Database(error.to_string()))?;
    while let Some(row) = rows.next().await.map_err(|error| OpenError::Database(error.to_string()))? {
        let key = keys::parse_object(&row.key).ok_or_else(|| corrupt(&row.key, "not the name of an object"))?;
        let opened = read(&row.key, value::open(keys, &row.key, &row.value))?;
        let state = read(&row.key, State::decode(&opened.body))?;
        let record = Arc::new(state.into_record(key.clone(), opened.revision, opened.api_version));
        let known = options.get(&key.resource);
        let root = if known.is_some_and(|options| options.volatile) { &mut volatile } else { &mut durable };
        // What changed before the start is unknown: everything counts as changed at the start.
        root.set(&key, start, Some(record), || {
            known.cloned().unwrap_or_else(|| Arc::new(ResourceOptions::unknown(key.resource.clone())))
        });
    }
    Ok((durable, volatile))
}

/// The commits above `from` that are still stored, oldest first, of together at most `max_bytes`
/// (the newest): and the revision up to which there may be others.
pub(crate) async fn replay(
    db: &Db,
    keys: &KeyRing,
    newest: &Root,
    from: Revision,
    max_bytes: usize,
) -> Result<(Vec<Arc<Commit>>, Revision), OpenError> {
    let database = |error: slatedb::Error| OpenError::Database(error.to_string());
    let scan = ScanOptions::new().with_read_ahead_bytes(READ_AHEAD_BYTES).with_order(IterationOrder::Descending);
    let mut rows = db.scan_prefix_with_options(keys::COMMITS, .., &scan).await.map_err(database)?;
    // Walking backward: the states after the commits that are still to be read.
    let mut states: HashMap<Key, Option<Arc<Record>>> = HashMap::default();
    let (mut commits, mut bytes, mut floor) = (Vec::new(), 0, from);
    while let Some(row) = rows.next().await.map_err(database)? {
        let revision = keys::parse_revision(&row.key).ok_or_else(|| corrupt(&row.key, "not the name of a commit"))?;
        if revision <= from {
            break;
        }
        if bytes >= max_bytes {
            floor = revision;
            break;
        }
        let opened = read(&row.key, value::open(keys, keys::COMMITS, &row.value))?;
        let stored = read(&row.key, StoredCommit::decode(&opened.body))?;
        let after = match states.get(&stored.key) {
            Some(state) => state.clone(),
            None => newest.get(&stored.key).cloned(),
        };
        if after.is_none() != stored.deleted || after.as_ref().is_some_and(|after| after.revision != revision) {
            return Err(corrupt(&row.key, "it does not lead to the state that is stored"));
        }
        let before = read(&row.key, stored.before(after.as_deref()))?.map(Arc::new);
        states.insert(stored.key.clone(), before.clone());
        let commit = Commit::new(revision, stored.key, before, after);
        bytes += commit.size_bytes();
        commits.push(Arc::new(commit));
    }
    commits.reverse();
    Ok((commits, floor))
}

async fn get(db: &Db, keys: &KeyRing, name: &[u8]) -> Result<Option<Opened>, OpenError> {
    match db.get(name).await.map_err(|error| OpenError::Database(error.to_string()))? {
        Some(value) => read(name, value::open(keys, name, &value)).map(Some),
        None => Ok(None),
    }
}

fn read<T>(name: &[u8], result: Result<T, &'static str>) -> Result<T, OpenError> {
    result.map_err(|why| corrupt(name, why))
}

fn corrupt(name: &[u8], why: &str) -> OpenError {
    OpenError::Corrupt { key: name.escape_ascii().to_string(), why: why.to_owned() }
}
