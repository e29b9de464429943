// SPDX-License-Identifier: Apache-2.0

//! Storage classes, CSI drivers and nodes, attachments and capacities (`pkg/apis/storage`).

use std::collections::{BTreeMap, BTreeSet};

use knarr_types::tree::json;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::amount::Amount;
use super::at::{At, same};
use super::fill::{self, empty, object, unset};
use super::go_print;
use super::judging::Judging;
use super::metadata::{self, NOT_NEGATIVE};
use super::names;
use super::persistent_volume;
use super::pod_warnings::{self, old_label};
use super::security::one_of;
use super::selectors;
use super::volumes::{csi_driver_name, require};

/// A field of CSI drivers behind a switch that is off.
const SWITCHED_OFF: &str = "preventPodSchedulingIfMissing";

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
    warnings: |class| topology_warnings(&At::root(class)),
    judging: Judging::WHOLE_THEN_CHANGE,
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
        errors.extend(attributes_class(&class));
        errors
    },
    judging: Judging::CHANGE_THEN_WHOLE,
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
    prepare_create: |driver| fill::remove(object(driver, "spec"), SWITCHED_OFF),
    prepare_update: |new, old, _| {
        if old["spec"][SWITCHED_OFF].is_null() {
            fill::remove(object(new, "spec"), SWITCHED_OFF);
        }
        fill::bump_generation(new, old, &["spec"]);
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
    warnings: token_warnings,
    update_warnings: Some(|new, old| {
        let asks = |driver: &Object| driver["spec"]["tokenRequests"].clone();
        if same(&asks(new), &asks(old)) { Vec::new() } else { token_warnings(new) }
    }),
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

/// Tokens that a driver gets are better not among what is logged.
fn token_warnings(driver: &Object) -> Vec<String> {
    let spec = At::root(driver).get("spec");
    let unset = spec.len("tokenRequests") > 0 && !spec.has("serviceAccountTokenInSecrets");
    let message = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
         prevent possible logging of tokens in volume attributes";
    if unset { vec![message.to_owned()] } else { Vec::new() }
}

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
    judging: Judging::WHOLE,
    ..Rules::DEFAULT
};

pub(super) static VOLUME_ATTACHMENT: Rules = Rules {
    prepare_create: |attachment| fill::remove(attachment, "status"),
    prepare_update: |new, old, subresource| {
        if subresource == "status" {
            fill::keep(new, old, "spec");
            fill::keep_metadata(new, old);
        } else {
            fill::keep(new, old, "status");
        }
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
            errors.push(spec.invalid("field is immutable"));
        }
        errors
    },
    allow_unconditional_update: false,
    judging: Judging::WHOLE,
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
    warnings: |capacity| capacity_warnings(&At::root(capacity)),
    allow_unconditional_update: false,
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};

fn storage_class(class: &At<'_>) -> ErrorList {
    let mut errors = provisioner(&class.get("provisioner"));
    errors.extend(parameters(class));
    let reclaim = class.get("reclaimPolicy");
    if !reclaim.text().is_empty() {
        errors.extend(one_of(&reclaim, &["Delete", "Retain"]));
    }
    let binding = class.get("volumeBindingMode");
    if !["Immediate", "WaitForFirstConsumer"].contains(&binding.text()) {
        errors.push(binding.not_supported(&["Immediate", "WaitForFirstConsumer"]));
    }
    errors.extend(allowed_topologies(class));
    errors
}

/// Parameters have names, and there is a limit to how many there are and how large they are together.
fn parameters(class: &At<'_>) -> ErrorList {
    const MOST: usize = 512;
    const BYTES: usize = 256 << 10;
    let given = class.get("parameters");
    if class.len("parameters") > MOST {
        return vec![FieldError::too_long(&given.path, MOST)];
    }
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in given.entries_here() {
        if key.is_empty() {
            errors.push(given.invalid_as(key, "field can not be empty."));
        }
        size += key.len() + value.text().len();
    }
    if size > BYTES {
        errors.push(FieldError::too_long(&given.path, BYTES));
    }
    errors
}

