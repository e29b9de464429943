//! The documents that say which kinds there are: `/api`, `/apis` and what is below them.

use serde_json::{Value, json};

use crate::kinds::Registry;

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
    let mut seen: Vec<&str> = registry.iter().map(|k| &*k.group).filter(|g| !g.is_empty()).collect();
    seen.dedup();
    let groups: Vec<Value> = seen.into_iter().filter_map(|name| group(registry, name)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `GET /apis/GROUP`: an `APIGroup`; `None` where there is no such group.
#[must_use]
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut versions: Vec<Value> = Vec::new();
    for kind in registry.iter().filter(|k| &*k.group == name) {
        let version = json!({ "groupVersion": kind.api_version(), "version": kind.version });
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let preferred = versions.first()?.clone();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": preferred,
    }))
}

/// `GET /api/v1` and `GET /apis/GROUP/VERSION`: an `APIResourceList`; `None` where there is no such version.
#[must_use]
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<_> = registry.iter().filter(|k| &*k.group == group && &*k.version == version).collect();
    let resources: Vec<Value> = kinds
        .iter()
        .map(|k| json!({ "name": k.resource, "singularName": k.singular, "namespaced": k.namespaced, "kind": k.kind, "verbs": k.verbs }))
        .collect();
    let api_version = kinds.first()?.api_version();
    Some(json!({ "kind": "APIResourceList", "groupVersion": api_version, "resources": resources }))
}

/// `GET /api` (`core`) or `GET /apis` for clients that accept `apidiscovery.k8s.io/v2`:
/// an `APIGroupDiscoveryList`.
#[must_use]
pub fn aggregated(_registry: &Registry, _core: bool) -> Value {
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [] })
}
