// SPDX-License-Identifier: Apache-2.0
//! How upstream's storage calls an object: clients see it in what is said about preconditions.

use knarr_types::Key;

/// What is said when an object has another uid than the client named.
#[must_use]
pub fn uid_mismatch(key: &Key, wanted: &str, actual: &str) -> String {
    format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {wanted}, UID in object meta: {actual}",
        registry_key(key)
    )
}

/// The object's key in etcd; a few kinds are kept under older names, custom resources under their group.
fn registry_key(key: &Key) -> String {
    let (group, resource) = (&*key.resource.group, &*key.resource.resource);
    let folder = match (group, resource) {
        ("", "replicationcontrollers") => "controllers".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("", "services" | "endpoints") => {
            format!("services/{}", if resource == "services" { "specs" } else { resource })
        }
        ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
        ("policy" | "apps" | "batch" | "autoscaling" | "", _) => resource.to_owned(),
        // The servers of definitions and of aggregation keep what is theirs under their groups.
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", _) => format!("{group}/{resource}"),
        (group, _) if group.ends_with(".k8s.io") => resource.to_owned(),
        (group, _) => format!("{group}/{resource}"),
    };
    let parts = ["/registry", &folder, &key.namespace, &key.name];
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use knarr_types::ResourceId;

    use super::*;

    #[test]
    fn kinds_are_kept_where_upstream_keeps_them() {
        let key = |group: &str, resource: &str, namespace: &str| {
            registry_key(&Key::new(ResourceId::new(group, resource), namespace, "x"))
        };
        assert_eq!(key("", "configmaps", "n"), "/registry/configmaps/n/x");
        assert_eq!(key("", "services", "n"), "/registry/services/specs/n/x");
        assert_eq!(key("", "nodes", ""), "/registry/minions/x");
        assert_eq!(key("apps", "deployments", "n"), "/registry/deployments/n/x");
        let definition = key("apiextensions.k8s.io", "customresourcedefinitions", "");
        assert_eq!(definition, "/registry/apiextensions.k8s.io/customresourcedefinitions/x");
        assert_eq!(key("example.com", "widgets", "n"), "/registry/example.com/widgets/n/x");
    }
}
