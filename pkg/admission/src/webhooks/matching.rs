// SPDX-License-Identifier: Apache-2.0
//! Whether a webhook is about a request, and in which version it wants to see the object.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules>

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_types::selector::LabelSelector;
use knarr_types::{Object, Status};
use serde_json::Value;

use super::hook::Hook;
use crate::{Lookup, Operation, Request};

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
    kind: &Arc<Kind>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<Option<Arc<Kind>>, Status> {
    let about = |kind: &Kind| hook.rules.iter().any(|rule| fits(rule, request, kind));
    let wanted = if about(kind) {
        Some(Arc::clone(kind))
    } else if hook.equivalent {
        lookup.versions(kind).into_iter().find(|other| about(other))
    } else {
        None
    };
    let Some(wanted) = wanted else { return Ok(None) };
    if !selects_object(&hook.object_selector, object, request.old) {
        return Ok(None);
    }
    Ok(selects_namespace(&hook.namespace_selector, request, object, lookup)?.then_some(wanted))
}

/// Whether a rule names the operation and the resource.
fn fits(rule: &Value, request: &Request<'_>, kind: &Kind) -> bool {
    let operation = request.operation.as_str();
    let listed = |field: &str, wanted: &str| {
        let mut list = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.any(|v| v == "*" || v == wanted)
    };
    let resource = |pattern: &str| {
        let (resource, below) = pattern.split_once('/').unwrap_or((pattern, ""));
        (resource == "*" || resource == &*kind.resource) && (below == "*" || below == request.subresource)
    };
    let namespaced = kind.namespaced;
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => namespaced,
        Some("Cluster") => !namespaced,
        _ => true,
    };
    let mut resources = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    listed("operations", operation)
        && listed("apiGroups", &kind.group)
        && listed("apiVersions", &kind.version)
        && scope
        && resources.any(resource)
}

fn selector(value: &Value) -> Result<LabelSelector, Status> {
    if value.is_null() {
        return Ok(LabelSelector::everything());
    }
    LabelSelector::from_object(value).map_err(Status::internal)
}

fn selects_object(selector_value: &Value, object: Option<&Object>, old: Option<&Object>) -> bool {
    let Ok(selector) = selector(selector_value) else { return false };
    selector.is_everything()
        || [object, old].into_iter().flatten().any(|o| selector.matches_object(&o["metadata"]["labels"]))
}

/// Objects of the cluster have no namespace to select by; a Namespace is selected by its own labels.
fn selects_namespace(
    selector_value: &Value,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<bool, Status> {
    let selector = selector(selector_value)?;
    if selector.is_everything() {
        return Ok(true);
    }
    if request.is("", "Namespace") {
        let own = object.filter(|_| request.operation != Operation::Delete).or(request.old);
        return Ok(own.is_some_and(|o| selector.matches_object(&o["metadata"]["labels"])));
    }
    if request.namespace.is_empty() {
        return Ok(true);
    }
    let namespace = lookup.get("", "namespaces", "", request.namespace).unwrap_or_default();
    Ok(selector.matches_object(&namespace["metadata"]["labels"]))
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use serde_json::json;

    use super::*;
    use crate::table::{Table, kind, request};

    fn about(rule: Value, resource: &str, subresource: &str) -> bool {
        let user = UserInfo::anonymous();
        let kind = kind(resource);
        let mut request = request(&kind, Operation::Create, "n", &user);
        request.subresource = subresource;
        fits(&rule, &request, &kind)
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
        assert!(selects_object(&of("b"), Some(&object), None) && !selects_object(&of("c"), Some(&object), None));
        assert!(selects_object(&of("b"), None, Some(&object)), "the object as it was counts too");
    }
}
