// SPDX-License-Identifier: Apache-2.0
//! Which objects lead to which node: a pod is bound to it, and names secrets, claims and accounts; a claim
//! leads on to its volume, a volume to its secrets. Kept change by change.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use knarr_types::Key;
use knarr_types::tree::Value;

use super::references::{self, Reference};
use crate::follow::{Fold, Seen};

/// The collections that the graph is made of: group and resource.
pub(crate) const RESOURCES: [(&str, &str); 5] = [
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
    ("networking.k8s.io", "ingresses"),
];

/// What may lead to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
    /// A PersistentVolume.
    Volume,
    /// A ResourceClaim.
    ResourceClaim,
    /// A VolumeAttachment.
    Attachment,
    /// A ServiceAccount.
    Account,
    /// A ResourceSlice.
    Slice,
    /// A Pod.
    Pod,
}

/// Sets by namespace and name.
type ByName<T> = HashMap<Box<str>, HashMap<Box<str>, T>>;

/// How many pods of a node lead to it.
type Nodes = HashMap<Box<str>, u32>;

#[derive(Debug, Default)]
struct Volume {
    claim: (String, String),
    secrets: Vec<(String, String)>,
}

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    /// The nodes that an object leads to by one step.
    direct: HashMap<Target, ByName<Nodes>>,
    volumes: HashMap<Box<str>, Volume>,
    /// The volumes that a secret is for.
    by_secret: ByName<BTreeSet<Box<str>>>,
    /// The ingresses that a secret is for: all nodes that serve traffic need it.
    served: ByName<u32>,
}

impl Fold for Graph {
    fn apply(&mut self, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>) {
        match &*key.resource.resource {
            "pods" => self.pod(key, before, after),
            "persistentvolumes" => self.volume(&key.name, after),
            "ingresses" => self.ingress(key, before, after),
            "volumeattachments" => self.bound(Target::Attachment, key, before, after, "/spec/nodeName"),
            _ => self.bound(Target::Slice, key, before, after, "/spec/nodeName"),
        }
    }
}

fn parse(seen: Option<Seen<'_>>) -> Option<Value> {
    serde_json::from_slice(seen?.json).ok()
}

impl Graph {
    /// Whether an object leads to the node. Allocates nothing.
    #[must_use]
    pub fn reaches(&self, node: &str, target: Target, namespace: &str, name: &str) -> bool {
        match target {
            Target::Volume => self.volume_reaches(node, name),
            Target::Secret => {
                let volumes = self.by_secret.get(namespace).and_then(|names| names.get(name));
                self.leads(node, target, namespace, name)
                    || volumes.into_iter().flatten().any(|volume| self.volume_reaches(node, volume))
            }
            _ => self.leads(node, target, namespace, name),
        }
    }

    /// Whether an Ingress names the secret.
    #[must_use]
    pub fn is_served(&self, namespace: &str, name: &str) -> bool {
        self.served.get(namespace).is_some_and(|names| names.contains_key(name))
    }

    fn leads(&self, node: &str, target: Target, namespace: &str, name: &str) -> bool {
        let nodes = self.direct.get(&target).and_then(|all| all.get(namespace)).and_then(|names| names.get(name));
        nodes.is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_reaches(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|volume| self.leads(node, Target::Claim, &volume.claim.0, &volume.claim.1))
    }

    fn pod(&mut self, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>) {
        let node = |seen: Option<Seen<'_>>| seen.and_then(|s| s.field("spec.nodeName")).unwrap_or_default().to_owned();
        let (old, new) = (node(before), node(after));
        let both = before.is_some() && after.is_some();
        // The parts of a bound pod that name others never change, but for the claims in its status.
        let claims = |seen: Option<Seen<'_>>| seen.is_some_and(|s| mentions(s.json, b"esourceClaimStatus"));
        if old == new && (old.is_empty() || (both && !claims(before) && !claims(after))) {
            return;
        }
        if let Some(pod) = parse(before).filter(|_| !old.is_empty()) {
            references::of_pod(&pod).iter().for_each(|reference| self.cut(reference, &old));
        }
        if let Some(pod) = parse(after).filter(|_| !new.is_empty()) {
            references::of_pod(&pod).into_iter().for_each(|reference| self.tie(reference, &new));
        }
        debug_assert!(!key.namespace.is_empty());
    }

    /// An object that names its node.
    fn bound(&mut self, target: Target, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>, at: &str) {
        let node = |seen| {
            let object = parse(seen)?;
            Some(object.pointer(at)?.as_str()?.to_owned())
        };
        let reference = Reference { target, namespace: String::new(), name: key.name.to_string() };
        if let Some(old) = node(before) {
            self.cut(&reference, &old);
        }
        if let Some(new) = node(after) {
            self.tie(reference, &new);
        }
    }

    fn tie(&mut self, reference: Reference, node: &str) {
        let nodes = entry(self.direct.entry(reference.target).or_default(), reference.namespace, reference.name);
        *nodes.entry(node.into()).or_default() += 1;
    }

    fn cut(&mut self, reference: &Reference, node: &str) {
        let Some(all) = self.direct.get_mut(&reference.target) else { return };
        change(all, &reference.namespace, &reference.name, |nodes| {
            drop_one(nodes, node);
            nodes.is_empty()
        });
    }

