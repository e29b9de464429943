// SPDX-License-Identifier: Apache-2.0
//! Keeping the node able to work: it looks at its memory and disk every ten seconds, removes images
//! that nothing uses, and ends pods that take too much. What to do is decided in `crate::eviction`.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_client::events::Severity;
use knarr_runtime::PodUid;
use tokio::sync::Notify;

use crate::context::{Context, PodView};
use crate::eviction::{Candidate, LocalStorage, Shortage, excess, is_limited, message, victim};
use crate::images::Images;
use crate::machine::Figures;
use crate::pod::Event;
use crate::worker::Mail;

/// How often the node looks.
const EVERY: Duration = Duration::from_secs(10);
/// Measuring a pod's files takes at most one part in so many of the time.
const MEASURE_SHARE: u32 = 50;
/// Images are removed when the disk is this full, in percent, ...
const IMAGES_HIGH: u64 = 85;
/// ... until it is this full.
const IMAGES_LOW: u64 = 80;

/// Watches over the node until dropped; rings `changed` when its conditions have changed.
pub async fn watch(context: Arc<Context>, images: Arc<Images>, changed: Arc<Notify>) {
    let mut watch = Watch { context, images, changed, before: Figures::default(), measure: Instant::now() };
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        watch.look().await;
    }
}

struct Watch {
    context: Arc<Context>,
    images: Arc<Images>,
    changed: Arc<Notify>,
    before: Figures,
    /// When pods' files are measured next.
    measure: Instant,
}

impl Watch {
    async fn look(&mut self) {
        let mut figures = Figures::read(&self.context.layout.root);
        if figures.disk_used_percent() >= IMAGES_HIGH {
            self.remove_images(&figures).await;
            figures = Figures::read(&self.context.layout.root);
        }
        if conditions(&figures) != conditions(&self.before) {
            self.changed.notify_one();
        }
        self.before = figures;
        if Instant::now() >= self.measure {
            let begun = Instant::now();
            self.hold_limits().await;
            self.measure = Instant::now() + begun.elapsed() * MEASURE_SHARE;
        }
        if figures.memory_pressure() {
            self.relieve(Shortage::Memory, figures.memory_available_bytes, Figures::MEMORY_THRESHOLD).await;
        } else if figures.disk_pressure() {
            self.relieve(Shortage::Disk, figures.disk_available_bytes, figures.disk_threshold()).await;
        }
    }

    fn views(&self) -> Vec<Arc<PodView>> {
        let views: Vec<_> = self.context.pods.read().values().cloned().collect();
        views.into_iter().filter(|view| view.memory.lock().ending.is_none()).collect()
    }

    /// Ends every pod that has more on the disk than it may.
    async fn hold_limits(&self) {
        for view in self.views().into_iter().filter(|view| is_limited(&view.pod())) {
            let usage = self.storage(&view).await;
            if let Some(why) = excess(&view.pod(), &usage) {
                evict(&view, why);
            }
        }
    }

    /// Ends one pod, unless one is already on its way out.
    async fn relieve(&self, shortage: Shortage, available: u64, threshold: u64) {
        let ending = |view: &Arc<PodView>| {
            let memory = view.memory.lock();
            memory.ending.is_some() && memory.containers.values().any(crate::pod::Container::is_alive)
        };
        if self.context.pods.read().values().any(ending) {
            return;
        }
        let views = self.views();
        let mut used = Vec::new();
        for view in &views {
            used.push(match shortage {
                Shortage::Memory => self.memory(&view.uid).await,
                Shortage::Disk => self.storage(view).await.by_container(),
            });
        }
        let pods: Vec<_> = views.iter().map(|view| view.pod()).collect();
        let candidates: Vec<_> = pods.iter().zip(used).map(|(pod, used)| Candidate { pod, used }).collect();
        let Some(victim) = victim(&candidates, shortage) else { return };
        let message = message(victim, shortage, available, threshold);
        let uid = victim.pod.metadata.uid.as_deref();
        if let Some(view) = views.iter().find(|view| Some(view.uid.as_str()) == uid) {
            evict(view, message);
        }
    }

