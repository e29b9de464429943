// SPDX-License-Identifier: Apache-2.0

//! Storage classes, CSI drivers and nodes, attachments and capacities (`pkg/apis/storage`).

use knarr_types::{ErrorList, FieldError, FieldPath};
use serde_json::json;

use super::Rules;
use super::amount::Amount;
use super::at::{At, same};
use super::fill::{self, empty, object, unset};
use super::go_print;
use super::metadata::{self, NOT_NEGATIVE};
use super::names;
use super::security::one_of;
use super::selectors;
use super::volumes::{csi_driver_name, require};

pub(super) static STORAGE_CLASS: Rules = Rules {
    default: |class| {
        unset(class, "reclaimPolicy", "Delete");
        unset(class, "volumeBindingMode", "Immediate");
    },
    validate: |class| storage_class(&At::root(class)),
    validate_update: |new, old, _| {
        let (class, before) = (At::root(new), At::root(old));
        let mut errors = storage_class(&class);
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            errors.extend(metadata::immutable(&class.get(field), &before.get(field)));
        }
        errors
    },
    ..Rules::DEFAULT
};

pub(super) static VOLUME_ATTRIBUTES_CLASS: Rules = Rules {
    validate: |class| attributes_class(&At::root(class)),
    validate_update: |new, old, _| {
        let (class, before) = (At::root(new), At::root(old));
        let mut errors = ErrorList::new();
        for field in ["driverName", "parameters"] {
            if !same(class.raw(field), before.raw(field)) {
                errors.push(class.get(field).forbidden(format!("updates to {field} are forbidden.")));
            }
        }
        errors
    },
    ..Rules::DEFAULT
};