    fn volume(&mut self, name: &str, after: Option<Seen<'_>>) {
        if let Some(gone) = self.volumes.remove(name) {
            for (namespace, secret) in &gone.secrets {
                change(&mut self.by_secret, namespace, secret, |volumes| {
                    volumes.remove(name);
                    volumes.is_empty()
                });
            }
        }
        let Some(volume) = parse(after) else { return };
        let (claim, secrets) = references::of_volume_object(&volume);
        if claim.1.is_empty() {
            return;
        }
        for (namespace, secret) in &secrets {
            entry(&mut self.by_secret, namespace.clone(), secret.clone()).insert(name.into());
        }
        self.volumes.insert(name.into(), Volume { claim, secrets });
    }

    fn ingress(&mut self, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>) {
        let (before, after) = (parse(before), parse(after));
        for secret in before.iter().flat_map(references::of_ingress) {
            change(&mut self.served, &key.namespace, secret, |count| {
                *count -= 1;
                *count == 0
            });
        }
        for secret in after.iter().flat_map(references::of_ingress) {
            *entry(&mut self.served, key.namespace.to_string(), secret.to_owned()) += 1;
        }
    }
}

/// Whether the bytes contain a word.
fn mentions(bytes: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(bytes, word).is_some()
}

fn entry<T: Default>(all: &mut ByName<T>, namespace: String, name: String) -> &mut T {
    all.entry(namespace.into()).or_default().entry(name.into()).or_default()
}

/// Changes what is there; it goes where `is_over` then says so, and an empty namespace with it.
fn change<T>(all: &mut ByName<T>, namespace: &str, name: &str, is_over: impl FnOnce(&mut T) -> bool) {
    let Some(names) = all.get_mut(namespace) else { return };
    if names.get_mut(name).is_some_and(is_over) {
        names.remove(name);
    }
    if names.is_empty() {
        all.remove(namespace);
    }
}

fn drop_one<K: Hash + Eq + std::borrow::Borrow<str>>(counts: &mut HashMap<K, u32>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_types::ResourceId;
    use knarr_types::tree::json;

    use super::*;

    fn change_of(graph: &mut Graph, resource: &str, name: &str, before: Option<&Value>, after: Option<&Value>) {
        let namespace = if ["pods", "ingresses"].contains(&resource) { "n" } else { "" };
        let key = Key::new(ResourceId::new("", resource), namespace, name);
        let states = [before, after].map(|state| {
            state.map(|object| {
                let node: Arc<str> = object["spec"]["nodeName"].as_str().unwrap_or_default().into();
                (object.to_string().into_bytes(), vec![(Arc::<str>::from("spec.nodeName"), node)])
            })
        });
        let [before, after] =
            states.each_ref().map(|s| s.as_ref().map(|(json, fields)| Seen { json, fields: fields.as_slice() }));
        graph.apply(&key, before, after);
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "n"},
            "spec": {
                "nodeName": node, "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
                "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "env"}}}]}],
                "volumes": [
                    {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "e", "ephemeral": {}},
                    {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
                ],
            },
        })
    }

    #[test]
    fn what_a_pod_names_leads_to_its_node_while_it_is_there() {
        let mut graph = Graph::default();
        let named = [
            (Target::Pod, "a"),
            (Target::Account, "sa"),
            (Target::Secret, "pull"),
            (Target::Secret, "projected"),
            (Target::ConfigMap, "env"),
            (Target::Claim, "claim"),
            (Target::Claim, "a-e"),
        ];
        let (unbound, bound) = (pod("a", ""), pod("a", "x"));
        change_of(&mut graph, "pods", "a", None, Some(&unbound));
        assert!(named.iter().all(|(target, name)| !graph.reaches("x", *target, "n", name)));
        change_of(&mut graph, "pods", "a", Some(&unbound), Some(&bound));
        for (target, name) in named {
            assert!(graph.reaches("x", target, "n", name), "{target:?} {name}");
            assert!(!graph.reaches("y", target, "n", name) && !graph.reaches("x", target, "m", name));
        }
        let second = pod("b", "x");
        change_of(&mut graph, "pods", "b", None, Some(&second));
        change_of(&mut graph, "pods", "a", Some(&bound), None);
        assert!(graph.reaches("x", Target::Secret, "n", "pull") && !graph.reaches("x", Target::Claim, "n", "a-e"));
        change_of(&mut graph, "pods", "b", Some(&second), None);
        assert!(graph.direct.values().all(HashMap::is_empty));
    }

    #[test]
    fn a_claim_leads_on_to_its_volume_and_that_to_its_secrets() {
        let mut graph = Graph::default();
        change_of(&mut graph, "pods", "a", None, Some(&pod("a", "x")));
        let volume = json!({"spec": {
            "claimRef": {"namespace": "n", "name": "claim"},
            "csi": {"nodeStageSecretRef": {"namespace": "s", "name": "stage"}, "controllerPublishSecretRef": {"name": "no"}},
        }});
        change_of(&mut graph, "persistentvolumes", "v", None, Some(&volume));
        assert!(graph.reaches("x", Target::Volume, "", "v") && graph.reaches("x", Target::Secret, "s", "stage"));
        assert!(!graph.reaches("y", Target::Secret, "s", "stage") && !graph.reaches("x", Target::Secret, "n", "no"));
        change_of(&mut graph, "persistentvolumes", "v", Some(&volume), None);
        assert!(!graph.reaches("x", Target::Volume, "", "v") && graph.by_secret.is_empty());
    }

    #[test]
    fn secrets_of_ingresses_are_served() {
        let mut graph = Graph::default();
        let ingress = json!({"spec": {"tls": [{"secretName": "cert"}]}});
        change_of(&mut graph, "ingresses", "i", None, Some(&ingress));
        assert!(graph.is_served("n", "cert"));
        change_of(&mut graph, "ingresses", "i", Some(&ingress), None);
        assert!(!graph.is_served("n", "cert") && graph.served.is_empty());
    }
}
