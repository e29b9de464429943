// SPDX-License-Identifier: Apache-2.0

//! What a node has: the devices of a pool, their attributes and capacities, and where they can be used.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, Quantity};

use super::super::at::{At, same};
use super::super::fill;
use super::super::go_print;
use super::super::metadata;
use super::super::names;
use super::super::selectors;
use super::parts::{binding, driver, label, list, name_of, pool_name, qualified_name, set, taint};

const MOST_DEVICES: usize = 128;
const MOST_ADVANCED_DEVICES: usize = 64;
const MOST_COUNTER_SETS: usize = 8;
const MOST_COUNTERS: usize = 32;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_PROPERTIES: usize = 32;
const MOST_TAINTS: usize = 16;
const MOST_VALUES: usize = 10;
const VALUE_BYTES: usize = 64;
/// The longest name of an attribute that a path shows whole: domain, slash and name.
const KEY_BYTES: usize = 63 + 1 + 32;

/// What is wrong with the spec of a slice; `before` is what it was.
pub fn spec(spec: &At<'_>, before: Option<&At<'_>>) -> ErrorList {
    let mut errors = driver(&spec.get("driver"));
    errors.extend(pool(&spec.get("pool")));
    for field in ["pool.name", "driver", "nodeName"] {
        errors.extend(before.and_then(|before| metadata::immutable(&spec.get(field), &before.get(field))));
    }
    errors.extend(placed(spec));
    if spec.has("sharedCounters") && spec.has("devices") {
        errors.push(spec.invalid_as("", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let advanced = |device: &At<'_>| {
        let lists = ["bools", "ints", "strings", "versions"];
        let listed = |attribute: &At<'_>| lists.iter().any(|field| attribute.has(field));
        device.len("taints") > 0
            || device.len("consumesCounters") > 0
            || device.entries("attributes").iter().any(|(_, attribute)| listed(attribute))
    };
    let most = if spec.items("devices").iter().any(advanced) { MOST_ADVANCED_DEVICES } else { MOST_DEVICES };
    let by_device = spec.flag("perDeviceNodeSelection");
    let old_devices = before.map(|before| before.items("devices")).unwrap_or_default();
    let check =
        |one: &At<'_>| device(one, old_devices.iter().find(|old| old.str("name") == one.str("name")), by_device);
    errors.extend(set(spec, "devices", most, check, name_of));
    errors.extend(set(spec, "sharedCounters", MOST_COUNTER_SETS, |one| counters(one, "name", MOST_COUNTERS), name_of));
    errors
}

/// A taint that does not say since when is new.
pub fn date_taints(slice: &mut Value, now: &str) {
    let Some(spec) = fill::at(slice, "spec") else { return };
    for device in fill::each(spec, "devices") {
        fill::each(device, "taints").for_each(|taint| fill::unset(taint, "timeAdded", now));
    }
}

/// Attributes with several values, and what devices take from a node, are behind switches that are off.
pub fn drop_disabled(slice: &mut Value, old: &Value) {
    const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
    const MAPPINGS: &str = "nodeAllocatableResourceMappings";
    let before = At::root(old).items("spec.devices");
    let is_list = |attribute: &At<'_>| LISTS.iter().any(|field| attribute.has(field));
    let had_lists =
        before.iter().any(|device| device.entries("attributes").iter().any(|(_, attribute)| is_list(attribute)));
    let had_mappings = before.iter().any(|device| device.len(MAPPINGS) > 0);
    for device in fill::at(slice, "spec").into_iter().flat_map(|spec| fill::each(spec, "devices")) {
        if !had_mappings {
            fill::remove(device, MAPPINGS);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut).filter(|_| !had_lists);
        for attribute in attributes.into_iter().flat_map(|attributes| attributes.values_mut()) {
            LISTS.iter().for_each(|field| fill::remove(attribute, field));
        }
    }
}

fn pool(pool: &At<'_>) -> ErrorList {
    let mut errors = pool_name(&pool.get("name"));
    if pool.int("resourceSliceCount") <= 0 {
        let count = pool.get("resourceSliceCount");
        errors.push(count.invalid_as(pool.int("resourceSliceCount"), "must be greater than zero"));
    }
    if pool.int("generation") < 0 {
        errors.push(pool.get("generation").invalid("must be greater than or equal to zero"));
    }
    errors
}

/// It must be said in one way which nodes reach the devices.
fn placed(spec: &At<'_>) -> ErrorList {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut errors = ErrorList::new();
    let mut given = node_name(spec, "must be either unset or set to a non-empty string", &mut errors);
    if spec.has("nodeSelector") {
        given.push("`nodeSelector`");
        let selector = spec.get("nodeSelector");
        errors.extend(selectors::node_selector(&selector));
        let terms = selector.get("nodeSelectorTerms");
        if selector.len("nodeSelectorTerms") != 1 {
            let shown = go_print::list_of(terms.value, "io.k8s.api.core.v1.NodeSelectorTerm");
            errors.push(terms.invalid_as(shown, "must have exactly one node selector term"));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        given.extend(only_true(&spec.get(field), shown, &mut errors));
    }
    match given.len() {
        0 => errors.push(spec.required(ONE)),
        1 => {}
        _ => errors.push(spec.invalid_as(shown(&given), format!("{ONE}, but multiple fields are set"))),
    }
    errors
}

fn node_name(holder: &At<'_>, empty: &str, errors: &mut ErrorList) -> Vec<&'static str> {
    let name = holder.get("nodeName");
    match name.text() {
        "" if name.is_set() => errors.push(name.invalid(empty)),
        "" => {}
        text => {
            errors.extend(name.faults(names::dns1123_subdomain(text)));
            return vec!["`nodeName`"];
        }
    }
    Vec::new()
}

fn only_true(flag: &At<'_>, shown: &'static str, errors: &mut ErrorList) -> Option<&'static str> {
    if flag.is_set() && *flag.value == false {
        errors.push(flag.invalid("must be either unset or set to true"));
    }
    (*flag.value == true).then_some(shown)
}

fn shown(given: &[&str]) -> String {
    format!("{{{}}}", given.join(", "))
}

fn counters(holder: &At<'_>, name: &str, most: usize) -> ErrorList {
    let (name, counters) = (holder.get(name), holder.get("counters"));
    let mut errors = if name.text().is_empty() { vec![name.required("")] } else { label(&name) };
    match holder.len("counters") {
        0 => errors.push(counters.required("")),
        count if count > most => errors.push(FieldError::too_many(&counters.path, count, most)),
        _ => errors.extend(counters.entries_here().iter().flat_map(|(key, _)| {
            names::dns1123_label(key).into_iter().map(|why| counters.invalid_as(*key, why)).collect::<Vec<_>>()
        })),
    }
    errors
}

fn device(device: &At<'_>, before: Option<&At<'_>>, by_device: bool) -> ErrorList {
    let mut errors = label(&device.get("name"));
    let properties = device.len("attributes") + device.len("capacity");
    if properties > MOST_PROPERTIES {
        let message = format!("the total number of attributes and capacities must not exceed {MOST_PROPERTIES}");
        errors.push(device.invalid_as(properties, message));
    }
    errors.extend(properties_of(device, "attributes", attribute));
    let changed = |field: &str| before.is_none_or(|before| !same(before.raw(field), device.raw(field)));
    if changed("capacity") {
        let shared = device.flag("allowMultipleAllocations");
        errors.extend(properties_of(device, "capacity", |one| capacity(one, shared)));
    }
    if changed("taints") {
        errors.extend(list(device, "taints", MOST_TAINTS, taint));
    }
    errors.extend(set(
        device,
        "consumesCounters",
        MOST_CONSUMPTIONS,
        |one| counters(one, "counterSet", MOST_COUNTERS),
        |one| one.str("counterSet").into(),
    ));
    errors.extend(device_placed(device, by_device));
    errors.extend(binding(device));
    errors
}

fn properties_of(device: &At<'_>, field: &str, check: impl Fn(&At<'_>) -> ErrorList) -> ErrorList {
    let holder = device.get(field);
    let mut errors = ErrorList::new();
    for (key, value) in holder.entries_here() {
        errors.extend(qualified_name(key, &holder));
        errors.extend(check(&value.named(holder.path.key(&shortened(key)))));
    }
    errors
}

/// A long name as paths show it: its middle left out.
fn shortened(key: &str) -> String {
    const ELLIPSIS: &str = "...";
    if key.len() <= KEY_BYTES {
        return key.to_owned();
    }
    let left = KEY_BYTES - ELLIPSIS.len();
    let (head, tail) = (left.div_ceil(2), left / 2);
    let part = |range: std::ops::Range<usize>| String::from_utf8_lossy(&key.as_bytes()[range]).into_owned();
    format!("{}{ELLIPSIS}{}", part(0..head), part(key.len() - tail..key.len()))
}

fn device_placed(device: &At<'_>, by_device: bool) -> ErrorList {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
         `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut errors = ErrorList::new();
    if !by_device {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| device.has(field)) {
            errors.push(device.invalid_as(
                Value::Null,
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true \
                 in the ResourceSlice spec",
            ));
        }
        return errors;
    }
    let mut given = node_name(device, "must not be empty", &mut errors);
    if device.has("nodeSelector") {
        given.push("`nodeSelector`");
        errors.extend(selectors::node_selector(&device.get("nodeSelector")));
    }
    given.extend(only_true(&device.get("allNodes"), "`allNodes`", &mut errors));
    match given.len() {
        0 => errors.push(device.required(ONE)),
        1 => {}
        _ => errors.push(device.invalid_as(shown(&given), ONE)),
    }
    errors
}

fn attribute(attribute: &At<'_>) -> ErrorList {
    const ONE: &str = "exactly one value must be specified";
    const FIELDS: [(&str, &str); 8] = [
        ("IntValue", "int"),
        ("BoolValue", "bool"),
        ("StringValue", "string"),
        ("VersionValue", "version"),
        ("IntValues", "ints"),
        ("BoolValues", "bools"),
        ("StringValues", "strings"),
        ("VersionValues", "versions"),
    ];
    let mut errors = ErrorList::new();
    if attribute.has("string") {
        errors.extend(too_long(&attribute.get("string")));
    }
    if attribute.has("version") {
        errors.extend(version(&attribute.get("version")));
    }
    errors.extend(attribute.items("strings").iter().filter_map(too_long));
    errors.extend(attribute.items("versions").iter().flat_map(version));
    match FIELDS.iter().filter(|(_, field)| attribute.has(field)).count() {
        0 => errors.push(attribute.invalid_as("", ONE)),
        1 => {}
        _ => errors.push(attribute.invalid_as(go_print::structure(attribute.value, &FIELDS), ONE)),
    }
    errors
}

fn too_long(text: &At<'_>) -> Option<FieldError> {
    (text.text().len() > VALUE_BYTES).then(|| FieldError::too_long(&text.path, VALUE_BYTES))
}

fn version(version: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if semver::Version::parse(version.text()).is_err() {
        errors.push(version.invalid("must be a string compatible with semver.org spec 2.0.0"));
    }
    errors.extend(too_long(version));
    errors
}

fn capacity(capacity: &At<'_>, shared: bool) -> ErrorList {
    let policy = capacity.get("requestPolicy");
    if !policy.is_set() {
        return ErrorList::new();
    }
    if !shared {
        return vec![policy.forbidden("allowMultipleAllocations must be true")];
    }
    let (values, range) = (policy.len("validValues") > 0, policy.has("validRange"));
    let default = policy.get("default");
    match (values, range) {
        (true, true) => vec![policy.forbidden(
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        )],
        (true, false) if !default.is_set() => vec![default.required("required when validValues is defined")],
        (true, false) => valid_values(&policy, capacity.str("value")),
        (false, true) if !default.is_set() => vec![default.required("required when validRange is defined")],
        (false, true) => valid_range(&policy, capacity.str("value")),
        (false, false) => ErrorList::new(),
    }
}

fn amount(text: &str) -> Quantity {
    // What is no amount does not get past decoding.
    text.parse().unwrap_or_else(|_| Quantity::from_value(0))
}

fn valid_values(policy: &At<'_>, most: &str) -> ErrorList {
    let (options, default) = (policy.items("validValues"), policy.str("default"));
    let mut errors = ErrorList::new();
    for pair in options.windows(2) {
        if amount(pair[0].text()) > amount(pair[1].text()) {
            errors.push(pair[1].invalid("values must be sorted in ascending order"));
        }
    }
    let check = |option: &At<'_>| {
        let larger = amount(option.text()) > amount(most);
        larger.then(|| option.invalid(format!("option is larger than capacity value: {most}"))).into_iter().collect()
    };
    errors.extend(set(policy, "validValues", MOST_VALUES, check, |option| {
        json!(amount(option.text()).value().to_string())
    }));
    if !options.iter().any(|option| amount(option.text()) == amount(default)) {
        let list = policy.get("validValues");
        errors.push(list.invalid_as(default, "default value is not valid according to the requestPolicy"));
    }
    errors
}

fn valid_range(policy: &At<'_>, most: &str) -> ErrorList {
    let (range, default) = (policy.get("validRange"), policy.str("default"));
    let (min, max, step) = (range.get("min"), range.get("max"), range.get("step"));
    if !min.is_set() {
        return vec![min.required("required when validRange is defined")];
    }
    let mut errors = ErrorList::new();
    let mut complain = |wrong: bool, field: &str, shown: &str, why: String| {
        if wrong {
            errors.push(range.get(field).invalid_as(shown, why));
        }
    };
    let (least, whole, wanted) = (amount(min.text()), amount(most), amount(default));
    complain(least > whole, "min", min.text(), format!("min is larger than capacity value: {most}"));
    complain(wanted < least, "default", default, format!("default is less than min: {}", min.text()));
    if max.is_set() {
        let top = amount(max.text());
        complain(least > top, "max", min.text(), format!("min is larger than max: {}", max.text()));
        complain(top > whole, "max", max.text(), format!("max is larger than capacity value: {most}"));
        complain(wanted > top, "default", default, format!("default is more than max: {}", max.text()));
    }
    if step.is_set() {
        let size = amount(step.text());
        if size.nanos() <= 0 {
            complain(true, "step", step.text(), "must be greater than zero".into());
            return errors;
        }
        let one = least.plus(size);
        let why = format!("one step {one} is larger than capacity value: {most}");
        complain(one > whole, "step", step.text(), why);
        for (value, text) in [(Some(wanted), default), (max.is_set().then(|| amount(max.text())), max.text())] {
            let off = value.is_some_and(|value| value.minus(least).nanos() % size.nanos() != 0);
            let why = format!("value is not a multiple of a given step ({}) from ({})", step.text(), min.text());
            complain(off, "step", text, why);
        }
    }
    errors
}
