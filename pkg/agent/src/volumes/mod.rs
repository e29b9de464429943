// SPDX-License-Identifier: Apache-2.0
//! The volumes of a pod: made before its containers, kept current, removed after them.
//!
//! Each volume is a folder (or a place of the host) that containers see through bind mounts. All
//! of them lie in the pod's folder, so removal needs no knowledge of their kinds.

mod atomic;
mod content;
mod host_path;
mod mounts;
mod sub_path;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::fields::Addresses;
use crate::objects::Objects;
use crate::pod::Moment;

pub use mounts::{unmount_below, unmount_one};
pub use sub_path::bind_sub_path;

/// What volumes are made from.
pub struct Source<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The pod's folder.
    pub dir: PathBuf,
    /// ConfigMaps and Secrets.
    pub objects: &'a Objects,
    /// For service account tokens.
    pub client: kube::Client,
    /// For the downward API.
    pub addresses: &'a Addresses,
    /// What the node has.
    pub node: &'a BTreeMap<String, Quantity>,
}

/// The volumes that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// By the volume's name: where it lies on the host.
    pub paths: BTreeMap<String, PathBuf>,
    /// When a token in them must be renewed.
    pub renew: Option<Moment>,
}

/// Makes all volumes, or brings those that are there up to date.
///
/// # Errors
/// The message of a FailedMount event, naming the volume.
pub async fn set_up(source: &Source<'_>) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    for volume in source.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let made = one(source, volume, &mut mounted.renew).await;
        let path =
            made.map_err(|error| format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name))?;
        mounted.paths.insert(volume.name.clone(), path);
    }
    Ok(mounted)
}

/// When volumes that could not be brought up to date are tried again.
#[must_use]
pub fn retry(now: Moment) -> Moment {
    now.after(content::RETRY)
}

/// Unmounts and removes all of a pod's volumes.
///
/// # Errors
/// What is left, and why.
pub fn clean_up(pod_dir: &Path) -> Result<(), String> {
    for part in ["sub_paths", "volumes"] {
        let path = pod_dir.join(part);
        unmount_below(&path)?;
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("remove {}: {error}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn one(source: &Source<'_>, volume: &Volume, renew: &mut Option<Moment>) -> Result<PathBuf, String> {
    if let Some(host_path) = &volume.host_path {
        return host_path::check(host_path);
    }
    let path = source.dir.join("volumes").join(&volume.name);
    let security = source.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let group = security.and_then(|security| security.fs_group).and_then(|group| u32::try_from(group).ok());
    if let Some(empty_dir) = &volume.empty_dir {
        make_empty_dir(&path, empty_dir, source.pod, group)?;
        return Ok(path);
    }
    if !content::is_content(volume) {
        return Err("this node does not know volumes of this type".to_owned());
    }
    let files = content::files(source, volume).await?;
    if let Some(at) = files.renew {
        *renew = Some(renew.map_or(at, |renew| renew.min(at)));
    }
    let write = path.clone();
    let written = tokio::task::spawn_blocking(move || atomic::write(&write, &files.files, group)).await;
    written.map_err(|error| error.to_string())?.map_err(|error| format!("write {}: {error}", path.display()))?;
    Ok(path)
}

fn make_empty_dir(path: &Path, source: &EmptyDirVolumeSource, pod: &Pod, group: Option<u32>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("make {}: {error}", path.display());
    let fresh = !path.exists();
    std::fs::create_dir_all(path).map_err(failed)?;
    let in_memory = source.medium.as_deref() == Some("Memory");
    if in_memory && !mounts::is_mount(path) {
        mounts::tmpfs(path, memory_size(source, pod))?;
    }
    if fresh {
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
        }
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// A volume in memory holds what it may, and no more than its pod may have of memory at all.
fn memory_size(source: &EmptyDirVolumeSource, pod: &Pod) -> Option<i64> {
    let own = source.size_limit.as_ref().and_then(crate::resources::whole).filter(|size| *size > 0);
    own.into_iter().chain(crate::resources::pod(pod).memory_bytes).min()
}

/// Tokens are renewed when no more than this share of their life is left ...
const LEFT_AT_RENEWAL: f64 = 0.2;
/// ... and at this age in any case.
const AGE_AT_RENEWAL: Duration = Duration::from_secs(86_400);
/// No token is renewed more often, whatever the server says of its life.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(1);

/// When a token that holds for `life` until `expires` is renewed, as upstream's kubelet decides it.
fn renewal(now: Moment, expires: Moment, life: Duration) -> Moment {
    let before = |moment: Moment, duration: Duration| {
        Moment(moment.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    };
    let late = before(expires, life.mul_f64(LEFT_AT_RENEWAL));
    let old = before(expires, life).after(AGE_AT_RENEWAL);
    late.min(old).max(now.after(BETWEEN_RENEWALS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_when_most_of_their_life_is_over_or_a_day() {
        let now = Moment(1_000_000_000_000);
        for (life, expires_in, expected) in [
            (600, 600, 480),
            (3600, 3600, 2880),
            (7 * 86_400, 7 * 86_400, 86_400),
            (600, 121, 1),
            (600, 130, 10),
            (600, 0, 1),
        ] {
            let at = renewal(now, now.after_seconds(expires_in), Duration::from_secs(life));
            assert_eq!(at, now.after_seconds(expected), "of {life} s, {expires_in} s are left");
        }
    }

    #[test]
    fn memory_volumes_are_limited_by_their_size_and_by_the_pods_memory() {
        let pod = |limit: &str| -> Pod {
            let resources = if limit.is_empty() { serde_json::json!({}) } else { serde_json::json!({"memory": limit}) };
            let containers = serde_json::json!([{"name": "c", "resources": {"limits": resources}}]);
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"containers": containers}})).unwrap()
        };
        for (limit, size, expected) in [
            ("", None, None),
            ("", Some("1Mi"), Some(1 << 20)),
            ("2Mi", None, Some(2 << 20)),
            ("2Mi", Some("1Mi"), Some(1 << 20)),
            ("2Mi", Some("3Mi"), Some(2 << 20)),
        ] {
            let size_limit = size.map(|size| Quantity(size.to_owned()));
            let source = EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit };
            assert_eq!(memory_size(&source, &pod(limit)), expected, "{limit} {size:?}");
        }
    }
}
