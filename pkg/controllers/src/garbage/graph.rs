// SPDX-License-Identifier: Apache-2.0
//! Who owns whom, and what follows from it. Pure.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_types::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};

/// Where an object is: the index of its resource in the collector's list, its namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which resource.
    pub resource: usize,
    /// `""` for objects of the cluster.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// What the graph keeps of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Where it is.
    pub place: Place,
    /// Its `ownerReferences`.
    pub owners: Vec<OwnerReference>,
    /// It is being deleted.
    pub deleting: bool,
    /// It is deleted after what blocks it: finalizer `foregroundDeletion`.
    pub foreground: bool,
    /// It leaves its dependents behind: finalizer `orphan`.
    pub orphan: bool,
}

impl Node {
    /// From an object's metadata.
    #[must_use]
    pub fn of(place: Place, meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|f| f == name);
        let deleting = meta.deletion_timestamp.is_some();
        Self {
            place,
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting,
            foreground: deleting && has(FINALIZER_FOREGROUND),
            orphan: deleting && has(FINALIZER_ORPHAN),
        }
    }

    /// Nobody needs to look at it: it owns nothing that we know of, nobody owns it, nothing waits.
    fn is_plain(&self) -> bool {
        self.owners.is_empty() && !self.foreground && !self.orphan
    }
}

/// What is to be done about one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing.
    Leave,
    /// Its dependents (these uids) are to lose their reference to it, then it its finalizer `orphan`.
    Orphan(Vec<String>),
    /// These dependents (uids) are to be deleted; until they are gone it stays.
    DeleteDependents(Vec<String>),
    /// Nothing blocks it any more: its finalizer `foregroundDeletion` goes.
    Finish,
    /// Some of its owners are gone as far as the graph knows (these references): look, and delete it if
    /// none is left, or drop the references to the gone.
    CheckOwners(Vec<OwnerReference>),
}

/// All objects that own or are owned.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes in an object; gives the uids that have to be looked at.
    pub fn put(&mut self, uid: &str, node: Node) -> Vec<String> {
        let before = self.unlink(uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut affected = vec![uid.to_owned()];
        if before.as_ref().map(|b| &b.owners) != Some(&node.owners) {
            // Owners that wait for their dependents may have to wait for this one, or no longer.
            let owners = before.iter().flat_map(|b| &b.owners).chain(&node.owners);
            affected.extend(owners.filter(|o| self.waits(&o.uid)).map(|o| o.uid.clone()));
        }
        let plain = node.is_plain();
        self.nodes.insert(uid.to_owned(), node);
        if plain && before.is_none() { Vec::new() } else { affected }
    }

    /// Forgets an object; gives the uids that have to be looked at.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut affected: Vec<_> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if let Some(node) = self.unlink(uid) {
            affected.extend(node.owners.iter().filter(|o| self.waits(&o.uid)).map(|o| o.uid.clone()));
        }
        affected
    }

    /// The object.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// What is to be done about the object.
    #[must_use]
    pub fn decide(&self, uid: &str) -> Action {
        let Some(node) = self.nodes.get(uid) else { return Action::Leave };
        let dependents = || self.dependents.get(uid).into_iter().flatten();
        if node.orphan {
            return Action::Orphan(dependents().cloned().collect());
        }
        if node.foreground {
            let blocking = dependents().filter(|d| self.blocks(d, uid)).count();
            let open: Vec<_> =
                dependents().filter(|d| !self.nodes.get(*d).is_some_and(|n| n.deleting)).cloned().collect();
            return match (open.is_empty(), blocking) {
                (false, _) => Action::DeleteDependents(open),
                (true, 0) => Action::Finish,
                (true, _) => Action::Leave,
            };
        }
        if node.deleting || node.owners.is_empty() {
            return Action::Leave;
        }
        let waited_for = |o: &&OwnerReference| !self.nodes.contains_key(&o.uid);
        let gone: Vec<_> = node.owners.iter().filter(waited_for).cloned().collect();
        if gone.is_empty() { Action::Leave } else { Action::CheckOwners(gone) }
    }

    fn waits(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(|n| n.foreground)
    }

    fn blocks(&self, dependent: &str, owner: &str) -> bool {
        let node = self.nodes.get(dependent);
        node.is_some_and(|n| n.owners.iter().any(|o| o.uid == owner && o.block_owner_deletion == Some(true)))
    }

    fn unlink(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, owners: &[(&str, bool)], finalizer: Option<&str>) -> Node {
        let owner = |(uid, block): &(&str, bool)| OwnerReference {
            uid: (*uid).into(),
            block_owner_deletion: Some(*block),
            ..OwnerReference::default()
        };
        Node {
            place: Place { name: name.into(), ..Place::default() },
            owners: owners.iter().map(owner).collect(),
            deleting: finalizer.is_some(),
            foreground: finalizer == Some("foreground"),
            orphan: finalizer == Some("orphan"),
        }
    }

    #[test]
    fn a_dependent_is_checked_when_its_owner_goes() {
        let mut graph = Graph::default();
        graph.put("owner", node("o", &[], None));
        assert_eq!(graph.put("child", node("c", &[("owner", true)], None)), ["child"]);
        assert_eq!(graph.decide("child"), Action::Leave);
        assert_eq!(graph.remove("owner"), ["child"]);
        assert!(matches!(graph.decide("child"), Action::CheckOwners(gone) if gone[0].uid == "owner"));
    }

    #[test]
    fn foreground_deletion_waits_for_what_blocks() {
        let mut graph = Graph::default();
        graph.put("owner", node("o", &[], None));
        graph.put("child", node("c", &[("owner", true)], None));
        assert_eq!(graph.put("owner", node("o", &[], Some("foreground"))), ["owner"]);
        assert_eq!(graph.decide("owner"), Action::DeleteDependents(vec!["child".into()]));
        graph.put("child", node("c", &[("owner", true)], Some("")));
        assert_eq!(graph.decide("owner"), Action::Leave);
        assert_eq!(graph.remove("child"), ["owner"]);
        assert_eq!(graph.decide("owner"), Action::Finish);
    }

    #[test]
    fn orphans_lose_their_reference() {
        let mut graph = Graph::default();
        graph.put("child", node("c", &[("owner", false)], None));
        graph.put("owner", node("o", &[], Some("orphan")));
        assert_eq!(graph.decide("owner"), Action::Orphan(vec!["child".into()]));
        graph.put("child", node("c", &[], None));
        assert_eq!(graph.decide("owner"), Action::Orphan(vec![]));
    }

    #[test]
    fn objects_without_ties_cost_no_look() {
        let mut graph = Graph::default();
        assert_eq!(graph.put("plain", node("p", &[], None)), Vec::<String>::new());
    }
}
