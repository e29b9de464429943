// SPDX-License-Identifier: Apache-2.0
//! The roles and bindings that every cluster has, and what becomes of those that are there already.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>

use knarr_types::tree::{Map, Value, json};

use super::{Rule, missing};

/// Upstream's, then Knarr's own.
const TABLES: [&str; 2] = [include_str!("default-roles.tsv"), include_str!("own-roles.tsv")];
const GROUP: &str = "rbac.authorization.k8s.io";
/// An object whose value here is `false` is left as it is.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A default object.
#[derive(Clone, Debug)]
pub struct DefaultObject {
    /// The plural.
    pub resource: &'static str,
    /// The namespace; empty for those of the cluster.
    pub namespace: &'static str,
    /// The name.
    pub name: &'static str,
    /// The whole object, as it is created.
    pub object: Value,
}

/// What is to be done about a default object.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciled {
    /// Nothing.
    Keep,
    /// It gets what it lacks.
    Update(Value),
    /// It is for another role: it has to be made again.
    Replace,
}

/// All default objects, in the order of the tables.
#[must_use]
pub fn defaults() -> Vec<DefaultObject> {
    let mut objects: Vec<DefaultObject> = Vec::new();
    for line in TABLES.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#')) {
        let cells: Vec<&'static str> = line.split('\t').collect();
        match (cells.as_slice(), objects.last_mut()) {
            (["", row @ ..], Some(last)) => extend(&mut last.object, row),
            ([kind, namespace, name, labels, role @ ..], _) => objects.push(begin(kind, namespace, name, labels, role)),
            _ => {}
        }
    }
    objects
}

/// The rules of a default ClusterRole; none where there is no such role.
#[must_use]
pub fn default_rules(role: &str) -> Vec<Rule> {
    let object = defaults().into_iter().find(|o| o.resource == "clusterroles" && o.name == role);
    object.and_then(|o| knarr_types::tree::from_value(o.object["rules"].clone()).ok()).unwrap_or_default()
}

fn list(cell: &str) -> Vec<&str> {
    if cell == "-" { Vec::new() } else { cell.split(',').map(|one| if one == "\"\"" { "" } else { one }).collect() }
}

fn pairs(cell: &str) -> Map {
    let pairs = list(cell).into_iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

fn begin(
    kind: &'static str,
    namespace: &'static str,
    name: &'static str,
    labels: &str,
    role: &[&str],
) -> DefaultObject {
    let resource = match kind {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        _ => "rolebindings",
    };
    let namespace = if namespace == "-" { "" } else { namespace };
    let mut labels = pairs(labels);
    labels.insert("kubernetes.io/bootstrapping", Value::from("rbac-defaults"));
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}},
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    match role {
        [kind, name] => {
            object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
            object["subjects"] = json!([]);
        }
        _ => object["rules"] = Value::Null,
    }
    DefaultObject { resource, namespace, name, object }
}

/// Adds a row that belongs to an object.
fn extend(object: &mut Value, row: &[&str]) {
    let (field, item) = match row {
        ["rule", verbs, groups, resources, names, urls] => {
            let own = |cell| list(cell).into_iter().map(str::to_owned).collect();
            let rule = Rule {
                verbs: own(verbs),
                api_groups: own(groups),
                resources: own(resources),
                resource_names: own(names),
                non_resource_urls: own(urls),
            };
            ("/rules", json!(rule))
        }
        ["aggregate", labels] => {
            if object["aggregationRule"].is_null() {
                object["aggregationRule"] = json!({"clusterRoleSelectors": []});
            }
            ("/aggregationRule/clusterRoleSelectors", json!({"matchLabels": pairs(labels)}))
        }
        ["subject", kind, namespace, name] => ("/subjects", subject(kind, namespace, name)),
        _ => return,
    };
    match object.pointer_mut(field) {
        Some(Value::Array(items)) => items.push(item),
        Some(empty) => *empty = json!([item]),
        None => {}
    }
}

fn subject(kind: &str, namespace: &str, name: &str) -> Value {
    if kind == "ServiceAccount" {
        return json!({"kind": kind, "name": name, "namespace": namespace});
    }
    json!({"apiGroup": GROUP, "kind": kind, "name": name})
}

