// SPDX-License-Identifier: Apache-2.0

//! What a claim got: the allocation, who uses it, and what drivers say of the devices.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldErrorType, Shown};

use super::super::addresses;
use super::super::at::{At, same};
use super::super::conditions::conditions;
use super::super::fill;
use super::super::go_print;
use super::super::metadata;
use super::super::selectors;
use super::claim::Requests;
use super::parts::{
    PARAMETER_BYTES, binding, configuration, driver, itself, label, list, pool_name, raw_object, set, toleration,
};

const MOST_USERS: usize = 256;
const MOST_RESULTS: usize = 32;
const MOST_CONFIGS: usize = 64;
const MOST_CONDITIONS: usize = 8;
const MOST_ADDRESSES: usize = 16;
const INTERFACE_NAME_BYTES: usize = 256;
const HARDWARE_ADDRESS_BYTES: usize = 128;

/// What is wrong with a change of a claim's status.
pub fn update(claim: &At<'_>, before: &At<'_>) -> ErrorList {
    let (status, old) = (claim.get("status"), before.get("status"));
    let requests = Requests::of(&claim.get("spec"));
    let mut errors = set(&status, "reservedFor", MOST_USERS, user, |user| user.raw("uid").clone());
    let allocated: Vec<Value> = status.items("allocation.devices.results").iter().map(device_id).collect();
    let mut devices = set(&status, "devices", usize::MAX, |one| device(one, &allocated), device_id);
    for error in devices.iter_mut().filter(|error| error.kind == FieldErrorType::Duplicate) {
        let double = status.items("devices").into_iter().find(|device| device.path == error.path);
        error.value = double.map_or(error.value.take(), |device| Some(shown_id(&device)));
    }
    errors.append(&mut devices);
    errors.extend(reservations(claim, &status, &old));
    let (allocation, allocated_before) = (status.get("allocation"), old.get("allocation"));
    match (allocation.is_set(), allocated_before.is_set()) {
        (true, true) if !same(allocation.value, allocated_before.value) => {
            let shown = go_print::of_type(allocation.value, "io.k8s.api.resource.v1.AllocationResult");
            errors.push(allocation.invalid_as(shown, metadata::IMMUTABLE));
        }
        (true, false) => errors.extend(self::allocation(&allocation, &requests)),
        _ => {}
    }
    errors
}

/// Takes away what is said of devices that the claim had and has no longer.
pub fn drop_deallocated(claim: &mut Value, old: &Value) {
    let held = |claim: &Value| -> Vec<Value> {
        At::root(claim).items("status.allocation.devices.results").iter().map(unshared_id).collect()
    };
    let (now, before) = (held(claim), held(old));
    let gone = |device: &Value| {
        let id = unshared_id(&At::root(device));
        before.contains(&id) && !now.contains(&id)
    };
    let Some(status) = fill::at(claim, "status") else { return };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !gone(device));
    if devices.is_empty() {
        fill::remove(status, "devices");
    }
}

/// What tells devices apart but for their shares.
fn unshared_id(device: &At<'_>) -> Value {
    json!([device.str("driver"), device.str("pool"), device.str("device")])
}

fn user(user: &At<'_>) -> ErrorList {
    let fields = ["resource", "name", "uid"];
    fields.iter().map(|field| user.get(field)).filter(|at| at.text().is_empty()).map(|at| at.required("")).collect()
}

/// A claim that is not allocated, or is on its way out, gets no new users.
fn reservations(claim: &At<'_>, status: &At<'_>, old: &At<'_>) -> Option<FieldError> {
    let users = status.get("reservedFor");
    if status.len("reservedFor") == 0 {
        return None;
    }
    if !status.has("allocation") {
        return Some(users.forbidden("may not be specified when `allocated` is not set"));
    }
    let before = old.items("reservedFor");
    let added = status.items("reservedFor").iter().any(|user| !before.iter().any(|b| same(b.value, user.value)));
    (claim.has("metadata.deletionTimestamp") && added).then(|| {
        users.forbidden("new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
    })
}

/// What tells devices apart.
fn device_id(device: &At<'_>) -> Value {
    json!([device.str("driver"), device.str("pool"), device.str("device"), device.str("shareID")])
}

/// The same as messages print it.
fn shown_id(device: &At<'_>) -> Shown {
    let fields = [("Driver", "driver$"), ("Pool", "pool$"), ("Device", "device$"), ("ShareID", "shareID$")];
    go_print::structure(device.value, &fields)
}

fn device(device: &At<'_>, allocated: &[Value]) -> ErrorList {
    let mut errors = driver(&device.get("driver"));
    errors.extend(pool_name(&device.get("pool")));
    errors.extend(label(&device.get("device")));
    errors.extend(share(&device.get("shareID")));
    if !allocated.contains(&device_id(device)) {
        errors.push(device.invalid_as(shown_id(device), "must be an allocated device in the claim"));
    }
    let count = device.len("conditions");
    if count > MOST_CONDITIONS {
        errors.push(FieldError::too_many(&device.get("conditions").path, count, MOST_CONDITIONS));
    }
    errors.extend(conditions(device, "conditions"));
    if device.has("data") {
        errors.extend(raw_object(&device.get("data"), false, PARAMETER_BYTES));
    }
    errors.extend(network(&device.get("networkData")));
    errors
}

fn network(data: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, most) in [("interfaceName", INTERFACE_NAME_BYTES), ("hardwareAddress", HARDWARE_ADDRESS_BYTES)] {
        if data.str(field).len() > most {
            errors.push(FieldError::too_long(&data.get(field).path, most));
        }
    }
    errors.extend(set(data, "ips", MOST_ADDRESSES, |at| addresses::interface_address(at), itself));
    errors
}

/// What is wrong with the id of a share of a device: a UUID in its one form.
fn share(id: &At<'_>) -> Option<FieldError> {
    if !id.is_set() {
        return None;
    }
    let text = id.text();
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    if !lengths || !groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit())) {
        let why = if text.len() == 36 { "invalid UUID format".to_owned() } else { wrong_length(text) };
        return Some(id.invalid(format!("error validating uid: {why}")));
    }
    (text != text.to_lowercase()).then(|| {
        id.invalid(
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
             hexadecimal characters",
        )
    })
}

fn wrong_length(text: &str) -> String {
    format!("invalid UUID length: {}", text.len())
}

fn allocation(allocation: &At<'_>, requests: &Requests<'_>) -> ErrorList {
    let devices = allocation.get("devices");
    let mut errors = list(&devices, "results", MOST_RESULTS, |result| {
        let mut errors = requests.reference(&result.get("request"));
        errors.extend(driver(&result.get("driver")));
        errors.extend(pool_name(&result.get("pool")));
        errors.extend(label(&result.get("device")));
        errors.extend(binding(result));
        errors.extend(result.items("tolerations").iter().flat_map(toleration));
        errors.extend(share(&result.get("shareID")));
        errors
    });
    errors.extend(list(&devices, "config", MOST_CONFIGS, |config| {
        let source = config.get("source");
        let mut errors = match source.text() {
            "" => vec![source.required("")],
            "FromClaim" | "FromClass" => ErrorList::new(),
            _ => vec![source.not_supported(&["FromClaim", "FromClass"])],
        };
        errors.extend(requests.references(config));
        errors.extend(configuration(config, false));
        errors
    }));
    if allocation.has("nodeSelector") {
        errors.extend(selectors::node_selector(&allocation.get("nodeSelector")));
    }
    errors
}
