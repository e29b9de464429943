// SPDX-License-Identifier: Apache-2.0
//! Access to devices that others use, for monitoring: only namespaces that a label allows it to may ask for it
//! (`pkg/registry/resource/strategy.go`).
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access>

use knarr_types::tree::Value;
use knarr_types::{FieldError, FieldPath, Object, Status};

use crate::{Lookup, Operation, Request, items_of};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Refuses a new claim, or a template of claims, that asks for it where the namespace has no such label.
pub(crate) fn validate(request: &Request<'_>, object: &Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    let spec = match () {
        () if creates && request.is(GROUP, "ResourceClaim") => &object["spec"],
        () if creates && request.is(GROUP, "ResourceClaimTemplate") => &object["spec"]["spec"],
        () => return Ok(()),
    };
    let Some(path) = first_asking(spec) else { return Ok(()) };
    let namespace = lookup.get("", "namespaces", "", request.namespace);
    if namespace.is_some_and(|namespace| namespace["metadata"]["labels"][LABEL] == "true") {
        return Ok(());
    }
    let detail = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    let errors = vec![FieldError::forbidden(&path, detail)];
    Err(Status::invalid(GROUP, &request.kind.kind, request.name, &errors))
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
        let told = validate(&ask, &claim, &Table(Vec::new())).unwrap_err();
        assert_eq!(
            told.message,
            "ResourceClaim.resource.k8s.io \"x\" is invalid: spec.devices.requests[1].adminAccess: Forbidden: admin \
             access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        );
        let namespace = json!({"metadata": {"labels": {LABEL: "true"}}});
        assert!(validate(&ask, &claim, &Table(vec![("/namespaces//n", namespace)])).is_ok());
        assert!(validate(&ask, &json!({"spec": {}}), &Table(Vec::new())).is_ok());
    }
}
