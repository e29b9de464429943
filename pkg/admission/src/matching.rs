// SPDX-License-Identifier: Apache-2.0
//! Whether a policy, a binding or a webhook is about a request: rules of resources, and selectors.
//! <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/validating-admission-policy-v1/>

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_types::tree::Value;
use knarr_types::{LabelSelector, Object};

use crate::{Lookup, Operation, Request};

/// The kind in the version that the criteria name, where they name the request; no criteria name all requests.
///
/// # Errors
/// Where a selector makes no sense, and the rest would have matched.
pub fn matches(
    criteria: &Value,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<Option<Arc<Kind>>, String> {
    let in_namespace = selects_namespace(&criteria["namespaceSelector"], request, object, lookup);
    let labelled = selects_object(&criteria["objectSelector"], request, object);
    let exact = criteria["matchPolicy"] == "Exact";
    let rules = |list: &str| criteria[list].as_array().map_or(&[][..], Vec::as_slice);
    let excluded = || named(rules("excludeResourceRules"), exact, request, object, lookup).is_some();
    if in_namespace == Ok(false) || labelled == Ok(false) || excluded() {
        return Ok(None);
    }
    let kind = match rules("resourceRules") {
        [] => Some(Arc::clone(request.kind)),
        rules => named(rules, exact, request, object, lookup),
    };
    let Some(kind) = kind else { return Ok(None) };
    Ok((in_namespace? && labelled?).then_some(kind))
}

/// The kind in the version that a rule names: that of the request, or unless the rules are `exact` another one in
/// which the same objects are served. Earlier rules count first.
pub(crate) fn named(
    rules: &[Value],
    exact: bool,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Option<Arc<Kind>> {
    if rules.iter().any(|rule| fits(rule, request, request.kind, object)) {
        return Some(Arc::clone(request.kind));
    }
    if exact || rules.is_empty() {
        return None;
    }
    let others = lookup.versions(request.kind);
    rules.iter().find_map(|rule| others.iter().find(|other| fits(rule, request, other, object)).cloned())
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a rule names the operation, the resource and the object.
pub(crate) fn fits(rule: &Value, request: &Request<'_>, kind: &Kind, object: Option<&Object>) -> bool {
    let operation = request.operation.as_str();
    let listed = |field: &str, wanted: &str| texts(&rule[field]).any(|v| v == "*" || v == wanted);
    let resource = |pattern: &str| {
        let (resource, below) = pattern.split_once('/').unwrap_or((pattern, ""));
        (resource == "*" || resource == &*kind.resource) && (below == "*" || below == request.subresource)
    };
    let in_scope = match rule["scope"].as_str() {
        Some("Namespaced") => kind.namespaced,
        Some("Cluster") => !kind.namespaced,
        _ => true,
    };
    let given = object.and_then(|o| o["metadata"]["name"].as_str()).unwrap_or(request.name);
    let named = rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
        || texts(&rule["resourceNames"]).any(|name| name == given);
    listed("operations", operation)
        && listed("apiGroups", &kind.group)
        && listed("apiVersions", &kind.version)
        && in_scope
        && named
        && texts(&rule["resources"]).any(resource)
}

fn selector(value: &Value) -> Result<LabelSelector, String> {
    match value.is_null() {
        true => Ok(LabelSelector::everything()),
        false => LabelSelector::from_object(value).map_err(|error| error.to_string()),
    }
}

/// The object as it would be or as it is.
pub(crate) fn selects_object(value: &Value, request: &Request<'_>, object: Option<&Object>) -> Result<bool, String> {
    let selector = selector(value)?;
    let mut seen = [object, request.old].into_iter().flatten();
    Ok(selector.is_everything() || seen.any(|o| selector.matches_object(&o["metadata"]["labels"])))
}

/// Objects of the cluster have no namespace to select by; a Namespace is selected by its own labels.
pub(crate) fn selects_namespace(
    value: &Value,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<bool, String> {
    let selector = selector(value)?;
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
    use knarr_types::tree::json;

    use super::*;
    use crate::table::{Table, kind, request};

    #[test]
    fn criteria_name_resources_namespaces_and_objects() {
        let user = UserInfo::anonymous();
        let kind = kind("configmaps");
        let request = request(&kind, Operation::Create, "n", &user);
        let table = Table(vec![("/namespaces//n", json!({"metadata": {"labels": {"tier": "gold"}}}))]);
        let object = json!({"metadata": {"name": "a", "labels": {"x": "1"}}});
        let rule = |resources: Value| json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources});
        let named = |names: Value| {
            let mut rule = rule(json!(["*"]));
            rule["resourceNames"] = names;
            rule
        };
        for (criteria, want) in [
            (json!(null), true),
            (json!({"resourceRules": [rule(json!(["configmaps"]))]}), true),
            (json!({"resourceRules": [rule(json!(["secrets"]))]}), false),
            (json!({"resourceRules": [rule(json!(["*/*"]))]}), true),
            (json!({"resourceRules": [rule(json!(["configmaps/status"]))]}), false),
            (json!({"resourceRules": [named(json!(["a"]))]}), true),
            (json!({"resourceRules": [named(json!(["b"]))]}), false),
            (
                json!({"resourceRules": [rule(json!(["*"]))], "excludeResourceRules": [rule(json!(["configmaps"]))]}),
                false,
            ),
            (json!({"namespaceSelector": {"matchLabels": {"tier": "gold"}}}), true),
            (json!({"namespaceSelector": {"matchLabels": {"tier": "tin"}}}), false),
            (json!({"objectSelector": {"matchLabels": {"x": "1"}}}), true),
            (json!({"objectSelector": {"matchLabels": {"x": "2"}}}), false),
        ] {
            let matched = matches(&criteria, &request, Some(&object), &table);
            assert_eq!(matched.map(|kind| kind.is_some()), Ok(want), "{criteria}");
        }
    }
}
