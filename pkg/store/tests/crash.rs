// SPDX-License-Identifier: Apache-2.0

//! A server that is killed in the middle of its writes, again and again: nothing acknowledged is
//! missing, nothing is there twice, revisions never go back, and watches go on where they were.
//!
//! The test runs itself as the server: the child writes counters and prints a line for each
//! acknowledged write; the parent kills it with SIGKILL and looks at what is left.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use knarr_store::*;
use knarr_types::Revision;

const KILLS: usize = 50;
const WRITERS: usize = 4;
/// Where the child finds its directory: set only by the parent.
const DIRECTORY: &str = "KNARR_STORE_CRASH_DIRECTORY";

fn options(directory: &Path) -> Options {
    Options { resources: resources(), ..Options::directory(directory) }
}

/// The child: each writer counts one object up for ever.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(options(Path::new(&directory))).await.unwrap();
        let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(count_up(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn count_up(store: Store, writer: usize) {
    let name = format!("w{writer}");
    loop {
        let next = |record: Option<&Arc<Record>>| {
            let count = record.map_or(0, |record| text(record).parse::<u64>().unwrap());
            Ok::<_, ()>(Decision::Put(draft(&name, &(count + 1).to_string())))
        };
        let applied = store.update(&pod(&name), &context(), next).await.unwrap().unwrap();
        // Straight to the descriptor: what is acknowledged must not wait in a buffer.
        let line = format!("ack {writer} {} {}\n", text(&applied.record), applied.revision);
        rustix::io::write(rustix::stdio::stdout(), line.as_bytes()).unwrap();
    }
}

/// What the parent knows: the last acknowledged count and revision of each writer.
type Acknowledged = HashMap<usize, (u64, Revision)>;

/// Runs a child until it has acknowledged `writes`, kills it, and notes all that it acknowledged.
fn run_and_kill(directory: &Path, writes: usize, known: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    for line in lines {
        let line = line.unwrap();
        let Some(ack) = line.split("ack ").nth(1) else { continue };
        let mut parts = ack.split(' ').map(|part| part.parse::<u64>());
        // The last line of a killed process may be cut.
        let (Some(Ok(writer)), Some(Ok(count)), Some(Ok(revision))) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let before = known.insert(usize::try_from(writer).unwrap(), (count, Revision(revision)));
        if let Some((last, at)) = before {
            assert!(count > last && revision > at.0, "writer {writer}: {count}@{revision} after {last}@{at}");
        }
        seen += 1;
        if seen == writes {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

/// Opens what is left and checks it against what was acknowledged; follows from the oldest of the
/// last acknowledged writes and must meet every later one. What is found is known from then on: the
/// next child counts on from it, and may be killed before it acknowledges anything of a writer.
async fn check(directory: &Path, known: &mut Acknowledged, highest: &mut Revision) {
    let store = Store::open(options(directory)).await.unwrap();
    let now = store.revision(&pods());
    assert!(now > *highest, "revisions never go back: {now} after {highest}");
    *highest = now;
    let mut from = now;
    for (writer, (count, revision)) in known.iter_mut() {
        let record = store.get(&pod(&format!("w{writer}"))).expect("an acknowledged object is there");
        let found: u64 = text(&record).parse().unwrap();
        assert!(found == *count || found == *count + 1, "writer {writer}: {found}, acknowledged {count}");
        assert_eq!(found == *count, record.revision == *revision, "a write is there once, at its revision");
        from = from.min(*revision);
        (*count, *revision) = (found, record.revision);
    }
    let expected: usize =
        store.snapshot(&pods()).list(&Scope::All, None).filter(|record| record.revision > from).count();
    let mut watcher = store.watch(&pods(), from, Scope::All);
    let mut last: HashMap<String, u64> = HashMap::new();
    while last.len() < expected {
        let event = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await.expect("commits are due");
        let WatchEvent::Commits(commits) = event else { panic!("the watch was not resumed: {event:?}") };
        for commit in commits {
            let count: u64 = text(commit.after.as_ref().unwrap()).parse().unwrap();
            let before = commit.before.as_ref().map_or(0, |before| text(before).parse().unwrap());
            assert_eq!(count, before + 1, "every commit is told once, in order");
            if let Some(known) = last.insert(commit.key.name.to_string(), count) {
                assert_eq!(count, known + 1);
            }
        }
    }
    store.close().await;
}

#[test]
fn nothing_acknowledged_is_lost_when_a_server_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut known, mut highest) = (Acknowledged::new(), Revision::ZERO);
    for round in 0..KILLS {
        run_and_kill(directory.path(), 1 + round * 7 % 60, &mut known);
        runtime.block_on(check(directory.path(), &mut known, &mut highest));
    }
    assert!(known.len() == WRITERS);
}
