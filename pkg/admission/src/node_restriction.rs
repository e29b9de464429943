// SPDX-License-Identifier: Apache-2.0
//! NodeRestriction: a node touches itself, its lease and its pods, and cannot make itself attractive for the
//! pods of others. TaintNodesByCondition: a new node waits until it says that it is ready.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_pki::certificate::subject_of_request;
use knarr_schema::rules::check_certificate_request;
use knarr_types::labels::{NAMESPACE_NODE_LEASE, TAINT_NOT_READY};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, ResourceId, Status};

use crate::{Lookup, Operation, Request, secrets};

/// A node that has not spoken yet gets no pods.
pub(crate) fn taint_new_node(node: &mut Object) {
    let taints = &mut node["spec"]["taints"];
    let list = taints.as_array().cloned().unwrap_or_default();
    if !list.iter().any(|t| t["key"] == TAINT_NOT_READY && t["effect"] == "NoSchedule") {
        *taints = list.into_iter().chain([json!({"key": TAINT_NOT_READY, "effect": "NoSchedule"})]).collect();
    }
}

/// Labels of Kubernetes' own domains that a node may give itself.
const OWN_LABELS: [&str; 10] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "beta.kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/arch",
];
/// Domains of labels that are a node's own.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The signers whose certificates say that one is a node.
const NODE_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// Refuses what a node may not do; `object` is `None` for deletes.
pub(crate) fn check(request: &Request<'_>, object: Option<&Object>, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(node) = request.user.node() else { return Ok(()) };
    let (old, new) = (request.old.unwrap_or(&Value::Null), object.unwrap_or(&Value::Null));
    if request.is("", "Pod") && request.subresource == "eviction" {
        return eviction(node, request, lookup);
    }
    let verdict = match (&*request.kind.group, &*request.kind.kind) {
        ("", "Node") => own_node(node, request, new, old),
        ("", "Pod") => pod(node, request, new, old, lookup),
        ("", "PersistentVolumeClaim") => claim(node, request, new, old),
        ("coordination.k8s.io", "Lease") if request.namespace != NAMESPACE_NODE_LEASE => {
            Err(format!("can only access leases in the {NAMESPACE_NODE_LEASE:?} system namespace"))
        }
        ("coordination.k8s.io", "Lease") => own_name(node, request, "node lease"),
        ("storage.k8s.io", "CSINode") => own_name(node, request, "CSINode"),
        ("resource.k8s.io", "ResourceSlice") => own_slice(node, request, new, old),
        ("certificates.k8s.io", "CertificateSigningRequest") => own_certificate(node, request, new),
        _ => Ok(()),
    };
    verdict.map_err(|why| request.refusal(&why))
}

fn own_name(node: &str, request: &Request<'_>, what: &str) -> Result<(), String> {
    if request.name == node {
        return Ok(());
    }
    Err(format!("can only access {what} with the same name as the requesting node"))
}

fn own_node(node: &str, request: &Request<'_>, new: &Value, old: &Value) -> Result<(), String> {
    if request.name != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", request.name));
    }
    let source = &new["spec"]["configSource"];
    let labels = forbidden_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]);
    match request.operation {
        Operation::Create if !source.is_null() => {
            Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"))
        }
        Operation::Create if !labels.is_empty() => {
            Err(format!("node {node:?} is not allowed to set the following labels: {}", labels.join(", ")))
        }
        Operation::Update if !source.is_null() && *source != old["spec"]["configSource"] => {
            Err(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"))
        }
        Operation::Update if list(&new["spec"]["taints"]) != list(&old["spec"]["taints"]) => {
            Err(format!("node {node:?} is not allowed to modify taints"))
        }
        Operation::Update if list(&new["metadata"]["ownerReferences"]) != list(&old["metadata"]["ownerReferences"]) => {
            Err(format!("node {node:?} is not allowed to modify ownerReferences"))
        }
        Operation::Update if !labels.is_empty() => {
            Err(format!("is not allowed to modify labels: {}", labels.join(", ")))
        }
        _ => Ok(()),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The labels that differ and that a node may not change, by name.
fn forbidden_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let names: BTreeSet<&str> =
        [new, old].into_iter().filter_map(Value::as_object).flatten().map(|(name, _)| name.as_str()).collect();
    names.into_iter().filter(|name| new.get(*name) != old.get(*name) && is_forbidden(name)).collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    let own = OWN_LABELS.contains(&label) || OWN_DOMAINS.into_iter().any(within);
    within("node-restriction.kubernetes.io") || (kubernetes && !own)
}

/// A node evicts its own pods.
fn eviction(node: &str, request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
    let pod = lookup.get("", "pods", request.namespace, request.name);
    let pod = pod.ok_or_else(|| Status::not_found(&ResourceId::new("", "pod"), request.name))?;
    if pod["spec"]["nodeName"] == node {
        return Ok(());
    }
    Err(request.refusal(&format!("node {node} can only evict pods with spec.nodeName set to itself")))
}

fn pod(node: &str, request: &Request<'_>, new: &Value, old: &Value, lookup: &dyn Lookup) -> Result<(), String> {
    let bound_here = |pod: &Value| pod["spec"]["nodeName"] == node;
    match (request.subresource, request.operation) {
        ("", Operation::Create) => mirror_pod(node, new, lookup),
        ("", Operation::Delete) if bound_here(old) => Ok(()),
        ("", Operation::Delete) => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        ("", operation) => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.as_str()
        )),
        ("status", _) if !bound_here(old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("status", _) if map(&new["metadata"]["labels"]) != map(&old["metadata"]["labels"]) => {
            Err(format!("node {node:?} cannot update labels through pod status"))
        }
        ("status", _) if !same_claims(&new["status"], &old["status"]) => {
            Err(format!("node {node:?} cannot update resource claim statues"))
        }
        ("status", _) => Ok(()),
        (other, _) => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    }
}

