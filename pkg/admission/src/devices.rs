// SPDX-License-Identifier: Apache-2.0
//! Access to devices that others use, for monitoring: only namespaces that a label allows it to may ask for it
//! (`pkg/registry/resource/strategy.go`).
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access>

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use crate::{Lookup, Operation, Request, items_of};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What is wrong with a new claim, or a template of claims, that asks for it where the namespace has no such label:
/// the first of what is wrong with the object.
#[must_use]
pub fn faults(request: &Request<'_>, object: &Object, lookup: &dyn Lookup) -> ErrorList {
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    let spec = match () {
        () if creates && request.is(GROUP, "ResourceClaim") => &object["spec"],
        () if creates && request.is(GROUP, "ResourceClaimTemplate") => &object["spec"]["spec"],
        () => return ErrorList::new(),
    };
    let Some(path) = first_asking(spec) else { return ErrorList::new() };
    let namespace = lookup.get("", "namespaces", "", request.namespace);
    if namespace.is_some_and(|namespace| namespace["metadata"]["labels"][LABEL] == "true") {
        return ErrorList::new();
    }
    let detail = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    vec![FieldError::forbidden(&path, detail)]
}

/// Where the first request asks for it.
fn first_asking(spec: &Value) -> Option<FieldPath> {
    let requests = items_of(&spec["devices"]["requests"]);
    let at = requests.iter().position(|request| request["exactly"]["adminAccess"] == true)?;
    Some(FieldPath::new("spec.devices.requests").index(at).child("adminAccess"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_auth::UserInfo;
    use knarr_schema::Registry;
    use knarr_types::tree::json;

    use super::*;
    use crate::table::{Table, request};

    #[test]
    fn only_namespaces_with_the_label_ask_for_devices_of_others() {
        let kind = Arc::clone(Registry::builtin().by_resource(GROUP, "v1", "resourceclaims").unwrap());
        let user = UserInfo::default();
        let ask = request(&kind, Operation::Create, "n", &user);
        let claim = json!({"spec": {"devices": {"requests": [{"name": "a"}, {"exactly": {"adminAccess": true}}]}}});
        let told = faults(&ask, &claim, &Table(Vec::new()));
        assert_eq!(
            told[0].to_string(),
            "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the \
             `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        );
        let namespace = json!({"metadata": {"labels": {LABEL: "true"}}});
        assert!(faults(&ask, &claim, &Table(vec![("/namespaces//n", namespace)])).is_empty());
        assert!(faults(&ask, &json!({"spec": {}}), &Table(Vec::new())).is_empty());
    }
}
