// SPDX-License-Identifier: Apache-2.0
//! Classes: of storage and of ingress.

use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;

use super::page::Page;

/// The annotation of the class that is meant where none is named.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) fn storage(class: &StorageClass) -> Page {
    let meta = &class.metadata;
    let mut page = Page::of(meta);
    let marked =
        |key: &&str| meta.annotations.as_ref().and_then(|all| all.get(*key)).is_some_and(|value| value == "true");
    page.field(0, "IsDefaultClass", if IS_DEFAULT.iter().any(marked) { "Yes" } else { "No" });
    page.pairs("Annotations", meta.annotations.as_ref());
    page.field(0, "Provisioner", &class.provisioner);
    page.pairs("Parameters", class.parameters.as_ref());
    let grows = class.allow_volume_expansion.map_or("<unset>", |grows| if grows { "True" } else { "False" });
    page.field(0, "AllowVolumeExpansion", grows);
    match class.mount_options.as_deref().unwrap_or_default() {
        [] => page.field(0, "MountOptions", "<none>"),
        options => {
            page.line(0, "MountOptions:");
            options.iter().for_each(|option| page.line(1, option));
        }
    }
    page.some(0, "ReclaimPolicy", class.reclaim_policy.as_ref());
    page.some(0, "VolumeBindingMode", class.volume_binding_mode.as_ref());
    page
}

pub(super) fn ingress(class: &IngressClass) -> Page {
    let (meta, spec) = (&class.metadata, class.spec.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page.field(0, "Controller", spec.controller.as_deref().unwrap_or_default());
    if let Some(parameters) = spec.parameters {
        page.line(0, "Parameters:");
        page.some(1, "APIGroup", parameters.api_group.as_ref());
        page.field(1, "Kind", parameters.kind);
        page.field(1, "Name", parameters.name);
    }
    page
}
