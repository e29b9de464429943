// SPDX-License-Identifier: Apache-2.0
//! The rows of volumes, claims, classes and CSI kinds.

use knarr_types::tree::Value;

use super::fields::{Fields, or_none};

const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io~1is-default-class", "storageclass.beta.kubernetes.io~1is-default-class"];
const CLASS_ANNOTATION: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "PersistentVolume" => volume(object),
        "PersistentVolumeClaim" => claim(object),
        "StorageClass" => vec![
            class_name(object, &DEFAULT_CLASS),
            object.text("/provisioner").into(),
            object.text_or("/reclaimPolicy", "Delete").into(),
            object.text_or("/volumeBindingMode", "Immediate").into(),
            object.flag("/allowVolumeExpansion").into(),
            object.age(),
        ],
        "VolumeAttributesClass" => {
            let defaults = ["volumeattributesclass.alpha.kubernetes.io~1is-default-class"];
            vec![class_name(object, &defaults), object.text("/driverName").into(), object.age()]
        }
        "VolumeAttachment" => vec![
            object.name(),
            object.text("/spec/attacher").into(),
            object.text("/spec/source/persistentVolumeName").into(),
            object.text("/spec/nodeName").into(),
            object.flag("/status/attached").into(),
            object.age(),
        ],
        "CSINode" => vec![object.name(), object.list("/spec/drivers").len().into(), object.age()],
        "CSIDriver" => driver(object),
        "CSIStorageCapacity" => vec![object.name(), object.created_at()],
        _ => return None,
    })
}

fn volume(volume: Fields<'_>) -> Vec<Value> {
    let claim = match (volume.text("/spec/claimRef/namespace"), volume.text("/spec/claimRef/name")) {
        _ if volume.at("/spec/claimRef").is_none() => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![
        volume.name(),
        volume.text_or("/spec/capacity/storage", "0").into(),
        access_modes(volume, "/spec/accessModes"),
        volume.text("/spec/persistentVolumeReclaimPolicy").into(),
        phase(volume),
        claim.into(),
        storage_class(volume),
        volume.text_or("/spec/volumeAttributesClassName", "<unset>").into(),
        volume.text("/status/reason").into(),
        volume.age(),
        volume.text_or("/spec/volumeMode", "<unset>").into(),
    ]
}

fn claim(claim: Fields<'_>) -> Vec<Value> {
    let bound = !claim.text("/spec/volumeName").is_empty();
    vec![
        claim.name(),
        phase(claim),
        claim.text("/spec/volumeName").into(),
        if bound { claim.text_or("/status/capacity/storage", "0").into() } else { "".into() },
        if bound { access_modes(claim, "/status/accessModes") } else { "".into() },
        storage_class(claim),
        claim.text_or("/spec/volumeAttributesClassName", "<unset>").into(),
        claim.age(),
        claim.text_or("/spec/volumeMode", "<unset>").into(),
    ]
}

fn phase(object: Fields<'_>) -> Value {
    if object.is_deleted() { "Terminating".into() } else { object.text("/status/phase").into() }
}

fn storage_class(object: Fields<'_>) -> Value {
    match object.text(CLASS_ANNOTATION) {
        "" => object.text("/spec/storageClassName").into(),
        class => class.into(),
    }
}

fn access_modes(object: Fields<'_>, path: &str) -> Value {
    let has = object.texts(path);
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let short: Vec<&str> = known.into_iter().filter(|(mode, _)| has.contains(mode)).map(|(_, short)| short).collect();
    short.join(",").into()
}

/// A class says in an annotation that it is what claims get that name none.
fn class_name(class: Fields<'_>, annotations: &[&str]) -> Value {
    let default = annotations.iter().any(|name| class.text(&format!("/metadata/annotations/{name}")) == "true");
    let name = class.text("/metadata/name");
    if default { format!("{name} (default)").into() } else { name.into() }
}

fn driver(driver: Fields<'_>) -> Vec<Value> {
    let audiences: Vec<&str> = driver.items("/spec/tokenRequests").map(|request| request.text("/audience")).collect();
    let audiences = audiences.join(",");
    vec![
        driver.name(),
        driver.at("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true).into(),
        driver.flag("/spec/podInfoOnMount").into(),
        driver.flag("/spec/storageCapacity").into(),
        if audiences.is_empty() { "<unset>".into() } else { audiences.into() },
        driver.flag("/spec/requiresRepublish").into(),
        or_none(driver.texts("/spec/volumeLifecycleModes").join(",")),
        driver.age(),
    ]
}
