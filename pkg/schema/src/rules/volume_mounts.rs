// SPDX-License-Identifier: Apache-2.0

//! Volumes as containers see them: mounts and block devices.

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::volumes::local_descending_path;

/// What is wrong with a container's mounts; `volumes` are the pod's valid ones.
pub fn mounts(container: &At<'_>, volumes: &[At<'_>]) -> ErrorList {
    let list = container.get("volumeMounts");
    let devices = container.items("volumeDevices");
    let mut errors = ErrorList::new();
    let mut paths = Vec::new();
    for mount in container.items("volumeMounts") {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if !volumes.iter().any(|volume| volume.str("name") == name.text()) {
            errors.push(name.not_found());
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if paths.contains(&path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        paths.push(path.text());
        if devices.iter().any(|device| device.str("name") == name.text()) {
            errors.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| device.str("devicePath") == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeDevices"));
        }
        errors.extend(sub_paths(&mount, &list));
        errors.extend(propagation(&mount, &list, container));
        errors.extend(recursive_read_only(&mount, &list));
    }
    errors
}

fn sub_paths(mount: &At<'_>, list: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
    if !path.text().is_empty() {
        errors.extend(local_descending_path(&path.named(list.path.child("subPath"))));
    }
    if !expression.text().is_empty() {
        if !path.text().is_empty() {
            errors.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
        }
        errors.extend(local_descending_path(&expression.named(list.path.child("subPathExpr"))));
    }
    errors
}

fn propagation(mount: &At<'_>, list: &At<'_>, container: &At<'_>) -> Option<FieldError> {
    let propagation = mount.get("mountPropagation").named(list.path.child("mountPropagation"));
    if !propagation.is_set() {
        return None;
    }
    let valid = ["Bidirectional", "HostToContainer", "None"];
    if !valid.contains(&propagation.text()) {
        return Some(propagation.not_supported(&valid));
    }
    let refused = propagation.text() == "Bidirectional" && !container.flag("securityContext.privileged");
    let message = "Bidirectional mount propagation is available only to privileged containers";
    refused.then(|| propagation.forbidden(message))
}

fn recursive_read_only(mount: &At<'_>, list: &At<'_>) -> ErrorList {
    let mode = mount.get("recursiveReadOnly").named(list.path.child("recursiveReadOnly"));
    let mut errors = ErrorList::new();
    match mode.text() {
        _ if !mode.is_set() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.push(mode.forbidden("may only be specified when readOnly is true"));
            }
            if !["", "None"].contains(&mount.str("mountPropagation")) {
                errors.push(mode.forbidden("may only be specified when mountPropagation is None or not specified"));
            }
        }
        _ => errors.push(mode.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
    errors
}

/// What is wrong with a container's block devices.
pub fn devices(container: &At<'_>, volumes: &[At<'_>]) -> ErrorList {
    let mounts = container.items("volumeMounts");
    let mut errors = ErrorList::new();
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for device in container.items("volumeDevices") {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        let volume = volumes.iter().find(|volume| volume.str("name") == name.text());
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if names.contains(&name.text()) {
            errors.push(name.invalid("must be unique"));
        }
        match volume {
            None => errors.push(name.not_found()),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(name.invalid(message));
            }
            Some(_) => {}
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if paths.contains(&path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        }
        if mounts.iter().any(|mount| mount.str("name") == name.text()) {
            errors.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.str("mountPath") == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
        names.push(name.text());
        paths.push(path.text());
    }
    errors
}