/// Where volumes of a class may be made.
fn allowed_topologies(class: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut terms: Vec<BTreeMap<String, BTreeSet<String>>> = Vec::new();
    for term in class.items("allowedTopologies") {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for requirement in term.items("matchLabelExpressions") {
            let (key, values) = (requirement.get("key"), requirement.items("values"));
            if values.is_empty() {
                errors.push(requirement.get("values").required(""));
            }
            let mut seen = BTreeSet::new();
            for value in values {
                if !seen.insert(value.text().to_owned()) {
                    errors.push(value.duplicate());
                }
            }
            errors.extend(key.faults(names::qualified_name(key.text())));
            if keys.insert(key.text().to_owned(), seen).is_some() {
                errors.push(key.duplicate());
            }
        }
        // Upstream compares with as many empty terms as there are terms, too.
        let before = terms.iter().filter(|term| **term == keys).count();
        let twice = before + if keys.is_empty() { class.len("allowedTopologies") } else { 0 };
        errors.extend(vec![FieldError::duplicate(&term.get("matchLabelExpressions").path, ""); twice]);
        terms.push(keys);
    }
    errors
}

/// Labels of nodes that have newer names.
fn topology_warnings(class: &At<'_>) -> Vec<String> {
    let terms = class.items("allowedTopologies");
    let requirements = terms.iter().flat_map(|term| term.items("matchLabelExpressions"));
    let old = |requirement: At<'_>| {
        let key = requirement.get("key");
        old_label(key.text()).map(|why| format!("{}: {why}", key.path))
    };
    requirements.filter_map(old).collect()
}

/// The same of where storage of a capacity can be reached from.
fn capacity_warnings(capacity: &At<'_>) -> Vec<String> {
    let topology = capacity.get("nodeTopology");
    let mut warnings = pod_warnings::node_selector_term(&topology, false);
    for (key, _) in topology.entries("matchLabels") {
        let path = topology.get("matchLabels").path.child(key);
        warnings.extend(old_label(key).map(|why| format!("{path}: {why}")));
    }
    warnings
}

fn provisioner(provisioner: &At<'_>) -> ErrorList {
    if provisioner.text().is_empty() {
        return vec![provisioner.required("")];
    }
    let lower = provisioner.text().to_lowercase();
    provisioner.faults(names::qualified_name(&lower))
}

fn attributes_class(class: &At<'_>) -> ErrorList {
    let mut errors = provisioner(&class.get("driverName"));
    errors.extend(parameters(class));
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
            continue;
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
    let tokens = spec.get("serviceAccountTokenInSecrets");
    if tokens.is_set() && spec.len("tokenRequests") == 0 {
        errors.push(tokens.invalid("serviceAccountTokenInSecrets is set but no tokenRequests are specified"));
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
        let count = driver.get("allocatable.count");
        if count.value.as_i64().is_some_and(|count| count < 0) {
            errors.push(count.invalid(NOT_NEGATIVE));
        }
        if seen.contains(&driver.str("name")) {
            errors.push(driver.get("name").duplicate());
        }
        seen.push(driver.str("name"));
        let mut keys = Vec::new();
        for key in driver.items("topologyKeys") {
            // What is wrong with a key is said of its driver.
            let key = key.named(driver.path.clone());
            if key.text().is_empty() {
                errors.push(key.required(""));
            }
            if keys.contains(&key.value) {
                errors.push(key.duplicate());
            }
            keys.push(key.value);
            errors.extend(key.faults(names::qualified_name(key.text())));
        }
    }
    errors
}