fn map(value: &Value) -> Option<&knarr_types::tree::Map> {
    value.as_object().filter(|map| !map.is_empty())
}

fn same_claims(new: &Value, old: &Value) -> bool {
    let claims = |status: &Value| -> Vec<(Value, Value)> {
        let all = list(&status["resourceClaimStatuses"]);
        all.iter().map(|claim| (claim["name"].clone(), claim["resourceClaimName"].clone())).collect()
    };
    claims(new) == claims(old)
}

/// A node makes no pods but those that show what it runs by itself.
fn mirror_pod(node: &str, pod: &Value, lookup: &dyn Lookup) -> Result<(), String> {
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    owned_by_node(node, list(&pod["metadata"]["ownerReferences"]), lookup)?;
    let what = match referenced(pod) {
        Some(what) => what,
        None => return Ok(()),
    };
    Err(format!("node {node:?} can not create pods that reference {what}"))
}

fn owned_by_node(node: &str, owners: &[Value], lookup: &dyn Lookup) -> Result<(), String> {
    let [owner] = owners else {
        let what = if owners.is_empty() { "an owner reference" } else { "a single owner reference" };
        return Err(format!("node {node:?} can only create pods with {what} set to itself"));
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(there) = lookup.get("", "nodes", "", node) else { return Err(format!("node {node:?} not found")) };
    let (given, uid) = (&owner["uid"], &there["metadata"]["uid"]);
    if given == uid {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Err(format!("node {node} UID mismatch: expected {} got {}", text(given), text(uid)))
}

/// What a pod needs of other objects: a mirror pod needs none.
fn referenced(pod: &Value) -> Option<&'static str> {
    const OF_VOLUMES: [(&str, &str); 6] = [
        ("secret", "secrets (via secret volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    const OF_SOURCES: [(&str, &str); 4] = [
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    let spec = &pod["spec"];
    let sources = |volume: &'_ Value| list(&volume["projected"]["sources"]).to_vec();
    let volumes = list(&spec["volumes"]);
    let containers = ["initContainers", "containers", "ephemeralContainers"].map(|field| list(&spec[field])).concat();
    let from_config = |container: &Value| {
        let whole = list(&container["envFrom"]).iter().any(|from| !from["configMapRef"].is_null());
        whole || list(&container["env"]).iter().any(|env| !env["valueFrom"]["configMapKeyRef"].is_null())
    };
    let mounts_config = |volume: &Value| {
        !volume["configMap"].is_null() || sources(volume).iter().any(|source| !source["configMap"].is_null())
    };
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        Some("serviceaccounts")
    } else if secrets::referenced(spec).next().is_some() {
        Some("secrets")
    } else if containers.iter().any(from_config) || volumes.iter().any(mounts_config) {
        Some("configmaps")
    } else if !list(&spec["resourceClaims"]).is_empty() {
        Some("resourceclaims")
    } else {
        let named = |of: &Value, table: &[(&str, &'static str)]| {
            table.iter().find(|(field, _)| !of[*field].is_null()).map(|(_, what)| *what)
        };
        let projected = |volume: &Value| sources(volume).iter().find_map(|source| named(source, &OF_SOURCES));
        volumes.iter().find_map(|volume| named(volume, &OF_VOLUMES).or_else(|| projected(volume)))
    }
}

/// A slice that a node makes or takes away is of that node; what else it may do to slices is its authorizer's.
fn own_slice(node: &str, request: &Request<'_>, new: &Value, old: &Value) -> Result<(), String> {
    let (slice, what) = match request.operation {
        Operation::Create => (new, "create"),
        Operation::Delete => (old, "delete"),
        _ => return Ok(()),
    };
    if slice["spec"]["nodeName"] == node {
        return Ok(());
    }
    Err(format!("can only {what} ResourceSlice with the same NodeName as the requesting node"))
}

/// A node asks for certificates of its own name alone.
fn own_certificate(node: &str, request: &Request<'_>, new: &Value) -> Result<(), String> {
    let of_node = NODE_SIGNERS.contains(&new["spec"]["signerName"].as_str().unwrap_or_default());
    if request.operation != Operation::Create || !of_node {
        return Ok(());
    }
    let pem = STANDARD.decode(new["spec"]["request"].as_str().unwrap_or_default()).unwrap_or_default();
    check_certificate_request(&pem).map_err(|why| format!("unable to parse csr: {why}"))?;
    let subject = subject_of_request(&String::from_utf8_lossy(&pem)).unwrap_or_default();
    if subject.common_name == format!("system:node:{node}") {
        return Ok(());
    }
    Err(format!("can only create a node CSR with CN=system:node:{node}"))
}

/// A node says of a claim how large its volume has become, and nothing else.
fn claim(node: &str, request: &Request<'_>, new: &Value, old: &Value) -> Result<(), String> {
    if request.subresource != "status" {
        return Err("may only update PVC status".into());
    }
    let fixed = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"]),
        ] {
            if let Some(part) = claim[part].as_object_mut() {
                fields.iter().for_each(|field| drop(part.remove(field)));
            }
        }
        claim
    };
    if fixed(new) == fixed(old) {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to update fields other than status.capacity and status.conditions"))
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;

    use super::*;
    use crate::table::{Table, kind_in, request};

    fn verdict(
        resource: &str,
        sub: &str,
        operation: Operation,
        new: &Object,
        old: Option<&Object>,
    ) -> Result<(), String> {
        let user = UserInfo::new("system:node:a", &["system:nodes"]);
        let group = match resource {
            "resourceslices" => "resource.k8s.io",
            "certificatesigningrequests" => "certificates.k8s.io",
            _ => "",
        };
        let kind = kind_in(group, resource);
        let mut request = request(&kind, operation, "n", &user);
        request.name = new["metadata"]["name"].as_str().unwrap_or("a");
        request.subresource = sub;
        request.old = old;
        let node = json!({"metadata": {"uid": "u"}});
        check(&request, Some(new), &Table(vec![("/nodes//a", node)])).map_err(|status| status.message)
    }

    #[test]
    fn a_node_touches_only_itself_and_the_status_of_its_pods() {
        let update = |resource: &str, sub: &str, object: Object| {
            verdict(resource, sub, Operation::Update, &object, Some(&object)).is_ok()
        };
        assert!(update("nodes", "", json!({"metadata": {"name": "a"}})));
        assert!(!update("nodes", "", json!({"metadata": {"name": "b"}})));
        assert!(update("pods", "status", json!({"spec": {"nodeName": "a"}})));
        assert!(!update("pods", "status", json!({"spec": {"nodeName": "b"}})));
        assert!(!update("pods", "", json!({"spec": {"nodeName": "a"}})));
        assert!(!update("persistentvolumeclaims", "", json!({})));
        assert!(update("persistentvolumeclaims", "status", json!({})));
    }

    #[test]
    fn a_node_evicts_its_own_pods() {
        let user = UserInfo::new("system:node:a", &["system:nodes"]);
        let kind = kind_in("", "pods");
        let mut request = request(&kind, Operation::Create, "n", &user);
        (request.name, request.subresource) = ("p", "eviction");
        let told = |pods: Vec<(&'static str, Value)>| {
            check(&request, Some(&json!({})), &Table(pods)).map_or_else(|status| status.message, |()| String::new())
        };
        assert_eq!(told(vec![("/pods/n/p", json!({"spec": {"nodeName": "a"}}))]), "");
        let other = told(vec![("/pods/n/p", json!({"spec": {"nodeName": "b"}}))]);
        assert!(other.ends_with("node a can only evict pods with spec.nodeName set to itself"), "{other}");
        assert_eq!(told(Vec::new()), "pod \"p\" not found");
    }

    #[test]
    fn a_node_does_not_choose_its_labels_and_taints() {
        for (label, allowed) in [
            ("example.com/x", true),
            ("plain", true),
            ("kubernetes.io/hostname", true),
            ("x.node.kubernetes.io/y", true),
            ("kubelet.kubernetes.io/y", true),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("foo.k8s.io/x", false),
            ("notkubernetes.io/x", true),
        ] {
            assert_eq!(is_forbidden(label), !allowed, "{label}");
        }
        let plain = json!({"metadata": {"name": "a"}});
        let labelled = json!({"metadata": {"name": "a", "labels": {"k8s.io/b": "", "k8s.io/a": ""}}});
        let why = verdict("nodes", "", Operation::Create, &labelled, None).unwrap_err();
        assert!(why.ends_with("is not allowed to set the following labels: k8s.io/a, k8s.io/b"), "{why}");
        assert!(verdict("nodes", "", Operation::Update, &plain, Some(&labelled)).is_err());
        assert!(verdict("nodes", "", Operation::Update, &labelled, Some(&labelled)).is_ok());
        let tainted = json!({"metadata": {"name": "a"}, "spec": {"taints": [{"key": "k"}]}});
        assert!(verdict("nodes", "", Operation::Update, &tainted, Some(&plain)).is_err());
        let owned = json!({"metadata": {"name": "a", "ownerReferences": [{"name": "x"}]}});
        let why = verdict("nodes", "", Operation::Update, &owned, Some(&plain)).unwrap_err();
        assert!(why.ends_with("is not allowed to modify ownerReferences"), "{why}");
        assert!(verdict("nodes", "", Operation::Update, &owned, Some(&owned)).is_ok());
    }

    #[test]
    fn a_nodes_slices_and_certificates_are_its_own() {
        let slice = |node: &str| json!({"metadata": {"name": "s"}, "spec": {"nodeName": node}});
        let made = |slice: Object| verdict("resourceslices", "", Operation::Create, &slice, None).is_ok();
        assert!(made(slice("a")) && !made(slice("b")) && !made(json!({"metadata": {"name": "s"}, "spec": {}})));
        let request = |user: &str, signer: &str| {
            let (_, pem) = knarr_pki::authority::request(user).unwrap();
            json!({"metadata": {"name": "c"}, "spec": {"signerName": signer, "request": STANDARD.encode(pem)}})
        };
        let asked = |request: Object| verdict("certificatesigningrequests", "", Operation::Create, &request, None);
        assert_eq!(asked(request("system:node:a", NODE_SIGNERS[1])), Ok(()));
        let why = asked(request("system:node:b", NODE_SIGNERS[1])).unwrap_err();
        assert!(why.ends_with("can only create a node CSR with CN=system:node:a"), "{why}");
        assert_eq!(asked(request("system:node:b", "example.com/other")), Ok(()));
    }

    #[test]
    fn a_node_makes_mirror_pods_that_need_nothing() {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "u", "controller": true});
        let mirror = json!({"metadata": {"name": "p", "annotations": {MIRROR: "x"}, "ownerReferences": [owner]},
            "spec": {"nodeName": "a", "containers": [{"name": "c"}]}});
        let create = |pod: &Object| verdict("pods", "", Operation::Create, pod, None);
        assert_eq!(create(&mirror), Ok(()));
        let broken = |change: fn(&mut Object)| {
            let mut pod = mirror.clone();
            change(&mut pod);
            create(&pod).unwrap_err()
        };
        assert!(broken(|pod| pod["metadata"]["annotations"] = json!({})).contains("can only create mirror pods"));
        assert!(broken(|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("v")).contains("UID mismatch"));
        assert!(
            broken(|pod| pod["spec"]["volumes"] = json!([{"secret": {"secretName": "s"}}]))
                .ends_with("reference secrets")
        );
        assert!(broken(|pod| pod["spec"]["volumes"] = json!([{"csi": {}}])).ends_with("csidrivers (via CSI volumes)"));
        assert!(
            broken(|pod| pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {}}]))
                .ends_with("reference configmaps")
        );
    }
}
