// SPDX-License-Identifier: Apache-2.0
//! NodeRestriction: a node touches itself, its lease and its pods. TaintNodesByCondition: a new node waits
//! until it says that it is ready.

use knarr_types::labels::TAINT_NOT_READY;
use knarr_types::{Object, Status};
use serde_json::json;

use crate::{Lookup, Operation, Request};

/// A node that has not spoken yet gets no pods.
pub(crate) fn taint_new_node(node: &mut Object) {
    let taints = &mut node["spec"]["taints"];
    let list = taints.as_array().cloned().unwrap_or_default();
    if !list.iter().any(|t| t["key"] == TAINT_NOT_READY && t["effect"] == "NoSchedule") {
        *taints = list.into_iter().chain([json!({"key": TAINT_NOT_READY, "effect": "NoSchedule"})]).collect();
    }
}

pub(crate) fn validate(request: &Request<'_>, object: Option<&Object>, _lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(node) = request.user.node() else { return Ok(()) };
    let refuse = |why: String| Err(Status::forbidden(&request.kind.id(), request.name, &why));
    if request.is("", "Node") && request.name != node {
        let verb = if request.operation == Operation::Delete { "delete" } else { "modify" };
        return refuse(format!("node \"{node}\" is not allowed to {verb} node \"{}\"", request.name));
    }
    if request.is("coordination.k8s.io", "Lease") {
        let own = request.namespace == knarr_types::labels::NAMESPACE_NODE_LEASE && request.name == node;
        return if own {
            Ok(())
        } else {
            refuse("can only access node lease with the same name as the requesting node".into())
        };
    }
    if request.is("", "Pod") {
        let pod = request.old.or(object);
        let bound = pod.and_then(|p| p["spec"]["nodeName"].as_str()).unwrap_or_default();
        if bound != node {
            return refuse(format!("node \"{node}\" can only touch pods with spec.nodeName set to itself"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;

    use super::*;
    use crate::table::{Table, kind, request};

    #[test]
    fn a_node_touches_only_what_is_its_own() {
        let user = UserInfo::new("system:node:a", &["system:nodes"]);
        let check = |resource: &str, name: &str, object: Object| {
            let kind = kind(resource);
            let mut request = request(&kind, Operation::Update, "n", &user);
            request.name = name;
            validate(&request, Some(&object), &Table(vec![])).is_ok()
        };
        assert!(check("nodes", "a", json!({})));
        assert!(!check("nodes", "b", json!({})));
        assert!(check("pods", "p", json!({"spec": {"nodeName": "a"}})));
        assert!(!check("pods", "p", json!({"spec": {"nodeName": "b"}})));
    }
}