pub(super) static CSI_DRIVER: Rules = Rules {
    default: |driver| {
        let spec = object(driver, "spec");
        unset(spec, "attachRequired", true);
        unset(spec, "podInfoOnMount", false);
        unset(spec, "storageCapacity", false);
        unset(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        empty(spec, "volumeLifecycleModes", json!(["Persistent"]));
        unset(spec, "requiresRepublish", false);
        unset(spec, "seLinuxMount", false);
    },
    prepare_update: |new, old, _| {
        if !same(&new["spec"]["tokenRequests"], &old["spec"]["tokenRequests"]) || !same(&new["spec"], &old["spec"]) {
            fill::bump_generation(new, old, &["spec"]);
        }
    },
    validate: |driver| csi_driver(&At::root(driver).get("spec")),
    validate_update: |new, old, _| {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let mut errors = csi_driver(&spec);
        let attach = spec.get("attachRequired").named(spec.path.child("attachedRequired"));
        errors.extend(metadata::immutable(&attach, &before.get("attachRequired")));
        errors.extend(metadata::immutable(&spec.get("volumeLifecycleModes"), &before.get("volumeLifecycleModes")));
        errors
    },
    warnings: |driver| {
        let spec = At::root(driver).get("spec");
        let unset = spec.len("tokenRequests") > 0 && !spec.has("serviceAccountTokenInSecrets");
        let message = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
             prevent possible logging of tokens in volume attributes";
        if unset { vec![message.to_owned()] } else { Vec::new() }
    },
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

pub(super) static CSI_NODE: Rules = Rules {
    validate: |node| csi_drivers(&At::root(node)),
    validate_update: |new, old, _| {
        const FIELDS: &[(&str, &str)] = &[
            ("Name", "name$"),
            ("NodeID", "nodeID$"),
            ("TopologyKeys", "topologyKeys"),
            ("Allocatable", "allocatable"),
        ];
        let (node, before) = (At::root(new), At::root(old));
        let mut errors = csi_drivers(&node);
        let list = node.get("spec.drivers");
        let old_drivers = before.items("spec.drivers");
        for driver in node.items("spec.drivers") {
            let same_name = old_drivers.iter().find(|old| old.str("name") == driver.str("name"));
            // How many volumes fit may change; who the driver is may not.
            let who = |driver: &At<'_>| {
                let mut who = driver.value.clone();
                fill::remove(&mut who, "allocatable");
                who
            };
            if same_name.is_some_and(|old| !same(&who(old), &who(&driver))) {
                errors.push(list.invalid_as(go_print::structure(&who(&driver), FIELDS), "field is immutable"));
            }
        }
        errors
    },
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

pub(super) static VOLUME_ATTACHMENT: Rules = Rules {
    prepare_create: |attachment| fill::remove(attachment, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" });
    },
    validate: |attachment| volume_attachment(&At::root(attachment)),
    validate_update: |new, old, subresource| {
        let (attachment, before) = (At::root(new), At::root(old));
        if subresource == "status" {
            return attachment_status(&attachment);
        }
        let mut errors = volume_attachment(&attachment);
        let spec = attachment.get("spec");
        if !same(spec.value, before.raw("spec")) {
            errors.push(spec.invalid_as(shown_attachment(&spec), "field is immutable"));
        }
        errors
    },
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

pub(super) static CSI_STORAGE_CAPACITY: Rules = Rules {
    validate: |capacity| storage_capacity(&At::root(capacity)),
    validate_update: |new, old, _| {
        let (capacity, before) = (At::root(new), At::root(old));
        let mut errors = storage_capacity(&capacity);
        for field in ["nodeTopology", "storageClassName"] {
            errors.extend(metadata::immutable(&capacity.get(field), &before.get(field)));
        }
        errors
    },
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

fn storage_class(class: &At<'_>) -> ErrorList {
    let mut errors = provisioner(&class.get("provisioner"));
    for (key, _) in class.entries("parameters") {
        if key.is_empty() {
            errors.push(class.get("parameters").invalid_as(key, "field can not be empty."));
        }
    }
    let reclaim = class.get("reclaimPolicy");
    if !reclaim.text().is_empty() {
        errors.extend(one_of(&reclaim, &["Delete", "Retain"]));
    }
    let binding = class.get("volumeBindingMode");
    if !["Immediate", "WaitForFirstConsumer"].contains(&binding.text()) {
        errors.push(binding.not_supported(&["Immediate", "WaitForFirstConsumer"]));
    }
    errors
}

fn provisioner(provisioner: &At<'_>) -> ErrorList {
    if provisioner.text().is_empty() {
        return vec![provisioner.required("")];
    }
    let lower = provisioner.text().to_lowercase();
    provisioner.faults(names::qualified_name(&lower))
}

fn attributes_class(class: &At<'_>) -> ErrorList {
    let mut errors = csi_driver_name(&class.get("driverName"));
    if class.len("parameters") == 0 {
        errors.push(class.get("parameters").required("must contain at least one key/value pair"));
    }
    errors
}

fn csi_driver(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.has(field) {
            errors.push(spec.get(field).required(""));
        }
    }
    errors.extend(one_of(&spec.get("fsGroupPolicy"), &["File", "None", "ReadWriteOnceWithFSType"]));
    let mut seen = Vec::new();
    for request in spec.items("tokenRequests") {
        let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
        if seen.contains(&audience.text()) {
            errors.push(audience.duplicate());
        }
        seen.push(audience.text());
        match seconds.value.as_i64() {
            Some(number) if number < 600 => {
                errors.push(seconds.invalid("may not specify a duration less than 10 minutes"));
            }
            Some(number) if number > 1 << 32 => {
                errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
            }
            _ => {}
        }
    }
    let modes = spec.get("volumeLifecycleModes");
    for mode in spec.strings("volumeLifecycleModes") {
        if !["Persistent", "Ephemeral"].contains(&mode) {
            errors.push(FieldError::not_supported(&modes.path, mode, &["Persistent", "Ephemeral"]));
        }
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.value.as_i64().is_some_and(|seconds| seconds < 10) {
        errors.push(period.invalid("must be greater than or equal to 10 seconds"));
    }
    errors
}

fn csi_drivers(node: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for driver in node.items("spec.drivers") {
        errors.extend(csi_driver_name(&driver.get("name")));
        errors.extend(require(&driver, &["nodeID"]));
        if driver.str("nodeID").len() > 256 {
            errors.push(driver.get("nodeID").invalid("must be 256 characters or less"));
        }
        for key in driver.items("topologyKeys") {
            errors.extend(key.faults(names::qualified_name(key.text())));
        }
        if seen.contains(&driver.str("name")) {
            errors.push(driver.get("name").duplicate());
        }
        seen.push(driver.str("name"));
        let count = driver.get("allocatable.count");
        if count.value.as_i64().is_some_and(|count| count < 0) {
            errors.push(count.invalid(NOT_NEGATIVE));
        }
    }
    errors
}

fn volume_attachment(attachment: &At<'_>) -> ErrorList {
    let spec = attachment.get("spec");
    let mut errors = csi_driver_name(&spec.get("attacher"));
    let source = spec.get("source");
    match (source.has("persistentVolumeName"), source.has("inlineVolumeSpec")) {
        (false, false) => {
            errors.push(source.required("must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
        }
        (true, true) => {
            errors.push(source.forbidden("must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (true, false) => errors.extend(require(&source, &["persistentVolumeName"])),
        (false, true) => {}
    }
    errors.extend(spec.get("nodeName").faults(names::dns1123_subdomain(spec.str("nodeName"))));
    errors.extend(attachment_status(attachment));
    errors
}

fn attachment_status(attachment: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["attachError", "detachError"] {
        let code = attachment.get("status").get(field).get("errorCode");
        if code.value.as_i64().is_some_and(|code| !(0..=i64::from(i32::MAX)).contains(&code)) {
            errors.push(code.invalid(names::in_range(0, i64::from(i32::MAX))));
        }
    }
    errors
}

fn shown_attachment(spec: &At<'_>) -> knarr_types::Shown {
    let source = [("PersistentVolumeName", "persistentVolumeName"), ("InlineVolumeSpec", "inlineVolumeSpec")];
    let source = go_print::structure(spec.raw("source"), &source);
    let (attacher, node) = (json!(spec.str("attacher")), json!(spec.str("nodeName")));
    knarr_types::Shown::Printed(format!("{{\"Attacher\":{attacher},\"Source\":{source},\"NodeName\":{node}}}"))
}

fn storage_capacity(capacity: &At<'_>) -> ErrorList {
    let mut errors = selectors::label_selector(&capacity.get("nodeTopology"));
    let class = capacity.get("storageClassName");
    errors.extend(metadata::faults(
        &FieldPath::new("storageClassName"),
        class.text(),
        names::dns1123_subdomain(class.text()),
    ));
    for field in ["capacity", "maximumVolumeSize"] {
        let amount = capacity.get(field);
        if Amount::parse(amount.text()).is_some_and(Amount::is_negative) {
            errors.push(amount.invalid(NOT_NEGATIVE));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::Object;

    use super::*;

    #[test]
    fn parameters_of_a_storage_class_stay() {
        let mut old: Object = json!({"provisioner": "e.com/p", "parameters": {"a": "b"}});
        (STORAGE_CLASS.default)(&mut old);
        let mut new = old.clone();
        new["parameters"]["a"] = json!("c");
        let errors = (STORAGE_CLASS.validate_update)(&new, &old, "");
        assert_eq!(errors[0].to_string(), "parameters: Invalid value: {\"a\":\"c\"}: field is immutable");
    }
}
