// SPDX-License-Identifier: Apache-2.0
//! DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize: claims get the
//! cluster's class, live as long as they are used, and grow only where their class lets them.
//! And DefaultIngressClass, which is the same for ingresses.

use std::cmp::Reverse;
use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{Object, Quantity, Status};

use crate::amounts;
use crate::{Lookup, Operation, Request};

/// Keep an object while a pod, a claim or a volume uses it.
const PROTECTION: [(&str, &str, &str); 3] = [
    ("", "PersistentVolumeClaim", "kubernetes.io/pvc-protection"),
    ("", "PersistentVolume", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "VolumeAttributesClass", "kubernetes.io/vac-protection"),
];

/// Adds the finalizer that keeps an object while it is used.
pub(crate) fn protect(request: &Request<'_>, object: &mut Object) {
    let Some((.., finalizer)) = PROTECTION.iter().find(|(group, kind, _)| request.is(group, kind)) else { return };
    let list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !list.iter().any(|f| f == finalizer) {
        object["metadata"]["finalizers"] = list.into_iter().chain([Value::from(*finalizer)]).collect();
    }
}

/// Gives a claim without a class the cluster's.
pub(crate) fn default_storage_class(request: &Request<'_>, claim: &mut Object, lookup: &dyn Lookup) {
    let named = !claim["spec"]["storageClassName"].is_null()
        || claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").is_some();
    if !request.is("", "PersistentVolumeClaim") || named {
        return;
    }
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(name) = default_of(&lookup.list("storage.k8s.io", "storageclasses", None), &marks) {
        claim["spec"]["storageClassName"] = name;
    }
}

/// Gives an ingress without a class the cluster's.
pub(crate) fn default_ingress_class(request: &Request<'_>, ingress: &mut Object, lookup: &dyn Lookup) {
    let named = !ingress["spec"]["ingressClassName"].is_null()
        || ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
    if !request.is("networking.k8s.io", "Ingress") || named {
        return;
    }
    let marks = ["ingressclass.kubernetes.io/is-default-class"];
    if let Some(name) = default_of(&lookup.list("networking.k8s.io", "ingressclasses", None), &marks) {
        ingress["spec"]["ingressClassName"] = name;
    }
}

/// The name of the class that one of these annotations marks as the default: of several the newest, then the first by
/// name.
fn default_of(classes: &[Arc<Object>], marks: &[&str]) -> Option<Value> {
    let text = |class: &Object, field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
    let newest_first = |class: &&Arc<Object>| (Reverse(text(class, "creationTimestamp")), text(class, "name"));
    let is_marked = |class: &&Arc<Object>| marks.iter().any(|mark| class["metadata"]["annotations"][*mark] == "true");
    let newest = classes.iter().filter(is_marked).min_by_key(newest_first)?;
    Some(newest["metadata"]["name"].clone())
}

/// A claim grows only where it is bound and its class lets it.
pub(crate) fn validate_resize(request: &Request<'_>, claim: &Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(old) = request.old.filter(|_| {
        request.operation == Operation::Update
            && request.is("", "PersistentVolumeClaim")
            && request.subresource.is_empty()
    }) else {
        return Ok(());
    };
    let size = |claim: &Object| amounts::quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(claim).unwrap_or(Quantity::ZERO) <= size(old).unwrap_or(Quantity::ZERO) {
        return Ok(());
    }
    let refuse = |why: &str| Err(request.refusal(why));
    if old["status"]["phase"] != "Bound" {
        return refuse("Only bound persistent volume claims can be expanded");
    }
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let class = lookup.get("storage.k8s.io", "storageclasses", "", class).unwrap_or_default();
    if class["allowVolumeExpansion"] == true {
        return Ok(());
    }
    refuse(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::json;

    use super::*;
    use crate::table::{Table, kind, request};

    fn class(name: &str, created: &str, default: &str) -> Object {
        json!({"metadata": {"name": name, "creationTimestamp": created,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default}}, "allowVolumeExpansion": true})
    }

    #[test]
    fn a_claim_gets_the_newest_default_class() {
        let user = UserInfo::anonymous();
        let kind = kind("persistentvolumeclaims");
        let request = request(&kind, Operation::Create, "n", &user);
        let table = Table(vec![
            ("storage.k8s.io/storageclasses/a", class("a", "2024-01-01T00:00:00Z", "true")),
            ("storage.k8s.io/storageclasses/b", class("b", "2025-01-01T00:00:00Z", "true")),
            ("storage.k8s.io/storageclasses/c", class("c", "2026-01-01T00:00:00Z", "false")),
        ]);
        let run = |mut claim: Object| {
            default_storage_class(&request, &mut claim, &table);
            claim["spec"]["storageClassName"].clone()
        };
        assert_eq!(run(json!({"spec": {}})), "b");
        assert_eq!(run(json!({"spec": {"storageClassName": ""}})), "");
    }

    #[test]
    fn finalizers_are_added_once() {
        let user = UserInfo::anonymous();
        let kind = kind("persistentvolumes");
        let request = request(&kind, Operation::Create, "", &user);
        let mut volume = json!({"metadata": {"finalizers": ["a/b"]}});
        protect(&request, &mut volume);
        protect(&request, &mut volume);
        assert_eq!(volume["metadata"]["finalizers"], json!(["a/b", "kubernetes.io/pv-protection"]));
    }

    #[test]
    fn only_bound_claims_of_growing_classes_grow() {
        let user = UserInfo::anonymous();
        let kind = kind("persistentvolumeclaims");
        let table = Table(vec![("storage.k8s.io/storageclasses//a", class("a", "", ""))]);
        let check = |phase: &str, class: &str| {
            let claim = |size: &str| {
                json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                    "status": {"phase": phase}})
            };
            let old = claim("1Gi");
            let mut request = request(&kind, Operation::Update, "n", &user);
            request.old = Some(&old);
            validate_resize(&request, &claim("2Gi"), &table).is_ok()
        };
        assert!(check("Bound", "a"));
        assert!(!check("Pending", "a"));
        assert!(!check("Bound", "b"));
    }
}
