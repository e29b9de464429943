// SPDX-License-Identifier: Apache-2.0
//! Each default role on each resource of discovery with each verb: what the index allows is what a plain reading of
//! upstream's rules says (`default-access.tsv`, see `scripts/generate-role-access.py`), and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use knarr_schema::Registry;
use knarr_types::tree::{Value, json};
use knarr_types::{Key, ResourceId};

use super::defaults::{DefaultObject, defaults};
use super::index::Index;
use crate::follow::{Fold as _, Seen};
use crate::{Attributes, UserInfo};

const EXPECTED: &str = include_str!("default-access.tsv");
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/// Knarr's own roles are no part of upstream's.
const OWN: &str = "knarr:";

/// Group, resource and subresource.
type Route = (String, String, String);

fn routes() -> BTreeSet<Route> {
    let registry = Registry::builtin();
    let kinds = registry.iter().flat_map(|kind| {
        let below = kind.subresources.iter().map(|sub| sub.name.to_string());
        let route = |below: String| (kind.group.to_string(), kind.resource.to_string(), below);
        std::iter::once(String::new()).chain(below).map(route)
    });
    kinds.collect()
}

fn shown((group, resource, below): &Route) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if below.is_empty() { "" } else { "/" };
    format!("{resource}{dot}{group}{slash}{below}")
}

fn put(index: &mut Index, resource: &str, namespace: &str, name: &str, object: &Value) {
    let key = Key::new(ResourceId::new("rbac.authorization.k8s.io", resource), namespace, name);
    let json = object.to_string();
    index.apply(&key, None, Some(Seen { json: json.as_bytes(), fields: &[] }));
}

/// The rules of a role, those that it sums up among them.
fn rules(role: &DefaultObject, all: &[DefaultObject]) -> Vec<Value> {
    let selectors = role.object["aggregationRule"]["clusterRoleSelectors"].as_array();
    let Some(selectors) = selectors else { return role.object["rules"].as_array().cloned().unwrap_or_default() };
    let is_part = |other: &&DefaultObject| {
        let labels = &other.object["metadata"]["labels"];
        let fits = |s: &Value| s["matchLabels"].as_object().unwrap().iter().all(|(k, v)| labels[k] == *v);
        other.resource == "clusterroles" && other.name != role.name && selectors.iter().any(fits)
    };
    all.iter().filter(is_part).flat_map(|part| rules(part, all)).collect()
}

/// The default objects, as they are when the sums are worked out.
fn index(all: &[DefaultObject]) -> Index {
    let mut index = Index::default();
    for default in all {
        let mut object = default.object.clone();
        if default.resource.ends_with("roles") && !default.resource.ends_with("bindings") {
            object["rules"] = json!(rules(default, all));
        }
        put(&mut index, default.resource, default.namespace, default.name, &object);
    }
    index
}

fn allowed(index: &Index, user: &UserInfo, namespace: &str, route: &Route, name: &str) -> Vec<&'static str> {
    let (group, resource, subresource) = route;
    let may = |verb: &&'static str| {
        index.allows(user, &Attributes { verb, group, resource, subresource, namespace, name, ..Attributes::default() })
    };
    VERBS.into_iter().filter(may).collect()
}

/// The lines of one role, for a user who has it alone.
fn lines(index: &mut Index, all: &[DefaultObject], role: &DefaultObject, routes: &BTreeSet<Route>) -> String {
    let (kind, bindings) = match role.resource {
        "roles" => ("Role", "rolebindings"),
        _ => ("ClusterRole", "clusterrolebindings"),
    };
    let who = format!("with-{}-{}", role.namespace, role.name);
    let binding = json!({
        "roleRef": {"kind": kind, "name": role.name}, "subjects": [{"kind": "User", "name": who}],
    });
    put(index, bindings, role.namespace, &who, &binding);
    let user = UserInfo::new(&who, &[]);
    let rules = rules(role, all);
    let names = rules.iter().flat_map(|rule| rule["resourceNames"].as_array().into_iter().flatten());
    let names: BTreeSet<&str> = names.filter_map(Value::as_str).chain([""]).collect();
    let mut text = String::new();
    for name in names {
        let mut by_verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for route in routes {
            let verbs = allowed(index, &user, role.namespace, route, name);
            let of_any = allowed(index, &user, role.namespace, route, "");
            if !verbs.is_empty() && (name.is_empty() || verbs != of_any) {
                by_verbs.entry(verbs.join(",")).or_default().push(shown(route));
            }
        }
        for (verbs, resources) in by_verbs {
            let resources = if resources.len() == routes.len() { "*".to_owned() } else { resources.join(",") };
            let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let _ = writeln!(text, "{}\t{}\t{}\t{verbs}\t{resources}", dash(role.namespace), role.name, dash(name));
        }
    }
    text
}

