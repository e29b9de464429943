// SPDX-License-Identifier: Apache-2.0

//! SlateDB, set up for a small server: no timer but rare polls, small buffers, no caches (all that
//! readers need is in our own memory), and an end to retries.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use slatedb::config::{
    CloseOptions, CompactorOptions, GarbageCollectorDirectoryOptions, GarbageCollectorOptions, Settings,
};
use slatedb::{Db, GarbageCollectorBuilder};

use crate::error::OpenError;
use crate::keyring::KeyRing;
use crate::options::{Backend, Limits};
use crate::wal;

/// The database's place in the object store.
const ROOT: &str = "db";
/// Reads are rare and the WAL holds what is new: nothing waits for a memtable to be written out.
const MEMTABLE_BYTES: usize = 8 << 20;
/// Unflushed bytes at which writers wait.
const UNFLUSHED_BYTES: usize = 64 << 20;
/// Point reads are rare, so many small tables do no harm; a limit stalls writers.
const LEVEL0_TABLES: usize = 64;
const POLL: Duration = Duration::from_secs(10);
const COMPACTOR_POLL: Duration = Duration::from_secs(5);
/// How often the log is rid of what is in the tables: a busy server fills gigabytes in minutes.
const LOG_COLLECTION: Duration = Duration::from_secs(60);
/// How long a database that failed may take to stop its tasks.
const CLOSE: Duration = Duration::from_secs(2);

/// Where the bytes are, and who may touch them.
pub(crate) struct Ground {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) keys: KeyRing,
    /// Held for as long as the directory is ours.
    pub(crate) lock: Option<File>,
    /// Where a log of our own is kept; `None` leaves it to SlateDB.
    log: Option<Arc<dyn wal::Folder>>,
    local: bool,
}

impl Ground {
    /// Takes possession of the place that `backend` names.
    pub(crate) fn prepare(backend: &Backend) -> Result<Self, OpenError> {
        match backend {
            Backend::Objects { store, keys, log } => {
                Ok(Self { objects: Arc::clone(store), keys: keys.clone(), lock: None, log: log.clone(), local: false })
            }
            Backend::Directory { path, sync } => {
                let io = |source| OpenError::Io { path: path.clone(), source };
                let data = path.join("store");
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(io)?;
                let lock = take_lock(path)?;
                let keys = KeyRing::load_or_create(&path.join("keyring.json"))?;
                if !sync {
                    tracing::warn!("writes are not synced to the disk: a power cut may lose this cluster");
                }
                let objects = LocalFileSystem::new_with_prefix(&data)
                    .map_err(|error| OpenError::Database(error.to_string()))?
                    .with_fsync(*sync);
                refuse_old_log(&data)?;
                let log = wal::Directory::new(data.join("wal"), *sync).map_err(io)?;
                Ok(Self { objects: Arc::new(objects), keys, lock: Some(lock), log: Some(Arc::new(log)), local: true })
            }
        }
    }

    /// Opens the database; whoever had it open before is fenced.
    pub(crate) async fn open(&self, limits: &Limits) -> Result<Db, slatedb::Error> {
        let mut settings = settings(limits, self.local);
        let mut builder = Db::builder(ROOT, Arc::clone(&self.objects)).with_db_cache_disabled();
        if let Some(folder) = &self.log {
            let mut collection = settings.garbage_collector_options.take().unwrap_or_default();
            if let Some(log) = &mut collection.wal_options {
                log.interval = Some(LOG_COLLECTION);
            }
            let collector = GarbageCollectorBuilder::new(ROOT, Arc::clone(&self.objects))
                .with_options(collection)
                .with_wal_gc(Arc::new(wal::Collector(Arc::clone(folder))));
            builder = builder.with_gc_builder(collector).with_wal_writer(Box::new(wal::Log(Arc::clone(folder))));
        }
        builder.with_settings(settings).build().await
    }
}

/// The log that stores had before the first release is not read: what it holds must not be ignored.
fn refuse_old_log(data: &Path) -> Result<(), OpenError> {
    let old = data.join(ROOT).join("wal");
    let is_there = std::fs::read_dir(&old).is_ok_and(|mut entries| entries.next().is_some());
    if is_there { Err(OpenError::OldLog(old)) } else { Ok(()) }
}

fn take_lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("store.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

fn settings(limits: &Limits, local: bool) -> Settings {
    let retries = Some(limits.object_store_retries);
    let collect = Some(GarbageCollectorDirectoryOptions::default());
    Settings {
        flush_interval: None,
        manifest_poll_interval: POLL,
        l0_sst_size_bytes: MEMTABLE_BYTES,
        max_unflushed_bytes: UNFLUSHED_BYTES,
        l0_max_ssts: LEVEL0_TABLES,
        l0_max_ssts_per_key: LEVEL0_TABLES,
        l0_flush_parallelism: 1,
        object_store_max_retries: retries,
        compactor_options: Some(CompactorOptions {
            poll_interval: COMPACTOR_POLL,
            commit_compacted_interval: COMPACTOR_POLL,
            max_concurrent_compactions: 1,
            object_store_max_retries: retries,
            ..CompactorOptions::default()
        }),
        garbage_collector_options: Some(GarbageCollectorOptions {
            manifest_options: collect,
            wal_options: collect,
            // A fence that is collected too early lets a fenced writer write: never.
            wal_fence_options: None,
            compacted_options: collect,
            compactions_options: collect,
            detach_options: None,
            // The local file system has no conditional overwrite.
            boundary_files_enabled: !local,
            object_store_max_retries: retries,
            ..GarbageCollectorOptions::default()
        }),
        ..Settings::default()
    }
}

/// Stops the database's tasks without writing anything: what was acknowledged is durable already.
pub(crate) async fn close(db: &Db) {
    let options = CloseOptions::default().with_flush_type(None);
    match tokio::time::timeout(CLOSE, db.close_with_options(options)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the database did not close cleanly"),
        Err(_) => tracing::debug!("the database took too long to close"),
    }
}
