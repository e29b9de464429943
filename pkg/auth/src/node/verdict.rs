// SPDX-License-Identifier: Apache-2.0
//! The rules about nodes, without the graph: what is allowed, refused, or depends on the node's pods.
//! <https://kubernetes.io/docs/reference/access-authn-authz/node/>

use std::fmt;

use super::Target;
use crate::Attributes;

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Allow,
    /// They may not, unless somebody else allows it.
    Refuse(Refusal),
    /// They may if the named object belongs to the node, or to a pod on it.
    IfRelated(Target),
    /// The rules of `system:node` decide.
    ByRules,
}

/// Why a node may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing to say.
    Silent,
    /// This.
    Because(&'static str),
    /// The object has nothing to do with the node.
    Unrelated,
    /// It asked for all nodes.
    AllNodes,
    /// It asked for another node.
    OtherNode,
}

impl Refusal {
    /// The reason in upstream's words; empty where there is none.
    #[must_use]
    pub fn reason<'a>(self, node: &'a str, wanted: &'a Attributes<'a>) -> Reason<'a> {
        Reason { refusal: self, node, name: wanted.name }
    }
}

/// A refusal, to be shown.
pub struct Reason<'a> {
    refusal: Refusal,
    node: &'a str,
    name: &'a str,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refusal, node, name } = self;
        match refusal {
            Refusal::Silent => Ok(()),
            Refusal::Because(why) => f.write_str(why),
            Refusal::Unrelated => write!(f, "no relationship found between node '{node}' and this object"),
            Refusal::AllNodes => write!(f, "node '{node}' cannot read all nodes, only its own Node object"),
            Refusal::OtherNode => write!(f, "node '{node}' cannot read '{name}', only its own Node object"),
        }
    }
}

const READ: [&str; 3] = ["get", "list", "watch"];
const OWN: [&str; 5] = ["get", "create", "update", "patch", "delete"];

/// What the node `node` may do of this. Allocates nothing but for selectors of pods and slices.
#[must_use]
pub fn decide(node: &str, wanted: &Attributes<'_>) -> Verdict {
    match (wanted.group, wanted.resource) {
        ("", "secrets") => read(Target::Secret, wanted),
        ("", "configmaps") => read(Target::ConfigMap, wanted),
        ("", "persistentvolumeclaims") if wanted.subresource == "status" => claim_status(wanted),
        ("", "persistentvolumeclaims") => get(Target::Claim, wanted),
        ("", "persistentvolumes") => get(Target::Volume, wanted),
        ("resource.k8s.io", "resourceclaims") => get(Target::ResourceClaim, wanted),
        ("storage.k8s.io", "volumeattachments") => get(Target::Attachment, wanted),
        ("", "serviceaccounts") => account(wanted),
        ("coordination.k8s.io", "leases") => lease(node, wanted),
        ("storage.k8s.io", "csinodes") => csi_node(node, wanted),
        ("resource.k8s.io", "resourceslices") => slice(node, wanted),
        ("", "nodes") => own_node(node, wanted),
        ("", "pods") => pod(node, wanted),
        _ => Verdict::ByRules,
    }
}

const fn because(why: &'static str) -> Verdict {
    Verdict::Refuse(Refusal::Because(why))
}

fn related(target: Target, wanted: &Attributes<'_>) -> Verdict {
    if wanted.name.is_empty() { because("No Object name found") } else { Verdict::IfRelated(target) }
}

fn read(target: Target, wanted: &Attributes<'_>) -> Verdict {
    if !READ.contains(&wanted.verb) {
        return because("can only read resources of this type");
    }
    if !wanted.subresource.is_empty() {
        return because("cannot read subresource");
    }
    if wanted.namespace.is_empty() {
        return because("can only read namespaced object of this type");
    }
    related(target, wanted)
}

fn get(target: Target, wanted: &Attributes<'_>) -> Verdict {
    if wanted.verb != "get" {
        return because("can only get individual resources of this type");
    }
    if !wanted.subresource.is_empty() {
        return because("cannot get subresource");
    }
    related(target, wanted)
}

fn claim_status(wanted: &Attributes<'_>) -> Verdict {
    if !["update", "patch"].contains(&wanted.verb) {
        return because("can only get/update/patch this type");
    }
    related(Target::Claim, wanted)
}

/// Service accounts: tokens of those of its pods, and reading them for the credentials of image pulls.
fn account(wanted: &Attributes<'_>) -> Verdict {
    if wanted.verb == "get" && wanted.subresource.is_empty() {
        return related(Target::Account, wanted);
    }
    if wanted.verb != "create" || wanted.name.is_empty() {
        return because("can only create tokens for individual service accounts");
    }
    if wanted.subresource != "token" {
        return because("can only create token subresource of serviceaccount");
    }
    Verdict::IfRelated(Target::Account)
}