fn volume_attachment(attachment: &At<'_>) -> ErrorList {
    let spec = attachment.get("spec");
    let (attacher, source) = (spec.get("attacher"), spec.get("source"));
    let mut errors = csi_driver_name(&attacher);
    match (source.has("persistentVolumeName"), source.has("inlineVolumeSpec")) {
        (false, false) => {
            errors.push(source.required("must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
        }
        (true, true) => {
            errors.push(source.forbidden("must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (true, false) if source.str("persistentVolumeName").is_empty() => {
            let message = "must specify non empty persistentVolumeName";
            errors.push(source.get("persistentVolumeName").required(message));
        }
        (true, false) => {}
        (false, true) => errors.extend(persistent_volume::inline(&source.get("inlineVolumeSpec"))),
    }
    errors.extend(spec.get("nodeName").faults(names::dns1123_subdomain(spec.str("nodeName"))));
    errors.extend(attachment_status(attachment));
    let volume = spec.get("source.persistentVolumeName");
    if volume.is_set() {
        errors.extend(volume.faults(names::dns1123_subdomain(volume.text())));
    }
    errors
}

fn attachment_status(attachment: &At<'_>) -> ErrorList {
    const METADATA_BYTES: usize = 256 << 10;
    let mut errors = ErrorList::new();
    let metadata = attachment.get("status.attachmentMetadata");
    let bytes: usize = metadata.entries_here().iter().map(|(key, value)| key.len() + value.text().len()).sum();
    if bytes > METADATA_BYTES {
        errors.push(FieldError::too_long(&metadata.path, METADATA_BYTES));
    }
    for field in ["attachError", "detachError"] {
        let message = attachment.get("status").get(field).get("message");
        if message.text().len() > 1024 {
            // The limit that upstream tells is another one.
            errors.push(FieldError::too_long(&message.path, METADATA_BYTES));
        }
        let code = attachment.get("status").get(field).get("errorCode");
        if code.value.as_i64().is_some_and(|code| !(0..=i64::from(i32::MAX)).contains(&code)) {
            errors.push(code.invalid(names::in_range(0, i64::from(i32::MAX))));
        }
    }
    errors
}

fn storage_capacity(capacity: &At<'_>) -> ErrorList {
    let mut errors = selectors::label_selector(&capacity.get("nodeTopology"));
    let class = capacity.get("storageClassName");
    errors.extend(metadata::faults(
        &FieldPath::new("storageClassName"),
        class.text(),
        names::dns1123_subdomain(class.text()),
    ));
    let amount = capacity.get("capacity");
    if Amount::parse(amount.text()).is_some_and(Amount::is_negative) {
        errors.push(amount.invalid(NOT_NEGATIVE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::Object;

    use super::*;

    #[test]
    fn places_of_volumes_are_named_once() {
        let term =
            |values: &[&str]| json!({"matchLabelExpressions": [{"key": "beta.kubernetes.io/os", "values": values}]});
        let class = json!({"allowedTopologies": [term(&["a", "b"]), term(&["b", "a"]), term(&[])]});
        let told: Vec<_> = allowed_topologies(&At::root(&class)).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
                "allowedTopologies[2].matchLabelExpressions[0].values: Required value",
            ]
        );
        assert_eq!(
            topology_warnings(&At::root(&class))[0],
            "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \"kubernetes.io/os\" instead"
        );
    }

    #[test]
    fn a_volume_of_an_attachment_alone_is_a_drivers() {
        let attachment = |volume: knarr_types::tree::Value| json!({"spec": {"attacher": "d", "nodeName": "n", "source": {"inlineVolumeSpec": volume}}});
        let found = |volume| {
            let faults = (VOLUME_ATTACHMENT.validate)(&attachment(volume));
            faults.iter().map(|fault| fault.path.to_string()).collect::<Vec<_>>()
        };
        let csi = json!({"driver": "d", "volumeHandle": "h"});
        assert!(found(json!({"csi": csi, "accessModes": ["ReadWriteOnce"]})).is_empty());
        let wrong = found(json!({"csi": csi, "capacity": {"storage": "1"}, "storageClassName": "s"}));
        let at = "spec.source.inlineVolumeSpec";
        assert_eq!(wrong, ["capacity", "accessModes", "storageClassName"].map(|field| format!("{at}.{field}")));
    }

    #[test]
    fn an_attachment_that_is_there_is_judged_as_a_new_one() {
        let old = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"attacher": "Bad_", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
        assert_eq!((VOLUME_ATTACHMENT.validate)(&old).len(), 1);
        assert_eq!((VOLUME_ATTACHMENT.validate_update)(&old, &old, "").len(), 1);
        let mut new = old.clone();
        new["metadata"]["labels"]["a"] = json!("c");
        new["status"] = json!({"attached": true});
        (VOLUME_ATTACHMENT.prepare_update)(&mut new, &old, "status");
        assert_eq!((&new["metadata"], &new["status"]), (&old["metadata"], &json!({"attached": true})));
    }

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
