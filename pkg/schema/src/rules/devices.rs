// SPDX-License-Identifier: Apache-2.0

//! Device classes, resource claims and slices (`pkg/apis/resource`), CEL aside.

use knarr_types::{ErrorList, FieldError};
use serde_json::Value;

use super::Rules;
use super::at::At;
use super::fill::{self, each, empty};
use super::metadata;
use super::names;
use super::security::one_of;

pub(super) static DEVICE_CLASS: Rules = Rules {
    prepare_create: |class| fill::generation(class, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    has_generation: true,
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_CLAIM: Rules = Rules {
    default: |claim| {
        if let Some(spec) = fill::at(claim, "spec") {
            request_defaults(spec);
        }
    },
    prepare_create: |claim| fill::remove(claim, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" })
    },
    validate: |claim| claim_spec(&At::root(claim).get("spec")),
    validate_update: |new, old, subresource| {
        let (claim, before) = (At::root(new), At::root(old));
        if subresource == "status" {
            return claim_status(&claim);
        }
        let mut errors = claim_spec(&claim.get("spec"));
        errors.extend(metadata::immutable(&claim.get("spec"), &before.get("spec")));
        errors
    },
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_CLAIM_TEMPLATE: Rules = Rules {
    default: |template| {
        if let Some(spec) = fill::at(template, "spec.spec") {
            request_defaults(spec);
        }
    },
    validate: |template| claim_spec(&At::root(template).get("spec.spec")),
    validate_update: |new, old, _| {
        let mut errors = claim_spec(&At::root(new).get("spec.spec"));
        errors.extend(metadata::immutable(&At::root(new).get("spec"), &At::root(old).get("spec")));
        errors
    },
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_SLICE: Rules = Rules {
    prepare_create: |slice| fill::generation(slice, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    validate_update: |new, old, _| {
        ["spec.driver", "spec.nodeName", "spec.pool.name", "spec.nodeSelector", "spec.allNodes"]
            .iter()
            .filter_map(|field| metadata::immutable(&At::root(new).get(field), &At::root(old).get(field)))
            .collect()
    },
    fields: |slice| {
        let spec = At::root(slice).get("spec");
        vec![("spec.nodeName", spec.str("nodeName").to_owned()), ("spec.driver", spec.str("driver").to_owned())]
    },
    has_generation: true,
    ..Rules::DEFAULT
};

fn request_defaults(spec: &mut Value) {
    let one = |request: &mut Value| {
        empty(request, "allocationMode", "ExactCount");
        if request["allocationMode"] == "ExactCount" {
            empty(request, "count", 1);
        }
    };
    let Some(devices) = fill::at(spec, "devices") else { return };
    for request in each(devices, "requests") {
        if let Some(exactly) = fill::at(request, "exactly") {
            one(exactly);
        }
        each(request, "firstAvailable").for_each(one);
    }
}

fn claim_spec(spec: &At<'_>) -> ErrorList {
    let requests = spec.items("devices.requests");
    if requests.len() > 32 {
        return vec![FieldError::too_many(&spec.get("devices.requests").path, requests.len(), 32)];
    }
    let mut errors: ErrorList = requests.iter().flat_map(request).collect();
    errors.extend(duplicates(&requests));
    errors
}

fn duplicates(requests: &[At<'_>]) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, request) in requests.iter().enumerate() {
        let name = request.str("name");
        if requests[..index].iter().any(|other| other.str("name") == name) {
            errors.push(FieldError::duplicate(&request.path, name));
        }
    }
    errors
}

fn request(request: &At<'_>) -> ErrorList {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let name = request.get("name");
    let mut errors =
        if name.text().is_empty() { vec![name.required("")] } else { name.faults(names::dns1123_label(name.text())) };
    let alternatives = request.items("firstAvailable");
    match (request.has("exactly"), alternatives.is_empty()) {
        (false, true) => errors.push(request.required(ONE)),
        (true, false) => {
            errors.push(request.invalid_as(Value::Null, format!("{ONE}, but multiple fields are set")));
        }
        (true, true) => errors.extend(exact_request(&request.get("exactly"))),
        (false, false) => {
            errors.extend(alternatives.iter().flat_map(exact_request));
            errors.extend(duplicates(&alternatives));
        }
    }
    errors
}

fn exact_request(request: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let class = request.get("deviceClassName");
    if class.text().is_empty() {
        errors.push(class.required(""));
    } else {
        errors.extend(class.faults(names::dns1123_subdomain(class.text())));
    }
    let count = request.get("count");
    match request.str("allocationMode") {
        "All" if request.int("count") != 0 => {
            errors.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if request.int("count") <= 0 => {
            errors.push(count.invalid_as(request.int("count"), "must be greater than zero"));
        }
        _ => errors.extend(one_of(&request.get("allocationMode"), &["All", "ExactCount"])),
    }
    errors
}

fn claim_status(claim: &At<'_>) -> ErrorList {
    let reserved = claim.get("status.reservedFor");
    if claim.len("status.reservedFor") > 0 && !claim.has("status.allocation") {
        return vec![reserved.forbidden("may not be specified when `allocated` is not set")];
    }
    ErrorList::new()
}

#[cfg(test)]
mod tests {
    use knarr_types::Object;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_cannot_change_what_it_asks_for() {
        let mut old: Object =
            json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}}});
        (RESOURCE_CLAIM.default)(&mut old);
        let mut new = old.clone();
        new["spec"]["devices"]["requests"][0]["exactly"]["count"] = json!(2);
        assert_eq!((RESOURCE_CLAIM.validate_update)(&new, &old, "").len(), 1);
    }
}
