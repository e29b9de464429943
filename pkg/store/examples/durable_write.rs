// SPDX-License-Identifier: Apache-2.0

//! What the store costs: creates a second with many writers, the latency of one writer beside that
//! of SlateDB's own durable write, and gets a second.
//!
//! `cargo run --release -p knarr-store --example durable_write -- [DIRECTORY]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use knarr_store::{Author, Change, Draft, Options, Precondition, Proposal, ResourceOptions, Store, WriteContext};
use knarr_types::{Key, ResourceId};
use object_store::local::LocalFileSystem;
use slatedb::Db;
use slatedb::config::{FlushOptions, FlushType, Settings};

const WRITERS: usize = 64;
const CREATES: usize = 100_000;
const SINGLE: usize = 3_000;
const GETS: usize = 2_000_000;
const OBJECT_BYTES: usize = 2048;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given = std::env::args().nth(1).map(PathBuf::from);
    let directory = given.unwrap_or_else(|| std::env::temp_dir().join(format!("knarr-bench-{}", std::process::id())));
    std::fs::create_dir_all(&directory)?;
    println!("SlateDB alone, one writer: p50 {:?}", database_alone(&directory.join("slatedb")).await?);
    let mut options = Options::directory(directory.join("store"));
    options.resources = vec![ResourceOptions::new(ResourceId::new("", "pods"), "v1").indexed_by("spec.nodeName")];
    let store = Store::open(options.clone()).await?;
    println!("store, one writer: p50 {:?}", one_writer(&store).await?);
    let taken = many_writers(&store).await?;
    println!("store, {WRITERS} writers: {:.0} creates/s", CREATES as f64 / taken.as_secs_f64());
    println!("get: {:.0}/s on one core", gets(&store));
    store.close().await;
    let begun = Instant::now();
    let store = Store::open(options).await?;
    println!("open with {} objects: {:?}", CREATES + SINGLE, begun.elapsed());
    println!("{:?}", store.stats());
    store.close().await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn key(name: &str) -> Key {
    Key::new(ResourceId::new("", "pods"), "default", name)
}

/// An object that compresses about as well as a pod does.
fn draft(name: &str) -> Draft {
    let mut json = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"#);
    let mut seed = fastrand::Rng::new();
    while json.len() < OBJECT_BYTES {
        json.push_str(&format!(r#""field{}":"{:x}","#, seed.u8(..), seed.u64(..)));
    }
    json.push_str(r#""nodeName":"n1"}}"#);
    let fields = Box::new([(Arc::from("spec.nodeName"), Arc::from("n1"))]);
    Draft { json: json.into(), revision_at: 13, labels: Box::default(), fields }
}

async fn create(store: &Store, flow: usize, name: &str) -> Result<(), Failure> {
    let author = Author { user: format!("writer{flow}").into(), manager: "bench".into(), verb: "create".into() };
    let context = WriteContext::new(author, Duration::from_secs(30));
    let change = Change::Put(key(name), draft(name));
    store.propose(Proposal::single(Some(Precondition::Absent(key(name))), change, context)).await?;
    Ok(())
}

async fn one_writer(store: &Store) -> Result<Duration, Failure> {
    let mut taken = Vec::with_capacity(SINGLE);
    for number in 0..SINGLE {
        let begun = Instant::now();
        create(store, 0, &format!("single-{number}")).await?;
        taken.push(begun.elapsed());
    }
    Ok(median(taken))
}

async fn many_writers(store: &Store) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (writer..CREATES).step_by(WRITERS) {
                    create(&store, writer, &format!("many-{number}")).await?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(begun.elapsed())
}

fn gets(store: &Store) -> f64 {
    let keys: Vec<_> = (0..1000).map(|number| key(&format!("many-{number}"))).collect();
    let begun = Instant::now();
    let mut bytes = 0;
    for at in 0..GETS {
        bytes += store.get(&keys[at % keys.len()]).map_or(0, |record| record.json.len());
    }
    std::hint::black_box(bytes);
    GETS as f64 / begun.elapsed().as_secs_f64()
}

/// The floor: a durable write of the same size without anything around it.
async fn database_alone(directory: &Path) -> Result<Duration, Failure> {
    std::fs::create_dir_all(directory)?;
    let objects = Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_fsync(true));
    let settings = Settings { flush_interval: None, ..Settings::default() };
    let db = Db::builder("db", objects).with_settings(settings).with_db_cache_disabled().build().await?;
    let mut taken = Vec::with_capacity(SINGLE);
    for number in 0..SINGLE {
        let value: Bytes = draft("x").json;
        let begun = Instant::now();
        db.put(format!("k{number}"), value).await?;
        db.flush_with_options(FlushOptions { flush_type: FlushType::Wal }).await?;
        taken.push(begun.elapsed());
    }
    db.close().await?;
    Ok(median(taken))
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken[taken.len() / 2]
}
