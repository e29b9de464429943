// SPDX-License-Identifier: Apache-2.0

//! The invariants of the store against a plain map, under concurrent writers, with faults and delays
//! injected into the object store, and into the log where that has a folder of its own, from a seed.
//!
//! Each write says a text of its own, so that what came of it can be told from the commits that a
//! watch delivered.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/faults.rs"]
mod faults;
#[path = "common/log.rs"]
mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::*;
use faults::Faulty;
use knarr_store::*;
use knarr_types::{Key, Revision};
use log::FaultyLog;
use object_store::ObjectStore;

const SEEDS: u64 = 10;
const CLIENTS: u64 = 4;
const STEPS: u64 = 60;
const KEYS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

/// What a store is kept on.
#[derive(Clone)]
struct Disk {
    objects: Arc<Faulty>,
    log: Option<FaultyLog>,
    keyring: KeyRing,
}

impl Disk {
    fn new(seed: u64, with_log: bool) -> Self {
        let log = with_log.then(|| FaultyLog::new(seed));
        Self { objects: Faulty::new(seed), log, keyring: KeyRing::generate() }
    }

    fn options(&self) -> Options {
        self.options_on(Arc::clone(&self.objects) as _, self.log.clone())
    }

    fn options_on(&self, store: Arc<dyn ObjectStore>, log: Option<FaultyLog>) -> Options {
        let backend = Backend::Objects { store, keys: self.keyring.clone(), log: log.map(|log| Arc::new(log) as _) };
        Options { resources: resources(), backend, limits: Limits::default() }
    }

    /// What a crash now would leave. First the log: what it lacks is in tables written later.
    async fn after_crash(&self) -> Options {
        let log = self.log.as_ref().map(FaultyLog::after_power_cut);
        self.options_on(self.objects.copy().await, log)
    }

    fn arm(&self, on: bool) {
        self.objects.arm(on);
        self.log.iter().for_each(|log| log.arm(on));
    }

    fn faults(&self) -> u32 {
        self.objects.faults.load(Ordering::SeqCst) + self.log.as_ref().map_or(0, FaultyLog::faults)
    }
}

/// What a client knows of a write it asked for.
#[derive(Clone, Debug)]
enum Outcome {
    /// At these revisions.
    Acknowledged(Vec<Revision>),
    /// Not applied, for certain.
    Refused,
    Unknown,
}

/// One write: its text, the keys it puts, and what came of it.
#[derive(Clone, Debug)]
struct Wrote {
    text: String,
    keys: Vec<Key>,
    outcome: Outcome,
}

/// One run of a seed: all that clients and the watch have seen.
struct Run {
    seed: u64,
    wrote: Vec<Wrote>,
    commits: Vec<Arc<Commit>>,
    last: BTreeMap<Key, (Revision, String)>,
    crashes: usize,
    faults: u32,
}

