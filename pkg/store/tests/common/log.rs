// SPDX-License-Identifier: Apache-2.0

//! A folder for a write-ahead log in memory, that knows what a power cut would leave of it, and
//! that answers late, writes a part, or fails to sync: from a seed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use knarr_store::wal::{File, Folder};
use parking_lot::Mutex;

/// A file that was given back.
const SPARE: &str = "spare";
/// What a disk writes whole.
const SECTOR: usize = 512;

/// A file as programs see it and as the disk has it.
#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What a sync will still write.
    dirty: Vec<Range<usize>>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        self.seen.resize(self.seen.len().max(end), 0);
        self.seen[at..end].copy_from_slice(bytes);
        self.dirty.push(at..end);
    }

    /// Writes out sectors of what is dirty: all of them, or those that chance picks. What is not
    /// written now never will be: the kernel takes it for clean.
    fn sync(&mut self, mut picks: impl FnMut() -> bool) {
        self.durable.resize(self.seen.len(), 0);
        for dirty in std::mem::take(&mut self.dirty) {
            let mut at = dirty.start;
            while at < dirty.end {
                let end = (at / SECTOR * SECTOR + SECTOR).min(dirty.end);
                if picks() {
                    self.durable[at..end].copy_from_slice(&self.seen[at..end]);
                }
                at = end;
            }
        }
    }
}

struct Inner {
    files: Mutex<BTreeMap<String, Content>>,
    random: Mutex<fastrand::Rng>,
    armed: AtomicBool,
    faults: AtomicU32,
    /// Syncs wait while this is set.
    held: AtomicBool,
}

/// Clones are one folder.
#[derive(Clone)]
pub struct FaultyLog(Arc<Inner>);

impl FaultyLog {
    pub fn new(seed: u64) -> Self {
        Self::of(BTreeMap::new(), seed)
    }

    fn of(files: BTreeMap<String, Content>, seed: u64) -> Self {
        Self(Arc::new(Inner {
            files: Mutex::new(files),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            armed: AtomicBool::new(false),
            faults: AtomicU32::new(0),
            held: AtomicBool::new(false),
        }))
    }

    pub fn arm(&self, on: bool) {
        self.0.armed.store(on, Ordering::SeqCst);
    }

    /// Keeps syncs waiting, or lets them go on.
    pub fn hold(&self, on: bool) {
        self.0.held.store(on, Ordering::SeqCst);
    }

    pub fn faults(&self) -> u32 {
        self.0.faults.load(Ordering::SeqCst)
    }

    /// What a power cut now would leave: of what is not synced, some sectors.
    pub fn after_power_cut(&self) -> Self {
        let mut files = self.0.files.lock().clone();
        let mut random = self.0.random.lock();
        for content in files.values_mut() {
            content.sync(|| random.bool());
            content.seen.clone_from(&content.durable);
        }
        Self::of(files, random.u64(..))
    }

    fn random(&self, below: usize) -> usize {
        self.0.random.lock().usize(0..below)
    }

    /// Waits for a while; whether to fail: in 20 of 1000 cases.
    fn fails(&self) -> bool {
        if !self.0.armed.load(Ordering::SeqCst) {
            return false;
        }
        std::thread::sleep(Duration::from_micros(self.random(1000) as u64));
        let fails = self.random(1000) < 20;
        self.0.faults.fetch_add(u32::from(fails), Ordering::SeqCst);
        fails
    }
}

fn injected() -> io::Error {
    io::Error::other("an injected fault")
}

impl Folder for FaultyLog {
    /// Short, so that a test fills many.
    fn segment_bytes(&self) -> usize {
        4096
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.files.lock().keys().cloned().collect())
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let files = self.0.files.lock();
        let content = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = content.seen.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn create(&self, name: &str, _: u64) -> io::Result<Box<dyn File>> {
        if self.fails() {
            return Err(injected());
        }
        // A file is longer than what was written, by zeroes or by what it held before.
        let fresh = || Content { seen: vec![0; 8192], durable: vec![0; 8192], dirty: Vec::new() };
        let mut files = self.0.files.lock();
        let made = files.remove(SPARE).unwrap_or_else(fresh);
        assert!(files.insert(name.to_owned(), made).is_none(), "{name} is made once");
        Ok(Box::new(Handle { log: self.clone(), name: name.to_owned(), failed: false }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.files.lock().remove(name);
        Ok(())
    }

    fn recycle(&self, name: &str) -> io::Result<()> {
        let mut files = self.0.files.lock();
        let content = files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        files.insert(SPARE.to_owned(), content);
        Ok(())
    }
}

struct Handle {
    log: FaultyLog,
    name: String,
    failed: bool,
}

impl Handle {
    /// A file that was removed while it was open goes on, unseen.
    fn content(&self, act: impl FnOnce(&mut Content)) {
        let mut unseen = Content::default();
        act(self.log.0.files.lock().get_mut(&self.name).unwrap_or(&mut unseen));
    }
}

impl File for Handle {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(!self.failed, "nothing is written to a file that failed");
        self.failed = self.log.fails();
        let length = if self.failed { self.log.random(bytes.len() + 1) } else { bytes.len() };
        self.content(|content| content.write(&bytes[..length], usize::try_from(at).unwrap()));
        if self.failed { Err(injected()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        assert!(!self.failed, "a sync that failed is not tried again");
        while self.log.0.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.failed = self.log.fails();
        let failed = self.failed;
        let mut picks = self.log.0.random.lock().fork();
        self.content(|content| content.sync(|| !failed || picks.bool()));
        if failed { Err(injected()) } else { Ok(()) }
    }
}