    async fn memory(&self, uid: &PodUid) -> BTreeMap<String, u64> {
        let stats = self.context.runtime.stats(uid).await.unwrap_or_default();
        stats.containers.into_iter().map(|(id, stats)| (id.name, stats.working_set_bytes)).collect()
    }

    async fn storage(&self, view: &PodView) -> LocalStorage {
        let written = self.context.runtime.written_bytes(&view.uid).await.unwrap_or_default();
        let pod = view.pod();
        let dir = self.context.layout.pod(view.uid.as_str());
        let measured = tokio::task::spawn_blocking(move || {
            let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            let on_disk = volumes.filter(|volume| {
                volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref() != Some("Memory"))
            });
            let mut storage = LocalStorage::default();
            for volume in on_disk {
                let bytes = size_below(&dir.join("volumes").join(&volume.name));
                storage.empty_dirs.insert(volume.name.clone(), bytes);
            }
            for entry in std::fs::read_dir(dir.join("logs")).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                storage.containers.insert(name, size_below(&entry.path()));
            }
            storage
        });
        let mut storage = measured.await.unwrap_or_default();
        for (id, bytes) in written {
            *storage.containers.entry(id.name).or_default() += bytes;
        }
        storage
    }

    /// Removes images that no pod uses, the one that was not used for longest first.
    async fn remove_images(&self, figures: &Figures) {
        let wanted = figures.disk_used_bytes.saturating_sub(figures.disk_usable_bytes() / 100 * IMAGES_LOW);
        let views: Vec<_> = self.context.pods.read().values().cloned().collect();
        let in_use: HashSet<String> = views.iter().flat_map(|view| images_of(view)).collect();
        let images = Arc::clone(&self.images);
        let removed = tokio::task::spawn_blocking(move || images.make_room(&in_use, wanted)).await;
        let freed = match removed {
            Ok(Ok(freed)) => freed,
            Ok(Err(error)) => return tracing::warn!(%error, "images that nothing uses were not removed"),
            Err(error) => return tracing::warn!(%error, "removing images ended badly"),
        };
        if freed < wanted {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only \
                 found {freed} bytes eligible to free."
            );
            self.context.tell_of_node(Severity::Warning, "FreeDiskSpaceFailed", &message);
        }
    }
}

impl LocalStorage {
    fn by_container(self) -> BTreeMap<String, u64> {
        // Volumes belong to all of them: they count once.
        let shared = self.empty_dirs.values().sum::<u64>();
        let mut all = self.containers;
        if let Some(first) = all.values_mut().next() {
            *first += shared;
        }
        all
    }
}

fn conditions(figures: &Figures) -> [bool; 3] {
    [figures.memory_pressure(), figures.disk_pressure(), figures.pid_pressure()]
}

fn evict(view: &PodView, why: String) {
    tracing::warn!(pod = %view.uid, why, "a pod is evicted");
    // Its task has ended: then it is gone already.
    let _ = view.mail.send(Mail::Event(Event::Evicted(why)));
}

/// Names and ids of the images that a pod's containers run, or are about to.
fn images_of(view: &PodView) -> Vec<String> {
    let run: Vec<_> = view.memory.lock().containers.values().map(|container| container.image_ref.clone()).collect();
    let held = view.images.lock().values().map(|image| image.id.clone()).collect::<Vec<_>>();
    run.into_iter().flat_map(|(name, id)| [name, id]).chain(held).collect()
}

/// Bytes on disk of a file, or of all files below a folder.
fn size_below(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| size_below(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_what_lies_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("d/everything")).unwrap();
        let size = size_below(dir.path());
        assert!((100_000..200_000).contains(&size), "{size}");
        assert_eq!(size_below(&dir.path().join("none")), 0);
    }
}
