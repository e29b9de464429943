// SPDX-License-Identifier: Apache-2.0

//! The write-ahead log of a directory, as it lies on the disk: restarts, damage, and what came
//! before it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use knarr_store::wal::segment::{Name, Tail, scan};
use knarr_store::*;

fn options(directory: &Path) -> Options {
    Options { resources: resources(), ..Options::directory(directory) }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// The files of the log, the oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory.join("store/wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    files
}

/// Opens a store, makes pods one by one, and closes it.
async fn make(directory: &Path, names: &[&str]) {
    let store = Store::open(options(directory)).await.unwrap();
    for name in names {
        create(&store, &pod(name), "x").await.unwrap();
    }
    store.close().await;
}

#[test]
fn restarts_lose_nothing_and_do_not_make_the_log_longer() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        make(dir.path(), &["first"]).await;
        for round in 0..10 {
            make(dir.path(), &[&format!("p{round}")]).await;
            assert_eq!(segments(dir.path()).len(), 1);
        }
        let store = Store::open(options(dir.path())).await.unwrap();
        assert_eq!(store.snapshot(&pods()).list(&Scope::All, None).count(), 11);
        store.close().await;
    });
}

#[test]
fn a_bad_record_before_good_ones_is_named_and_a_torn_last_one_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        make(dir.path(), &["a", "b", "c"]).await;
        let path = segments(dir.path()).pop().unwrap();
        let good = std::fs::read(&path).unwrap();
        let name = Name::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let found = scan(&good, name);
        assert!(found.records.len() >= 4 && found.tail == Tail::Clean, "{found:?}");

        let mut bad = good.clone();
        bad[found.records[1].body.start] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let error = Store::open(options(dir.path())).await.err().unwrap().to_string();
        assert!(error.contains(&name.file()) && error.contains("is bad"), "{error}");
        assert_eq!(segments(dir.path()), std::slice::from_ref(&path), "an open that fails leaves nothing");

        // As if the process had been killed in the middle of the next write.
        let end = found.records.last().unwrap().body.end + 1;
        let mut torn = good.clone();
        torn[end..end + 60].copy_from_slice(&good[32..92]);
        std::fs::write(&path, torn).unwrap();
        let store = Store::open(options(dir.path())).await.unwrap();
        assert_eq!(store.snapshot(&pods()).list(&Scope::All, None).count(), 3);
        create(&store, &pod("d"), "x").await.unwrap();
        store.close().await;
        make(dir.path(), &["e"]).await;
    });
}

#[test]
fn a_store_with_the_log_of_before_the_first_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("store/db/wal");
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("00000000000000000001.sst"), "").unwrap();
    let error = block_on(Store::open(options(dir.path()))).err().unwrap();
    assert!(matches!(&error, OpenError::OldLog(path) if *path == old), "{error}");
}

#[test]
fn large_batches_get_segments_of_their_size() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let store = Store::open(options(dir.path())).await.unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for number in 0..3 {
            let text: String = std::iter::repeat_with(|| random.alphanumeric()).take(5 << 20).collect();
            create(&store, &pod(&format!("large{number}")), &text).await.unwrap();
            create(&store, &pod(&format!("small{number}")), "x").await.unwrap();
        }
        store.close().await;
        let store = Store::open(options(dir.path())).await.unwrap();
        assert_eq!(store.snapshot(&pods()).list(&Scope::All, None).count(), 6);
        store.close().await;
    });
}