fn outcome<T>(result: &Result<T, ProposeError>, revisions: impl FnOnce(&T) -> Vec<Revision>) -> Outcome {
    match result {
        Ok(committed) => Outcome::Acknowledged(revisions(committed)),
        Err(ProposeError::Unknown | ProposeError::Closed) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}

/// Proposes again for as long as the store says that it takes no writes.
async fn propose_when_open(
    store: &Store,
    preconditions: Vec<Precondition>,
    changes: Vec<Change>,
) -> Result<Vec<Applied>, ProposeError> {
    loop {
        match propose(store, preconditions.clone(), changes.clone()).await {
            Err(ProposeError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            result => return result,
        }
    }
}

/// Random creates, puts, deletes, updates and proposals of two keys; after each, reads.
async fn client(store: Store, disk: Disk, seed: u64, number: u64) -> (Vec<Wrote>, usize) {
    let mut random = fastrand::Rng::with_seed(seed * 1000 + number);
    let (mut wrote, mut newest, mut crashes) = (Vec::new(), HashMap::<Key, Revision>::new(), 0);
    for step in 0..STEPS {
        let said = format!("{number}.{step}");
        let key = pod(&random.u64(0..KEYS).to_string());
        let other = pod(&format!("{}", (random.u64(1..KEYS) + key.name.parse::<u64>().unwrap()) % KEYS));
        let put_one = |key: &Key| Change::Put(key.clone(), draft(&key.name, &said));
        let (keys, preconditions, changes) = match random.u8(0..10) {
            0..3 => (vec![key.clone()], vec![Precondition::Absent(key.clone())], vec![put_one(&key)]),
            3..5 => (vec![key.clone()], vec![], vec![put_one(&key)]),
            5..7 => (vec![], vec![], vec![Change::Delete(key.clone())]),
            _ => (vec![key.clone(), other.clone()], vec![], vec![put_one(&key), put_one(&other)]),
        };
        let result = propose_when_open(&store, preconditions, changes).await;
        let outcome = outcome(&result, |applied| applied.iter().map(|applied| applied.revision).collect());
        if let Outcome::Acknowledged(revisions) = &outcome {
            for (key, revision) in keys.iter().zip(revisions) {
                newest.insert(key.clone(), *revision);
            }
        }
        if !keys.is_empty() {
            wrote.push(Wrote { text: said, keys, outcome });
        }
        // Linearizable: a read that begins after an acknowledgement sees that write or a later one.
        let seen = store.get(&key);
        if let Some(record) = &seen {
            let acknowledged = newest.entry(key.clone()).or_default();
            assert!(record.revision >= *acknowledged, "seed {seed}: {record:?} read after {acknowledged}");
            *acknowledged = record.revision;
        }
        if random.u8(0..50) == 0 {
            crashes += 1;
            survives_a_crash(&disk, &store, seed).await;
        }
    }
    (wrote, crashes)
}

/// Durable before visible: what can be seen now is there after a crash now.
async fn survives_a_crash(disk: &Disk, store: &Store, seed: u64) {
    let visible = store.snapshot(&pods());
    let after = Store::open(disk.after_crash().await).await.unwrap();
    let mut watcher = after.watch(&pods(), visible.revision(), Scope::All);
    let commits = collect(&mut watcher).await;
    let written_since: BTreeSet<&Key> = commits.iter().map(|commit| &commit.key).collect();
    for record in visible.list(&Scope::All, None) {
        if !written_since.contains(&record.key) {
            assert_eq!(after.get(&record.key).as_ref(), Some(record), "seed {seed}: durable before visible");
        }
    }
    assert!(after.revision(&pods()) > visible.revision(), "seed {seed}: revisions never repeat");
    after.close().await;
}

/// What a watcher is told until there is nothing more to tell.
async fn collect(watcher: &mut Watcher) -> Vec<Arc<Commit>> {
    let mut commits = Vec::new();
    while watcher.bookmark().is_none() {
        match watcher.next().await {
            WatchEvent::Commits(more) => commits.extend(more),
            other => panic!("the watch ended: {other:?}"),
        }
    }
    commits
}

/// A write that gets through: the store is open again and nothing is in flight.
async fn settle(store: &Store) {
    let settled = async {
        while put(store, &pod("settled"), "settled").await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the store comes back");
}

async fn run(seed: u64, with_log: bool) -> Run {
    let disk = Disk::new(seed, with_log);
    let mut settings = disk.options();
    settings.limits.object_store_retries = u32::from(seed.is_multiple_of(2)) * 2;
    let store = Store::open(settings).await.unwrap();
    let mut watcher = store.watch(&pods(), store.revision(&pods()), Scope::All);
    disk.arm(true);
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(client(store.clone(), disk.clone(), seed, number))).collect();
    let (mut wrote, mut crashes) = (Vec::new(), 0);
    for client in clients {
        let (more, crashed) = client.await.unwrap();
        wrote.extend(more);
        crashes += crashed;
    }
    disk.arm(false);
    settle(&store).await;
    let commits = collect(&mut watcher).await;
    let snapshot = store.snapshot(&pods());
    let last = snapshot.list(&Scope::All, None).map(|record| (record.key.clone(), (record.revision, text(record))));
    let last = last.collect();
    store.close().await;
    Run { seed, wrote, commits, last, crashes, faults: disk.faults() }
}

impl Run {
    /// A watch gives every commit once, in order; revisions rise and never repeat.
    fn revisions_rise_and_never_repeat(&self) {
        let rising = self.commits.is_sorted_by(|a, b| a.revision < b.revision);
        assert!(rising, "seed {}: {:?}", self.seed, self.commits);
    }

    /// Each commit begins where the key's last one ended.
    fn each_key_is_linearizable(&self) {
        let mut states: HashMap<&Key, Option<&Arc<Record>>> = HashMap::new();
        for commit in &self.commits {
            let before = states.insert(&commit.key, commit.after.as_ref()).flatten();
            assert_eq!(before, commit.before.as_ref(), "seed {}: {commit:?}", self.seed);
        }
    }

    /// List at R plus watch from R equals the state.
    fn list_and_watch_equal_the_state(&self) {
        let mut state = BTreeMap::new();
        for commit in &self.commits {
            match &commit.after {
                Some(record) => state.insert(commit.key.clone(), (record.revision, text(record))),
                None => state.remove(&commit.key),
            };
        }
        assert_eq!(state, self.last, "seed {}", self.seed);
    }

    /// Nothing acknowledged is lost, nothing refused is there, nothing is there twice, and each
    /// proposal is there whole or not at all.
    fn proposals_are_all_or_nothing_and_kept(&self) {
        let mut by_text: HashMap<String, Vec<(Key, Revision)>> = HashMap::new();
        for commit in &self.commits {
            if let Some(record) = &commit.after {
                by_text.entry(text(record)).or_default().push((commit.key.clone(), commit.revision));
            }
        }
        for wrote in &self.wrote {
            let found = by_text.remove(&wrote.text).unwrap_or_default();
            let (keys, revisions): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            let right = match &wrote.outcome {
                Outcome::Acknowledged(acknowledged) => keys == wrote.keys && revisions == *acknowledged,
                Outcome::Refused => keys.is_empty(),
                Outcome::Unknown => keys.is_empty() || keys == wrote.keys,
            };
            assert!(right, "seed {}: {wrote:?} but found {keys:?} {revisions:?}", self.seed);
        }
    }
}

#[test]
fn the_invariants_hold_under_faults() {
    the_invariants_hold(false);
}

#[test]
fn the_invariants_hold_under_faults_of_a_log_of_our_own() {
    the_invariants_hold(true);
}

fn the_invariants_hold(with_log: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut faults, mut crashes, mut unknown) = (0, 0, 0);
    for seed in 0..SEEDS {
        let run = runtime.block_on(run(seed, with_log));
        run.revisions_rise_and_never_repeat();
        run.each_key_is_linearizable();
        run.list_and_watch_equal_the_state();
        run.proposals_are_all_or_nothing_and_kept();
        faults += run.faults;
        crashes += run.crashes;
        unknown += run.wrote.iter().filter(|wrote| matches!(wrote.outcome, Outcome::Unknown)).count();
    }
    eprintln!("{faults} faults, {crashes} crashes, {unknown} writes of unknown outcome");
    assert!(faults > 0 && crashes > 0 && unknown > 0, "the faults were met");
}

#[test]
fn a_fenced_writer_acknowledges_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for with_log in [false, true] {
        runtime.block_on(fenced_writer(Disk::new(0, with_log)));
    }
}

