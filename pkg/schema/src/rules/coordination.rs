// SPDX-License-Identifier: Apache-2.0

//! Leases (`pkg/registry/coordination/lease/strategy.go`).

use knarr_types::{ErrorList, Object};

use super::Rules;
use super::at::At;
use super::metadata::NOT_NEGATIVE;

pub(super) static LEASE: Rules = Rules {
    validate,
    validate_update: |new, _, _| validate(new),
    allow_create_on_update: true,
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

fn validate(lease: &Object) -> ErrorList {
    let spec = At::root(lease).get("spec");
    let mut errors = ErrorList::new();
    let duration = spec.get("leaseDurationSeconds");
    if duration.value.as_i64().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    let transitions = spec.get("leaseTransitions");
    if transitions.value.as_i64().is_some_and(|count| count < 0) {
        errors.push(transitions.invalid(NOT_NEGATIVE));
    }
    let (strategy, preferred) = (spec.get("strategy"), spec.get("preferredHolder"));
    if preferred.is_set() && strategy.text().is_empty() {
        errors.push(preferred.forbidden("may only be specified when `strategy` is defined"));
    }
    errors
}
