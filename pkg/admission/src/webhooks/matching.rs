// SPDX-License-Identifier: Apache-2.0
//! Whether a webhook is about a request, and in which version it wants to see the object.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules>

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_types::{Object, Status};

use super::hook::Hook;
use crate::matching::{named, selects_namespace, selects_object};
use crate::{Lookup, Request};

/// The group whose objects say which webhooks there are: webhooks have no say about them.
const OWN_GROUP: &str = "admissionregistration.k8s.io";

/// Whether any webhook may be asked about this kind.
pub(super) fn is_exempt(kind: &Kind) -> bool {
    *kind.group == *OWN_GROUP
}

/// The kind in the version that a webhook wants, where it is about the request.
pub(super) fn matched(
    hook: &Hook,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<Option<Arc<Kind>>, Status> {
    let Some(wanted) = named(&hook.rules, !hook.equivalent, request, object, lookup) else { return Ok(None) };
    if selects_object(&hook.object_selector, request, object) != Ok(true) {
        return Ok(None);
    }
    let in_namespace = selects_namespace(&hook.namespace_selector, request, object, lookup);
    Ok(in_namespace.map_err(Status::internal)?.then_some(wanted))
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::{Value, json};

    use super::*;
    use crate::Operation;
    use crate::matching::fits;
    use crate::table::{Table, kind, request};

    fn about(rule: Value, resource: &str, subresource: &str) -> bool {
        let user = UserInfo::anonymous();
        let kind = kind(resource);
        let mut request = request(&kind, Operation::Create, "n", &user);
        request.subresource = subresource;
        fits(&rule, &request, &kind, None)
    }

    #[test]
    fn rules_name_operations_and_resources() {
        let rule = |resources: Value, operations: Value| json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "operations": operations});
        for (resources, operations, resource, below, want) in [
            (json!(["pods"]), json!(["CREATE"]), "pods", "", true),
            (json!(["pods"]), json!(["UPDATE"]), "pods", "", false),
            (json!(["pods"]), json!(["*"]), "pods", "status", false),
            (json!(["pods/*"]), json!(["*"]), "pods", "status", true),
            (json!(["*"]), json!(["*"]), "secrets", "", true),
            (json!(["*"]), json!(["*"]), "pods", "status", false),
            (json!(["*/status"]), json!(["*"]), "pods", "status", true),
            (json!(["*/*"]), json!(["*"]), "pods", "status", true),
        ] {
            let rule = rule(resources, operations);
            assert_eq!(about(rule.clone(), resource, below), want, "{rule} {resource}/{below}");
        }
        let mut scoped = rule(json!(["*"]), json!(["*"]));
        scoped["scope"] = "Cluster".into();
        assert!(about(scoped.clone(), "nodes", "") && !about(scoped, "pods", ""));
    }

    #[test]
    fn selectors_look_at_labels() {
        let user = UserInfo::anonymous();
        let kind = kind("pods");
        let request = request(&kind, Operation::Create, "n", &user);
        let table = Table(vec![("/namespaces//n", json!({"metadata": {"labels": {"a": "b"}}}))]);
        let of = |value: &str| json!({"matchLabels": {"a": value}});
        let namespace = |value| selects_namespace(&of(value), &request, None, &table).unwrap();
        assert!(namespace("b") && !namespace("c"));
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let labelled = |value, object| selects_object(&of(value), &request, object).unwrap();
        assert!(labelled("b", Some(&object)) && !labelled("c", Some(&object)));
        let mut request = crate::table::request(&kind, Operation::Update, "n", &user);
        request.old = Some(&object);
        assert_eq!(selects_object(&of("b"), &request, None), Ok(true), "the object as it was counts too");
    }
}