async fn fenced_writer(disk: Disk) {
    let old = Store::open(disk.options()).await.unwrap();
    let kept = create(&old, &pod("kept"), "x").await.unwrap();
    let new = Store::open(disk.options()).await.unwrap();
    let late = create(&old, &pod("late"), "x").await;
    assert!(matches!(late, Err(ProposeError::Unknown | ProposeError::Closed)), "{late:?}");
    assert!(old.get(&pod("late")).is_none());
    assert!(matches!(create(&old, &pod("later"), "x").await, Err(ProposeError::Closed)));
    assert!(matches!(old.health(), Health::NotReady(_)));
    assert_eq!(new.get(&pod("kept")).unwrap().revision, kept.revision);
    let after = create(&new, &pod("late"), "y").await.unwrap();
    assert!(after.revision > kept.revision);
    new.close().await;
}

#[test]
fn a_disk_that_does_not_confirm_is_told_while_reads_go_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let disk = Disk::new(0, true);
        let mut settings = disk.options();
        settings.limits.stall = Duration::from_millis(50);
        let store = Store::open(settings).await.unwrap();
        let kept = create(&store, &pod("kept"), "x").await.unwrap();
        let hold = |on| disk.log.iter().for_each(|log| log.hold(on));
        hold(true);
        let soon = WriteContext { deadline: Instant::now() + Duration::from_millis(200), ..context() };
        let late = store.propose(Proposal::single(None, Change::Put(pod("late"), draft("late", "x")), soon)).await;
        assert!(matches!(late, Err(ProposeError::Unknown)), "it may still come: {late:?}");
        let refused = create(&store, &pod("refused"), "x").await;
        assert!(matches!(refused, Err(ProposeError::Unavailable { .. })), "{refused:?}");
        assert!(matches!(store.health(), Health::NotReady(_)));
        assert_eq!(store.get(&pod("kept")).unwrap().revision, kept.revision);
        assert!(store.get(&pod("late")).is_none(), "durable before visible");
        hold(false);
        settle(&store).await;
        assert!(matches!(store.health(), Health::Ready));
        assert!(store.get(&pod("late")).is_some() && store.get(&pod("refused")).is_none());
        store.close().await;
    });
}

#[test]
fn an_event_is_durable_soon_after_it_was_seen() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let disk = Disk::new(0, true);
        let mut settings = disk.options();
        settings.limits.volatile_delay = Duration::from_millis(20);
        let store = Store::open(settings).await.unwrap();
        let event = Key::new(events(), "default", "e");
        create(&store, &event, "x").await.unwrap();
        assert!(store.get(&event).is_some());
        let survives = async {
            loop {
                let after = Store::open(disk.after_crash().await).await.unwrap();
                let there = after.get(&event).is_some();
                after.close().await;
                if there {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, survives).await.expect("nothing else is written meanwhile");
        store.close().await;
    });
}
