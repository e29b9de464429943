// SPDX-License-Identifier: Apache-2.0
//! The documents that say which kinds there are: `/api`, `/apis` and what is below them.
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine as _;
use knarr_types::tree::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kinds::{Kind, Registry, Subresource};

/// `GET /api`: the versions of the core group. `address` is `host:port` as clients reach it.
#[must_use]
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
    })
}

/// `GET /apis`: an `APIGroupList`.
#[must_use]
pub fn group_list(registry: &Registry) -> Value {
    let mut groups = groups(registry);
    // Behind the built-in ones custom groups have one priority, and are in the order of their APIServices' names.
    let service = |group: &str| {
        let custom = registry.iter().filter(|kind| *kind.group == *group && kind.custom.is_some());
        custom.map(|kind| kind.version.clone()).min().map(|version| format!("{version}.{group}"))
    };
    groups.sort_by_cached_key(|group| service(group));
    let groups: Vec<Value> = groups.into_iter().filter_map(|name| group_entry(registry, name)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `GET /apis/GROUP`: an `APIGroup`; `None` where there is no such group.
#[must_use]
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = group_entry(registry, name)?;
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

/// `GET /api/v1` and `GET /apis/GROUP/VERSION`: an `APIResourceList`; `None` where there is no such version.
#[must_use]
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds = registry.of_version(group, version);
    let api_version = kinds.first()?.api_version();
    let resources: Vec<Value> = kinds.iter().flat_map(|kind| resources(kind)).collect();
    let mut list = json!({ "kind": "APIResourceList", "groupVersion": api_version, "resources": resources });
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
}

/// `GET /api` (`core`) or `GET /apis` for clients that accept `apidiscovery.k8s.io/v2`:
/// an `APIGroupDiscoveryList`.
#[must_use]
pub fn aggregated(registry: &Registry, core: bool) -> Value {
    let groups = if core { vec![""] } else { groups(registry) };
    let items: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            let versions: Vec<Value> = versions(registry, group)
                .iter()
                .map(|version| {
                    let kinds = registry.of_version(group, version);
                    let resources: Vec<Value> = kinds.into_iter().map(aggregated_resource).collect();
                    json!({ "version": version, "freshness": "Current", "resources": resources })
                })
                .collect();
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

/// Tells clients that migrate stored objects in which version a kind is stored, without naming it.
pub(crate) fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = kind.storage_version.split_once('/').unwrap_or(("", &kind.storage_version));
    // Upstream still stores these in their beta version; the hash is what clients compare.
    let version = match &*kind.kind {
        "CustomResourceDefinition" | "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding" => "v1beta1",
        _ => version,
    };
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// The order of versions within a group: stable before beta before alpha, then the newest first;
/// names of another form last, by name.
pub(crate) fn by_version_priority(a: &str, b: &str) -> Ordering {
    match (stability(a), stability(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// `v2beta1` as (how stable, 2, 1).
fn stability(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    let rest = &rest[digits..];
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (stable, minor) = match rest.strip_prefix("beta") {
        Some(minor) => (1, minor),
        None => (0, rest.strip_prefix("alpha")?),
    };
    Some((stable, major, minor.parse().ok()?))
}

/// The named groups, in the order in which they are published.
fn groups(registry: &Registry) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for kind in registry.iter().filter(|kind| !kind.group.is_empty()) {
        if !names.contains(&&*kind.group) {
            names.push(&kind.group);
        }
    }
    names
}

fn versions(registry: &Registry, group: &str) -> Vec<Arc<str>> {
    let mut versions: Vec<Arc<str>> =
        registry.iter().filter(|k| &*k.group == group).map(|k| k.version.clone()).collect();
    versions.sort_by(|a, b| by_version_priority(a, b));
    versions.dedup();
    versions
}

fn group_entry(registry: &Registry, name: &str) -> Option<Value> {
    let versions: Vec<Value> = versions(registry, name)
        .iter()
        .map(|version| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({ "name": name, "versions": versions, "preferredVersion": preferred }))
}

/// A kind's entries in an `APIResourceList`: its own and one for each path below its objects.
fn resources(kind: &Arc<Kind>) -> Vec<Value> {
    let mut own = json!({
        "name": kind.resource, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": verbs(kind),
    });
    add_names(&mut own, kind);
    if kind.stored() {
        own["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    let below = kind.subresources.iter().map(|sub| {
        let mut entry = json!({
            "name": format!("{}/{}", kind.resource, sub.name), "singularName": "", "namespaced": kind.namespaced,
            "kind": sub.kind, "verbs": sub.verbs,
        });
        if !is_own_version(kind, sub) {
            entry["group"] = json!(sub.group);
            entry["version"] = json!(sub.version);
        }
        entry
    });
    std::iter::once(own).chain(below).collect()
}

fn aggregated_resource(kind: &Arc<Kind>) -> Value {
    // Those of custom resources are told in full.
    let told = |group, version| if kind.custom.is_some() { (group, version) } else { ("", "") };
    let (group, version) = told(&*kind.group, &*kind.version);
    let mut entry = json!({
        "resource": kind.resource, "singularResource": kind.singular, "verbs": verbs(kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": { "group": group, "version": version, "kind": kind.kind },
    });
    add_names(&mut entry, kind);
    if !kind.subresources.is_empty() {
        entry["subresources"] = kind
            .subresources
            .iter()
            .map(|sub| {
                let (group, version) = if is_own_version(kind, sub) {
                    told(&*sub.group, &*sub.version)
                } else {
                    (&*sub.group, &*sub.version)
                };
                json!({
                    "subresource": sub.name, "verbs": sub.verbs,
                    "responseKind": { "group": group, "version": version, "kind": sub.kind },
                })
            })
            .collect();
    }
    entry
}

/// What clients are told that they may do: nothing is created any more while a definition goes.
fn verbs(kind: &Kind) -> Vec<Arc<str>> {
    let going = kind.custom.as_ref().is_some_and(|custom| custom.terminating);
    let told = |verb: &&Arc<str>| !going || !matches!(&***verb, "create" | "update" | "patch");
    kind.verbs.iter().filter(told).cloned().collect()
}

/// Upstream leaves the group and version out where they are those of the list.
fn is_own_version(kind: &Kind, sub: &Subresource) -> bool {
    (&sub.group, &sub.version) == (&kind.group, &kind.version)
}

fn add_names(entry: &mut Value, kind: &Kind) {
    let Some(entry): Option<&mut Map> = entry.as_object_mut() else { return };
    for (name, values) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !values.is_empty() {
            entry.insert(name, json!(values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_and_then_by_age() {
        let mut versions = ["foo1", "v1alpha1", "v1", "v2beta1", "v10", "foo10", "v2", "v1beta2", "v1beta10"];
        versions.sort_by(|a, b| by_version_priority(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta10", "v1beta2", "v1alpha1", "foo1", "foo10"]);
    }

    #[test]
    fn hashes_of_storage_versions_are_upstreams() {
        let registry = Registry::builtin();
        for (group, version, kind, want) in [
            ("", "v1", "ConfigMap", "qFsyl6wFWjQ="),
            ("apps", "v1", "Deployment", "8aSe+NMegvE="),
            ("autoscaling", "v1", "HorizontalPodAutoscaler", "qwQve8ut294="),
        ] {
            assert_eq!(storage_version_hash(registry.by_kind(group, version, kind).unwrap()), want, "{kind}");
        }
    }

    #[test]
    fn custom_groups_stand_behind_in_the_order_of_their_services() {
        let custom = |group: &str, version: &str| {
            let names = json!({"plural": "certs", "singular": "cert", "kind": "Cert", "listKind": "CertList"});
            let versions = json!([{"name": version, "served": true, "storage": true, "schema": {}}]);
            crate::crd::kinds_of(&json!({
                "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
                "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
            }))
        };
        let kinds = [custom("b.example.com", "v2"), custom("c.example.com", "v1"), custom("a.example.com", "v1")];
        let registry = Registry::builtin().with(kinds.into_iter().flatten());
        let list = group_list(&registry);
        let names: Vec<_> =
            list["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!(names[0], "apiregistration.k8s.io");
        assert_eq!(names[names.len() - 3..], ["a.example.com", "c.example.com", "b.example.com"]);
        let all = aggregated(&registry, false);
        let kinds: Vec<_> =
            all["items"].as_array().unwrap().iter().map(|group| &group["versions"][0]["resources"][0]).collect();
        assert_eq!(kinds[0]["responseKind"], json!({"group": "", "version": "", "kind": "APIService"}));
        let told = json!({"group": "a.example.com", "version": "v1", "kind": "Cert"});
        assert!(kinds.iter().any(|kind| kind["responseKind"] == told));
    }

    #[test]
    fn what_is_not_there_has_no_document() {
        let registry = Registry::builtin();
        assert_eq!(group(&registry, "none"), None);
        assert_eq!(resource_list(&registry, "apps", "v9"), None);
    }
}
