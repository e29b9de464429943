// SPDX-License-Identifier: Apache-2.0
//! The volumes of a pod or a template.

use k8s_openapi::api::core::v1::{Volume, VolumeProjection};
use knarr_types::quantity::Quantity;

use super::page::Page;
use super::pod::Place;

pub(super) fn section(page: &mut Page, volumes: &[Volume], place: Place<'_>) {
    let indent = place.indent();
    if volumes.is_empty() {
        page.line(0, format_args!("{indent}Volumes:\t<none>"));
        return;
    }
    page.line(0, format_args!("{indent}Volumes:"));
    for volume in volumes {
        page.line(1, format_args!("{}{}:", place.name_indent(), volume.name));
        if !of_pod(page, volume) && !of_objects(page, volume) && !of_elsewhere(page, volume) {
            page.line(1, "<unknown>");
        }
    }
}

fn kind(page: &mut Page, kind: &str, about: &str) {
    page.field(2, "Type", format_args!("{kind} ({about})"));
}

/// Those that are of the pod or its host.
fn of_pod(page: &mut Page, volume: &Volume) -> bool {
    if let Some(path) = &volume.host_path {
        kind(page, "HostPath", "bare host directory volume");
        page.field(2, "Path", &path.path);
        page.field(2, "HostPathType", path.type_.as_deref().unwrap_or("<none>"));
    } else if let Some(empty) = &volume.empty_dir {
        kind(page, "EmptyDir", "a temporary directory that shares a pod's lifetime");
        page.field(2, "Medium", empty.medium.as_deref().unwrap_or_default());
        let limit =
            empty.size_limit.as_ref().filter(|limit| limit.0.parse::<Quantity>().is_ok_and(|it| it.nanos() > 0));
        page.field(2, "SizeLimit", limit.map_or("<unset>", |limit| &limit.0));
    } else if let Some(downward) = &volume.downward_api {
        kind(page, "DownwardAPI", "a volume populated by information about the pod");
        page.line(2, "Items:");
        for item in downward.items.iter().flatten() {
            let field = item.field_ref.as_ref().map(|field| &field.field_path);
            let source = field.or(item.resource_field_ref.as_ref().map(|field| &field.resource));
            source.into_iter().for_each(|source| page.line(3, format_args!("{source} -> {}", item.path)));
        }
    } else {
        return false;
    }
    true
}

/// Those that hold other objects.
fn of_objects(page: &mut Page, volume: &Volume) -> bool {
    if let Some(secret) = &volume.secret {
        kind(page, "Secret", "a volume populated by a Secret");
        page.field(2, "SecretName", secret.secret_name.as_deref().unwrap_or_default());
        page.field(2, "Optional", secret.optional.unwrap_or_default());
    } else if let Some(map) = &volume.config_map {
        kind(page, "ConfigMap", "a volume populated by a ConfigMap");
        page.field(2, "Name", &map.name);
        page.field(2, "Optional", map.optional.unwrap_or_default());
    } else if let Some(projected) = &volume.projected {
        kind(page, "Projected", "a volume that contains injected data from multiple sources");
        projected.sources.iter().flatten().for_each(|source| projection(page, source));
    } else {
        return false;
    }
    true
}

fn projection(page: &mut Page, source: &VolumeProjection) {
    if let Some(secret) = &source.secret {
        page.field(2, "SecretName", &secret.name);
        page.field(2, "Optional", secret.optional.unwrap_or_default());
    } else if source.downward_api.is_some() {
        page.field(2, "DownwardAPI", "true");
    } else if let Some(map) = &source.config_map {
        page.field(2, "ConfigMapName", &map.name);
        page.field(2, "Optional", map.optional.unwrap_or_default());
    } else if let Some(token) = &source.service_account_token {
        page.field(2, "TokenExpirationSeconds", token.expiration_seconds.unwrap_or_default());
    }
}

/// Those that come from elsewhere.
fn of_elsewhere(page: &mut Page, volume: &Volume) -> bool {
    if let Some(claim) = &volume.persistent_volume_claim {
        kind(page, "PersistentVolumeClaim", "a reference to a PersistentVolumeClaim in the same namespace");
        page.field(2, "ClaimName", &claim.claim_name);
        page.field(2, "ReadOnly", claim.read_only.unwrap_or_default());
    } else if let Some(nfs) = &volume.nfs {
        kind(page, "NFS", "an NFS mount that lasts the lifetime of a pod");
        page.field(2, "Server", &nfs.server);
        page.field(2, "Path", &nfs.path);
        page.field(2, "ReadOnly", nfs.read_only.unwrap_or_default());
    } else if let Some(image) = &volume.image {
        kind(page, "Image", "a container image or OCI artifact");
        page.field(2, "Reference", image.reference.as_deref().unwrap_or_default());
        page.field(2, "PullPolicy", image.pull_policy.as_deref().unwrap_or_default());
    } else {
        return false;
    }
    true
}
