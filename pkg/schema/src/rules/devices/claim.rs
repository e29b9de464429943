// SPDX-License-Identifier: Apache-2.0

//! What a claim asks for: requests, constraints between them, and what drivers are told.

use std::collections::BTreeMap;

use knarr_types::ErrorList;
use knarr_types::tree::Value;

use super::super::at::At;
use super::super::names;
use super::super::security::one_of;
use super::parts::{configuration, fully_qualified_name, itself, label, list, name_of, set, toleration};
use super::selector::selector;

const MOST: usize = 32;
const MOST_ALTERNATIVES: usize = 8;

/// The requests of a claim by name, with the names of their alternatives.
pub struct Requests<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Requests<'a> {
    /// Of a claim's spec.
    pub fn of(spec: &At<'a>) -> Self {
        let requests = spec.items("devices.requests");
        let names = |request: &At<'a>| request.items("firstAvailable").iter().map(|one| one.str("name")).collect();
        Self(requests.iter().map(|request| (request.str("name"), names(request))).collect())
    }

    fn has(&self, reference: &str) -> bool {
        match reference.split_once('/') {
            None => self.0.contains_key(reference),
            Some((request, one)) => self.0.get(request).is_some_and(|names| names.contains(&one)),
        }
    }

    /// What is wrong with `request` or `request/alternative`.
    pub fn reference(&self, at: &At<'_>) -> ErrorList {
        const UNKNOWN: &str =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let segments: Vec<&str> = at.text().split('/').collect();
        if segments.len() > 2 {
            return vec![at.invalid(UNKNOWN)];
        }
        let faults = |segment: &&str| {
            let faults = names::dns1123_label(segment);
            faults.into_iter().map(|why| at.invalid_as(*segment, why)).collect::<Vec<_>>()
        };
        let mut errors: ErrorList = segments.iter().flat_map(faults).collect();
        if !self.has(at.text()) {
            errors.push(at.invalid(UNKNOWN));
        }
        errors
    }

    /// What is wrong with a list of references.
    pub fn references(&self, holder: &At<'_>) -> ErrorList {
        set(holder, "requests", MOST, |at| self.reference(at), itself)
    }
}

/// What is wrong with the spec of a claim.
pub fn spec(spec: &At<'_>) -> ErrorList {
    let requests = Requests::of(spec);
    let devices = spec.get("devices");
    let mut errors = set(&devices, "requests", MOST, request, name_of);
    errors.extend(list(&devices, "constraints", MOST, |at| constraint(at, &requests)));
    errors.extend(list(&devices, "config", MOST, |config| {
        let mut errors = requests.references(config);
        errors.extend(configuration(config, false));
        errors
    }));
    errors
}

fn request(request: &At<'_>) -> ErrorList {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let mut errors = label(&request.get("name"));
    match (request.has("exactly"), request.len("firstAvailable") == 0) {
        (false, true) => errors.push(request.required(ONE)),
        (true, false) => {
            errors.push(request.invalid_as(Value::Null, format!("{ONE}, but multiple fields are set")));
        }
        (true, true) => errors.extend(exact(&request.get("exactly"))),
        (false, false) => errors.extend(set(
            request,
            "firstAvailable",
            MOST_ALTERNATIVES,
            |one| {
                let mut errors = label(&one.get("name"));
                errors.extend(exact(one));
                errors
            },
            name_of,
        )),
    }
    errors
}

fn exact(request: &At<'_>) -> ErrorList {
    let class = request.get("deviceClassName");
    let mut errors = match class.text() {
        "" => vec![class.required("")],
        name => class.faults(names::dns1123_subdomain(name)),
    };
    errors.extend(list(request, "selectors", MOST, |one| selector(one, false)));
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
    errors.extend(request.items("tolerations").iter().flat_map(toleration));
    errors
}

fn constraint(constraint: &At<'_>, requests: &Requests<'_>) -> ErrorList {
    let mut errors = requests.references(constraint);
    let fields = ["matchAttribute", "distinctAttribute"].map(|field| constraint.get(field));
    match fields.iter().find(|at| at.is_set()) {
        Some(attribute) => errors.extend(fully_qualified_name(attribute)),
        None => errors.push(constraint.required(
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        )),
    }
    errors
}
