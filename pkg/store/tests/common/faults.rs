// SPDX-License-Identifier: Apache-2.0

//! An object store in memory that answers late, fails, or fails after it has done what was asked:
//! from a seed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

#[derive(Debug)]
pub struct Faulty {
    inner: InMemory,
    random: Mutex<fastrand::Rng>,
    armed: AtomicBool,
    pub faults: AtomicU32,
}

enum Fault {
    None,
    Before,
    After,
}

impl Faulty {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            armed: AtomicBool::new(false),
            faults: AtomicU32::new(0),
        })
    }

    pub fn arm(&self, on: bool) {
        self.armed.store(on, Ordering::SeqCst);
    }

    /// All objects as they are now: what a crash would leave.
    pub async fn copy(&self) -> Arc<dyn ObjectStore> {
        let copy = InMemory::new();
        let mut all: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.unwrap();
        // The newest of the log last: an object listed later may depend on one listed before.
        all.sort_by(|a, b| a.location.cmp(&b.location));
        for meta in all {
            // One that was collected meanwhile is not needed.
            let Ok(found) = self.inner.get(&meta.location).await else { continue };
            copy.put(&meta.location, found.bytes().await.unwrap().into()).await.unwrap();
        }
        Arc::new(copy)
    }

    /// Faults of `per_thousand` requests each way. Reads fail rarely: an open makes hundreds.
    async fn fault(&self, per_thousand: u32) -> Fault {
        if !self.armed.load(Ordering::SeqCst) {
            return Fault::None;
        }
        let (delay_us, dice) = {
            let mut random = self.random.lock();
            (random.u64(0..2_000), random.u32(0..1000))
        };
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        let fault = match dice {
            _ if dice < per_thousand => Fault::Before,
            _ if dice < 2 * per_thousand => Fault::After,
            _ => return Fault::None,
        };
        self.faults.fetch_add(1, Ordering::SeqCst);
        fault
    }
}

fn injected() -> Error {
    Error::Generic { store: "faulty", source: "an injected fault".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fault(30).await {
            Fault::None => self.inner.put_opts(location, payload, options).await,
            Fault::Before => Err(injected()),
            Fault::After => {
                self.inner.put_opts(location, payload, options).await?;
                Err(injected())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fault(1).await {
            Fault::None | Fault::After => self.inner.get_opts(location, options).await,
            Fault::Before => Err(injected()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