fn lease(node: &str, wanted: &Attributes<'_>) -> Verdict {
    if !OWN.contains(&wanted.verb) {
        return because("can only get, create, update, patch, or delete a node lease");
    }
    if wanted.namespace != "kube-node-lease" {
        return because("can only access leases in the \"kube-node-lease\" system namespace");
    }
    // The name of what is created is not known here: admission compares it.
    if wanted.verb != "create" && wanted.name != node {
        return because("can only access node lease with the same name as the requesting node");
    }
    Verdict::Allow
}

fn csi_node(node: &str, wanted: &Attributes<'_>) -> Verdict {
    if !OWN.contains(&wanted.verb) {
        return because("can only get, create, update, patch, or delete a CSINode");
    }
    if !wanted.subresource.is_empty() {
        return because("cannot authorize CSINode subresources");
    }
    if wanted.verb != "create" && wanted.name != node {
        return because("can only access CSINode with the same name as the requesting node");
    }
    Verdict::Allow
}

fn slice(node: &str, wanted: &Attributes<'_>) -> Verdict {
    if !wanted.subresource.is_empty() {
        return because("cannot authorize ResourceSlice subresources");
    }
    match wanted.verb {
        "create" => Verdict::Allow,
        "get" | "update" | "patch" | "delete" => related(Target::Slice, wanted),
        "watch" | "list" | "deletecollection" if wanted.fields.require("spec.nodeName", node) => Verdict::Allow,
        "watch" | "list" | "deletecollection" => {
            because("can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        _ => because(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
             delete, deletecollection",
        ),
    }
}

fn own_node(node: &str, wanted: &Attributes<'_>) -> Verdict {
    match (wanted.subresource, wanted.verb) {
        // Which node is written is compared in admission.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Verdict::Allow,
        ("", "get" | "list" | "watch") => match wanted.name {
            name if name == node => Verdict::Allow,
            "" => Verdict::Refuse(Refusal::AllNodes),
            _ => Verdict::Refuse(Refusal::OtherNode),
        },
        _ => Verdict::Refuse(Refusal::Silent),
    }
}

fn pod(node: &str, wanted: &Attributes<'_>) -> Verdict {
    match (wanted.subresource, wanted.verb) {
        ("", "get") => get(Target::Pod, wanted),
        ("", "list" | "watch") if wanted.fields.require("spec.nodeName", node) => Verdict::Allow,
        ("", "list" | "watch") if !wanted.name.is_empty() => Verdict::IfRelated(Target::Pod),
        ("", "list" | "watch") => because("can only list/watch pods with spec.nodeName field selector"),
        // Whose pod is written is compared in admission.
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Verdict::Allow,
        _ => Verdict::Refuse(Refusal::Silent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Fields;

    #[test]
    fn a_node_may_touch_what_is_its_own() {
        let cases = [
            ("get", "", "secrets", "n", "s", Verdict::IfRelated(Target::Secret)),
            ("list", "", "secrets", "n", "", because("No Object name found")),
            ("list", "", "secrets", "", "s", because("can only read namespaced object of this type")),
            ("delete", "", "configmaps", "n", "c", because("can only read resources of this type")),
            ("get", "", "nodes", "", "me", Verdict::Allow),
            ("get", "", "nodes", "", "you", Verdict::Refuse(Refusal::OtherNode)),
            ("list", "", "nodes", "", "", Verdict::Refuse(Refusal::AllNodes)),
            ("delete", "", "nodes", "", "me", Verdict::Refuse(Refusal::Silent)),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "me", Verdict::Allow),
            (
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "you",
                because("can only access node lease with the same name as the requesting node"),
            ),
            ("list", "", "services", "", "", Verdict::ByRules),
            ("list", "apps", "deployments", "", "", Verdict::ByRules),
        ];
        for (verb, group, resource, namespace, name, want) in cases {
            let wanted = Attributes { verb, group, resource, namespace, name, ..Attributes::default() };
            assert_eq!(decide("me", &wanted), want, "{wanted:?}");
        }
    }

    #[test]
    fn pods_are_listed_by_node() {
        for (selector, want) in [
            ("spec.nodeName=me", Verdict::Allow),
            ("spec.nodeName!=me", because("can only list/watch pods with spec.nodeName field selector")),
            ("spec.nodeName=you", because("can only list/watch pods with spec.nodeName field selector")),
        ] {
            let fields = Fields::Text(selector);
            let wanted = Attributes { verb: "watch", resource: "pods", fields, ..Attributes::default() };
            assert_eq!(decide("me", &wanted), want, "{selector}");
        }
    }
}
