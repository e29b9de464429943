// SPDX-License-Identifier: Apache-2.0

//! Leases (`pkg/registry/coordination/lease/strategy.go`).

use knarr_types::{ErrorList, Object};

use super::Rules;
use super::at::At;
use super::fill;
use super::judging::Judging;
use super::metadata::NOT_NEGATIVE;

pub(super) static LEASE: Rules = Rules {
    prepare_create: |lease| drop_coordination(lease, &Object::Null),
    prepare_update: |new, old, _| drop_coordination(new, old),
    validate,
    validate_update: |new, _, _| validate(new),
    allow_create_on_update: true,
    allow_unconditional_update: false,
    judging: Judging::CHANGE.with_any_finalizers(),
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
    errors
}

/// Coordinated leader election is off in this version: what only it reads cannot be set.
fn drop_coordination(lease: &mut Object, old: &Object) {
    let was = &old["spec"];
    let Some(spec) = fill::at(lease, "spec") else { return };
    for field in ["strategy", "preferredHolder"].iter().filter(|field| was[**field].is_null()) {
        fill::remove(spec, field);
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn what_is_switched_off_is_dropped() {
        let mut lease = json!({"spec": {"holderIdentity": "a", "strategy": "Oldest", "preferredHolder": "b"}});
        (LEASE.prepare_create)(&mut lease);
        assert_eq!(lease, json!({"spec": {"holderIdentity": "a"}}));
        let mut without = json!({"metadata": {}});
        (LEASE.prepare_create)(&mut without);
        assert_eq!(without, json!({"metadata": {}}));
    }
}