#[test]
fn each_default_role_permits_what_it_says_on_each_route() {
    let all = defaults();
    let routes = routes();
    assert!(routes.len() > 100, "discovery names {} resources", routes.len());
    // Without bindings: all who are known may do something by those.
    let roles: Vec<_> = all.iter().filter(|o| !o.resource.ends_with("bindings")).cloned().collect();
    let mut index = index(&roles);
    let mut found = String::new();
    for resource in ["clusterroles", "roles"] {
        for role in all.iter().filter(|o| o.resource == resource && !o.name.starts_with(OWN)) {
            found.push_str(&lines(&mut index, &all, role, &routes));
        }
    }
    let expected: BTreeSet<&str> = EXPECTED.lines().filter(|line| !line.starts_with('#')).collect();
    let found: BTreeSet<&str> = found.lines().collect();
    let (missing, more): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    assert!(missing.is_empty() && more.is_empty(), "not as expected:\n{missing:#?}\nbut\n{more:#?}");
}

#[test]
fn each_default_binding_gives_its_subjects_its_role_and_no_more() {
    let all = defaults();
    let routes = routes();
    let index = index(&all);
    let bindings: Vec<_> = all.iter().filter(|o| o.object["subjects"].is_array()).collect();
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let subjects: BTreeSet<(String, String, String)> = bindings
        .iter()
        .flat_map(|binding| binding.object["subjects"].as_array().unwrap())
        .map(|subject| (text(subject, "kind"), text(subject, "namespace"), text(subject, "name")))
        .collect();
    assert!(subjects.len() > 40, "{} are bound", subjects.len());
    for (kind, namespace, name) in &subjects {
        let user = match kind.as_str() {
            "ServiceAccount" => UserInfo::service_account(namespace, name),
            "Group" => UserInfo::new("somebody", &[name]),
            _ => UserInfo::new(name, &[]),
        };
        let is_own = |subject: &Value| match subject["kind"].as_str() {
            Some("Group") => user.is_in(subject["name"].as_str().unwrap()),
            _ => {
                text(subject, "kind") == *kind
                    && text(subject, "namespace") == *namespace
                    && text(subject, "name") == *name
            }
        };
        let own = bindings.iter().filter(|b| b.object["subjects"].as_array().unwrap().iter().any(is_own));
        let own: Vec<_> = own
            .map(|b| (b.namespace, text(&b.object["roleRef"], "kind"), text(&b.object["roleRef"], "name")))
            .collect();
        for place in ["", "default", "kube-system", "kube-public"] {
            for route in &routes {
                let mut given: BTreeSet<&str> = BTreeSet::new();
                for (of, kind, role) in own.iter().filter(|(of, ..)| of.is_empty() || *of == place) {
                    let resource = if kind == "Role" { "roles" } else { "clusterroles" };
                    let home = if kind == "Role" { *of } else { "" };
                    let role = all.iter().find(|o| o.resource == resource && o.namespace == home && o.name == role);
                    given.extend(VERBS.iter().filter(|verb| says(&rules(role.unwrap(), &all), verb, route)));
                }
                let may: BTreeSet<&str> = allowed(&index, &user, place, route, "").into_iter().collect();
                assert_eq!(may, given, "{kind} {namespace}/{name} on {} in {place:?}", shown(route));
            }
        }
    }
}

/// What RBAC's documentation says of rules, in the plainest words.
fn says(rules: &[Value], verb: &str, (group, resource, below): &Route) -> bool {
    let full = if below.is_empty() { resource.clone() } else { format!("{resource}/{below}") };
    rules.iter().any(|rule| {
        let has = |field: &str, wanted: &str| {
            rule[field].as_array().into_iter().flatten().any(|one| *one == "*" || *one == *wanted)
        };
        let any_of = !below.is_empty() && has("resources", &format!("*/{below}"));
        let unnamed = rule["resourceNames"].as_array().is_none_or(Vec::is_empty);
        has("verbs", verb) && has("apiGroups", group) && (has("resources", &full) || any_of) && unnamed
    })
}
