// SPDX-License-Identifier: Apache-2.0
//! The node's images: one pull at a time of each, and the list for the Node's status.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ContainerImage;
use knarr_image::{Image, ImageStore, PullOptions, PullPolicy};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::AgentError;
use crate::context::ImageSource;

/// An image stays for so long after it was first seen.
const YOUNGEST: Duration = Duration::from_secs(120);

/// The image store, shared by all pods.
pub struct Images {
    store: ImageStore,
    /// Rung when an image came.
    changed: Arc<Notify>,
    /// Who pulls an image lets others wait, who then find it here.
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// By id: when an image was first seen, and when it was last in use.
    seen: Mutex<HashMap<String, Seen>>,
}

impl Images {
    /// Opens the store in its folder.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(dir: &Path, changed: Arc<Notify>) -> Result<Arc<Self>, AgentError> {
        let store = ImageStore::open(dir).map_err(|error| AgentError::Runtime(error.to_string()))?;
        Ok(Arc::new(Self { store, changed, pulls: Mutex::default(), seen: Mutex::default() }))
    }

    /// As the Node's status lists them.
    #[must_use]
    pub fn listed(&self) -> Vec<ContainerImage> {
        let images = self.store.list().inspect_err(|error| tracing::warn!(%error, "images cannot be listed"));
        let listed = |image: Image| ContainerImage {
            names: Some(image.digests.into_iter().chain(image.names).collect()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        };
        images.unwrap_or_default().into_iter().map(listed).collect()
    }

    /// Removes images that are not `in_use` (by name, digest or id) until so many bytes are free or
    /// none is left, the longest unused first; gives the bytes that were freed.
    ///
    /// # Errors
    /// When images cannot be listed or removed.
    pub fn make_room(&self, in_use: &HashSet<String>, wanted_bytes: u64) -> knarr_image::Result<u64> {
        let images = self.store.list()?;
        let candidates = unused(&images, in_use, &mut self.seen.lock(), Instant::now());
        let mut freed = 0;
        for image in candidates {
            if freed >= wanted_bytes {
                break;
            }
            tracing::info!(image = image.names.first().unwrap_or(&image.id), "an image that nothing uses is removed");
            self.store.remove(&image.id)?;
            freed += image.size_bytes;
        }
        if freed > 0 {
            self.changed.notify_one();
        }
        Ok(freed)
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.pulls.lock().entry(name.to_owned()).or_default())
    }

    fn forget_turn(&self, name: &str) {
        let mut pulls = self.pulls.lock();
        // Held by the map and by the caller alone.
        if pulls.get(name).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            pulls.remove(name);
        }
    }
}

/// What is remembered of an image.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    used: Option<Instant>,
}

/// The images that may go, the longest unused first. `seen` is brought up to date: the pod of an
/// image that has just come may be on its way.
fn unused<'a>(
    images: &'a [Image],
    in_use: &HashSet<String>,
    seen: &mut HashMap<String, Seen>,
    now: Instant,
) -> Vec<&'a Image> {
    seen.retain(|id, _| images.iter().any(|image| image.id == *id));
    let mut candidates = Vec::new();
    for image in images {
        let seen = seen.entry(image.id.clone()).or_insert(Seen { first: now, used: None });
        if image.names.iter().chain(&image.digests).chain([&image.id]).any(|name| in_use.contains(name)) {
            seen.used = Some(now);
        } else if now.duration_since(seen.first) >= YOUNGEST {
            candidates.push((seen.used, seen.first, image));
        }
    }
    candidates.sort_by_key(|(used, first, _)| (*used, *first));
    candidates.into_iter().map(|(_, _, image)| image).collect()
}

#[async_trait]
impl ImageSource for Images {
    async fn ensure(&self, name: &str, options: PullOptions) -> knarr_image::Result<Image> {
        if options.policy == PullPolicy::Never {
            return self.store.pull(name, &options).await;
        }
        let turn = self.turn(name);
        let pulled = {
            let _mine = turn.lock().await;
            self.store.pull(name, &options).await
        };
        self.forget_turn(name);
        self.changed.notify_one();
        pulled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str) -> Image {
        Image {
            id: id.to_owned(),
            digests: Vec::new(),
            names: vec![format!("{id}:latest")],
            config: Default::default(),
            layers: Vec::new(),
            size_bytes: 1,
        }
    }

    #[test]
    fn images_go_when_nothing_uses_them_the_longest_unused_first() {
        let images = [image("a"), image("b"), image("c"), image("d")];
        let mut seen = HashMap::new();
        let start = Instant::now();
        let ids = |images: Vec<&Image>| images.iter().map(|image| image.id.clone()).collect::<Vec<_>>();
        let mut at = |seconds: u64, images: &'static [Image], used: &[&str]| {
            let used = used.iter().map(|name| (*name).to_owned()).collect();
            ids(unused(images, &used, &mut seen, start + Duration::from_secs(seconds)))
        };
        let images: &'static [Image] = Box::leak(Box::new(images));
        assert!(at(0, &images[..3], &["a:latest", "b"]).is_empty(), "they have just come");
        assert_eq!(at(119, images, &["b"]), Vec::<String>::new());
        assert_eq!(at(121, images, &["b"]), ["c", "a"], "never used, then used before; the last is young");
        assert_eq!(at(300, images, &[]), ["c", "d", "a", "b"]);
    }
}
