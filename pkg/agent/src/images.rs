// SPDX-License-Identifier: Apache-2.0
//! The node's images: one pull at a time of each, and the list for the Node's status.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ContainerImage;
use knarr_image::{Image, ImageStore, PullOptions, PullPolicy};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::AgentError;
use crate::context::ImageSource;

/// The image store, shared by all pods.
pub struct Images {
    store: ImageStore,
    /// Rung when an image came.
    changed: Arc<Notify>,
    /// Who pulls an image lets others wait, who then find it here.
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Opens the store in its folder.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(dir: &Path, changed: Arc<Notify>) -> Result<Arc<Self>, AgentError> {
        let store = ImageStore::open(dir).map_err(|error| AgentError::Runtime(error.to_string()))?;
        Ok(Arc::new(Self { store, changed, pulls: Mutex::default() }))
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