/// What becomes of the object that is there, given the default: people may add to it, and what they took
/// away comes back, unless they forbade that.
#[must_use]
pub fn reconcile(there: &Value, default: &Value) -> Reconciled {
    if there["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Reconciled::Keep;
    }
    if there["roleRef"] != default["roleRef"] {
        return Reconciled::Replace;
    }
    let mut wanted = there.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in default["metadata"][field].as_object().into_iter().flatten() {
            if wanted["metadata"][field][key].is_null() {
                wanted["metadata"][field][key] = value.clone();
            }
        }
    }
    if default["aggregationRule"].is_object() {
        add(&mut wanted, "/aggregationRule/clusterRoleSelectors", &default["aggregationRule"], "clusterRoleSelectors");
    } else if !default["rules"].is_null() {
        let rules = |of: &Value| knarr_types::tree::from_value::<Vec<Rule>>(of["rules"].clone()).unwrap_or_default();
        let lacking: Vec<Value> = missing(&rules(there), &rules(default)).into_iter().map(|rule| json!(rule)).collect();
        if let (Some(rules), false) = (array(&mut wanted["rules"]), lacking.is_empty()) {
            rules.extend(lacking);
        }
    }
    if default["subjects"].is_array() {
        add(&mut wanted, "/subjects", default, "subjects");
    }
    if wanted == *there { Reconciled::Keep } else { Reconciled::Update(wanted) }
}

/// The list at a place; what is no list becomes an empty one.
fn array(place: &mut Value) -> Option<&mut Vec<Value>> {
    if !place.is_array() {
        *place = json!([]);
    }
    place.as_array_mut()
}

/// Adds the items of `from[field]` that a list lacks.
fn add(to: &mut Value, at: &str, from: &Value, field: &str) {
    if to.pointer(at).is_none() {
        let parent = at.split('/').nth(1).unwrap_or_default();
        to[parent] = if parent == field { json!([]) } else { json!({field: []}) };
    }
    let Some(items) = to.pointer_mut(at).and_then(array) else { return };
    for item in from[field].as_array().into_iter().flatten() {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default(resource: &str, name: &str) -> Value {
        defaults().into_iter().find(|o| o.resource == resource && o.name == name).unwrap().object
    }

    #[test]
    fn the_tables_hold_whole_objects() {
        let all = defaults();
        assert!(all.len() > 130);
        for object in &all {
            let body = &object.object;
            let is_binding = object.resource.ends_with("bindings");
            assert_eq!(is_binding, body["roleRef"].is_object(), "{body}");
            assert!(is_binding || body["rules"].is_array() || body["aggregationRule"].is_object(), "{body}");
            assert!(!is_binding || body["subjects"].is_array(), "{body}");
        }
        assert_eq!(default("clusterroles", "cluster-admin")["rules"][1]["nonResourceURLs"], json!(["*"]));
        assert!(default("clusterroles", "view")["rules"].is_null());
        assert!(!default_rules("system:node").is_empty());
    }

    #[test]
    fn bindings_name_roles_that_are_there() {
        let all = defaults();
        for binding in all.iter().filter(|o| o.object["roleRef"].is_object()) {
            let role = &binding.object["roleRef"];
            let namespace = if role["kind"] == "Role" { binding.namespace } else { "" };
            let found = all
                .iter()
                .any(|o| o.object["kind"] == role["kind"] && o.namespace == namespace && role["name"] == o.name);
            assert!(found, "{role}");
        }
    }

    #[test]
    fn what_was_taken_away_comes_back_and_what_was_added_stays() {
        let wanted = default("clusterroles", "system:basic-user");
        assert_eq!(reconcile(&wanted, &wanted), Reconciled::Keep);
        let mut less = wanted.clone();
        less["rules"] = json!([{"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}]);
        less["metadata"]["labels"] = json!({"mine": "1"});
        let Reconciled::Update(again) = reconcile(&less, &wanted) else { panic!("it is kept") };
        assert_eq!(again["metadata"]["labels"], json!({"mine": "1", "kubernetes.io/bootstrapping": "rbac-defaults"}));
        assert_eq!(again["rules"][0]["apiGroups"], json!(["x"]));
        assert_eq!(reconcile(&again, &wanted), Reconciled::Keep);
        less["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconcile(&less, &wanted), Reconciled::Keep);
    }

    #[test]
    fn a_binding_gets_its_subjects_back_and_one_for_another_role_is_made_again() {
        let wanted = default("clusterrolebindings", "cluster-admin");
        let mut there = wanted.clone();
        there["subjects"] = Value::Null;
        let Reconciled::Update(again) = reconcile(&there, &wanted) else { panic!("it is kept") };
        assert_eq!(again["subjects"], wanted["subjects"]);
        there["roleRef"]["name"] = "view".into();
        assert_eq!(reconcile(&there, &wanted), Reconciled::Replace);
    }
}
