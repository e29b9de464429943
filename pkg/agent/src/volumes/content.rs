// SPDX-License-Identifier: Apache-2.0
//! Volumes that are files with a known content: ConfigMaps, Secrets, downward API, tokens, and
//! projections of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::{Api, PostParams};

use super::{Source, renewal};
use crate::objects::{Data, Kind, kind_name};
use crate::pod::Moment;
use crate::{fields, resources};

/// How long a start waits for a token before it takes the one that is there.
const PATIENCE: Duration = Duration::from_secs(4);
/// When a token that could not be had is asked for again.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// A file to be: its bytes and mode.
pub type File = (Vec<u8>, u32);

/// All files of a volume by their relative path.
#[derive(Debug, Default)]
pub struct Files {
    /// The files.
    pub files: BTreeMap<String, File>,
    /// When a token among them must be renewed.
    pub renew: Option<Moment>,
}

/// Whether the volume is of this kind.
pub fn is_content(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The files of a volume as they are to be now.
pub async fn files(source: &Source<'_>, volume: &Volume) -> Result<Files, String> {
    let mut files = Files::default();
    if let Some(map) = &volume.config_map {
        let object = (Kind::ConfigMap, map.name.as_str(), map.optional);
        keys(source, object, map.items.as_deref(), map.default_mode, &mut files).await?;
    } else if let Some(secret) = &volume.secret {
        let object = (Kind::Secret, secret.secret_name.as_deref().unwrap_or_default(), secret.optional);
        keys(source, object, secret.items.as_deref(), secret.default_mode, &mut files).await?;
    } else if let Some(downward) = &volume.downward_api {
        for item in downward.items.iter().flatten() {
            downward_file(source, item, downward.default_mode, &mut files)?;
        }
    } else if let Some(projected) = &volume.projected {
        for projection in projected.sources.iter().flatten() {
            let dir = source.dir.join("volumes").join(&volume.name);
            project(source, projection, (&dir, projected.default_mode), &mut files).await?;
        }
    }
    Ok(files)
}

async fn project(
    source: &Source<'_>,
    projection: &VolumeProjection,
    (dir, mode): (&Path, Option<i32>),
    files: &mut Files,
) -> Result<(), String> {
    if let Some(map) = &projection.config_map {
        keys(source, (Kind::ConfigMap, &map.name, map.optional), map.items.as_deref(), mode, files).await?;
    }
    if let Some(secret) = &projection.secret {
        keys(source, (Kind::Secret, &secret.name, secret.optional), secret.items.as_deref(), mode, files).await?;
    }
    for item in projection.downward_api.iter().flat_map(|downward| downward.items.iter().flatten()) {
        downward_file(source, item, mode, files)?;
    }
    if let Some(token) = &projection.service_account_token {
        token_file(source, token, (dir, mode), files).await?;
    }
    Ok(())
}

/// The keys of a ConfigMap or Secret, all of them or those of `items`.
async fn keys(
    source: &Source<'_>,
    (kind, name, optional): (Kind, &str, Option<bool>),
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    files: &mut Files,
) -> Result<(), String> {
    let namespace = source.pod.metadata.namespace.clone().unwrap_or_default();
    let uid = source.pod.metadata.uid.as_deref().unwrap_or_default();
    let optional = optional == Some(true);
    let data = source.objects.get(&(kind, namespace.clone(), name.to_owned()), uid).await?;
    let Some(data) = data else {
        return if optional { Ok(()) } else { Err(format!("{} \"{name}\" not found", kind_name(kind))) };
    };
    select(&data, items, mode, optional, files)
        .map_err(|key| format!("{} references non-existent {} key: {key}", kind_name(kind), kind_name(kind)))
}

/// `Err` names a key that is missing.
fn select(
    data: &Data,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    files: &mut Files,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.files.extend(data.iter().map(|(key, value)| (key.clone(), (value.clone(), bits(None, mode)))));
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                files.files.insert(item.path.clone(), (value.clone(), bits(item.mode, mode)));
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(())
}

fn downward_file(
    source: &Source<'_>,
    item: &DownwardAPIVolumeFile,
    mode: Option<i32>,
    files: &mut Files,
) -> Result<(), String> {
    let value = if let Some(field) = &item.field_ref {
        fields::value(source.pod, source.addresses, &field.field_path)
            .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?
    } else if let Some(field) = &item.resource_field_ref {
        let name = field.container_name.as_deref().unwrap_or_default();
        let (_, spec) =
            crate::pod::find_container(source.pod, name).ok_or_else(|| format!("container {name} not found"))?;
        let divisor = field.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
        resources::downward(spec, &field.resource, divisor, source.node)
            .ok_or_else(|| format!("unsupported container resource : {}", field.resource))?
    } else {
        return Ok(());
    };
    files.files.insert(item.path.clone(), (value.into_bytes(), bits(item.mode, mode)));
    Ok(())
}

/// A fresh token of the pod's service account, bound to the pod; while the server is away, the
/// one that is there stays.
async fn token_file(
    source: &Source<'_>,
    projection: &ServiceAccountTokenProjection,
    (dir, mode): (&Path, Option<i32>),
    files: &mut Files,
) -> Result<(), String> {
    let metadata = &source.pod.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let account = source.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let life = projection.expiration_seconds.unwrap_or(3600);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(projection.audience.clone().into_iter().filter(|audience| !audience.is_empty()).collect()),
            expiration_seconds: Some(life),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let api = Api::<ServiceAccount>::namespaced(source.client.clone(), namespace);
    let parameters = PostParams::default();
    let asking = api.create_token_request(account, &parameters, &request);
    let now = Moment::now();
    let failed = match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
            return Err(format!("failed to fetch token: {status}"));
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the server does not answer".to_owned()),
    };
    let (token, renew) = match failed {
        Ok(answer) => {
            let life = answer.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(life);
            let status = answer.status.unwrap_or_default();
            let expires = status.expiration_timestamp.as_ref().map_or(now.after_seconds(life), Moment::from);
            let renew = renewal(now, expires, Duration::from_secs(life.unsigned_abs()));
            (status.token.unwrap_or_default().into_bytes(), renew)
        }
        Err(why) => {
            let kept = std::fs::read(dir.join(&projection.path));
            let token = kept.map_err(|_| format!("failed to fetch token: {why}"))?;
            tracing::debug!(pod = metadata.name, why, "a token cannot be renewed yet; the old one stays");
            (token, now.after(RETRY))
        }
    };
    files.renew = Some(files.renew.map_or(renew, |other| other.min(renew)));
    // A token is readable to the pod's group alone; without one, to whoever the containers run as.
    let private = source.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let grouped = private.is_some_and(|security| security.fs_group.is_some());
    let mode = if grouped { 0o640 } else { bits(None, mode) };
    files.files.insert(projection.path.clone(), (token, mode));
    Ok(())
}

fn bits(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644) & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_pick_rename_and_set_modes() {
        let data = Data::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let item = |key: &str, mode| KeyToPath { key: key.to_owned(), path: format!("dir/{key}"), mode };
        let mut files = Files::default();
        select(&data, Some(&[item("a", Some(0o600))]), Some(0o444), false, &mut files).unwrap();
        assert_eq!(files.files["dir/a"], (b"1".to_vec(), 0o600));
        let mut all = Files::default();
        select(&data, None, None, false, &mut all).unwrap();
        assert_eq!(all.files.len(), 2);
        assert_eq!(all.files["b"].1, 0o644);
        assert_eq!(select(&data, Some(&[item("x", None)]), None, false, &mut all), Err("x".to_owned()));
        assert_eq!(select(&data, Some(&[item("x", None)]), None, true, &mut all), Ok(()));
    }
}
