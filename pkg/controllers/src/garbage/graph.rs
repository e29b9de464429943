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
    /// It stays until these dependents (uids) are gone: each is to be looked at.
    LookAt(Vec<String>),
    /// Nothing blocks it any more: its finalizer `foregroundDeletion` goes.
    Finish,
    /// Some of its owners are gone or going.
    Judge(Owners),
}

/// The owners of an object, as far as the graph knows them. Upstream's `classifyReferences`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owners {
    /// Not in the graph: gone, or not yet seen.
    pub unknown: Vec<OwnerReference>,
    /// Uids of those that wait for their dependents to go.
    pub waiting: Vec<String>,
    /// Uids of those that stay.
    pub solid: Vec<String>,
}

/// What becomes of an object that has lost owners.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It stays as it is.
    Stays,
    /// It stays and lets go of these owners (uids).
    LetsGo(Vec<String>),
    /// It goes as its own finalizers say.
    Goes,
    /// It goes after its dependents; `circle` when one of those waits for it in turn, so that its own references must
    /// not block their owners any more.
    GoesAfterDependents {
        /// Whether its dependents lead back to it.
        circle: bool,
    },
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
            affected.dedup();
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

    /// Forgets all objects of a resource that is no more; gives the uids that have to be looked at.
    pub fn remove_resource(&mut self, resource: usize) -> Vec<String> {
        let uids = self.nodes.iter().filter(|(_, node)| node.place.resource == resource).map(|(uid, _)| uid.clone());
        let uids: Vec<_> = uids.collect();
        uids.iter().flat_map(|uid| self.remove(uid)).collect()
    }

    /// The uids of what has an owner of this kind.
    #[must_use]
    pub fn owned_by_kind(&self, group: &str, kind: &str) -> Vec<String> {
        let of_kind = |owner: &OwnerReference| owner.kind == kind && group_of(&owner.api_version) == group;
        self.nodes.iter().filter(|(_, node)| node.owners.iter().any(of_kind)).map(|(uid, _)| uid.clone()).collect()
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
            let blocking: Vec<_> = dependents().filter(|d| self.blocks(d, uid)).collect();
            if blocking.is_empty() {
                return Action::Finish;
            }
            let open: Vec<_> = blocking.into_iter().filter(|d| !self.waits(d)).cloned().collect();
            return if open.is_empty() { Action::Leave } else { Action::LookAt(open) };
        }
        if node.deleting {
            return Action::Leave;
        }
        let mut owners = Owners::default();
        for owner in &node.owners {
            match self.nodes.get(&owner.uid) {
                None => owners.unknown.push(owner.clone()),
                Some(known) if known.foreground => owners.waiting.push(owner.uid.clone()),
                Some(_) => owners.solid.push(owner.uid.clone()),
            }
        }
        if owners.unknown.is_empty() && owners.waiting.is_empty() { Action::Leave } else { Action::Judge(owners) }
    }

    /// What becomes of the object, once it is known which of its unknown owners are gone (uids).
    #[must_use]
    pub fn fate(&self, uid: &str, owners: &Owners, gone: &[String]) -> Fate {
        let lost: Vec<_> = gone.iter().chain(&owners.waiting).cloned().collect();
        if lost.is_empty() {
            return Fate::Stays;
        }
        if !owners.solid.is_empty() || gone.len() < owners.unknown.len() {
            return Fate::LetsGo(lost);
        }
        match self.dependents.get(uid) {
            Some(dependents) if !owners.waiting.is_empty() => {
                Fate::GoesAfterDependents { circle: dependents.iter().any(|d| self.waits(d)) }
            }
            _ => Fate::Goes,
        }
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

/// The group of an `apiVersion`.
#[must_use]
pub fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
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

    fn judged(graph: &Graph, uid: &str) -> Owners {
        match graph.decide(uid) {
            Action::Judge(owners) => owners,
            other => panic!("{uid}: {other:?}"),
        }
    }

    #[test]
    fn a_dependent_is_checked_when_its_owner_goes() {
        let mut graph = Graph::default();
        graph.put("owner", node("o", &[], None));
        assert_eq!(graph.put("child", node("c", &[("owner", true)], None)), ["child"]);
        assert_eq!(graph.decide("child"), Action::Leave);
        assert_eq!(graph.remove("owner"), ["child"]);
        let owners = judged(&graph, "child");
        assert_eq!(owners.unknown[0].uid, "owner");
        assert_eq!(graph.fate("child", &owners, &["owner".into()]), Fate::Goes);
        assert_eq!(graph.fate("child", &owners, &[]), Fate::Stays, "the API knows it");
    }

    #[test]
    fn foreground_deletion_waits_for_what_blocks() {
        let mut graph = Graph::default();
        graph.put("owner", node("o", &[], None));
        graph.put("child", node("c", &[("owner", true)], None));
        graph.put("free", node("f", &[("owner", false)], None));
        assert_eq!(graph.put("owner", node("o", &[], Some("foreground"))), ["owner"]);
        assert_eq!(graph.decide("owner"), Action::LookAt(vec!["child".into()]), "what does not block goes afterwards");
        assert_eq!(graph.fate("child", &judged(&graph, "child"), &[]), Fate::Goes);
        graph.put("child", node("c", &[("owner", true)], Some("")));
        assert_eq!(graph.decide("child"), Action::Leave);
        assert_eq!(graph.remove("child"), ["owner"]);
        assert_eq!(graph.decide("owner"), Action::Finish);
    }

    #[test]
    fn what_another_owner_keeps_lets_go_of_the_one_that_goes() {
        let mut graph = Graph::default();
        graph.put("stays", node("s", &[], None));
        graph.put("goes", node("g", &[], Some("foreground")));
        graph.put("child", node("c", &[("stays", true), ("goes", true)], None));
        assert_eq!(graph.decide("goes"), Action::LookAt(vec!["child".into()]));
        assert_eq!(graph.fate("child", &judged(&graph, "child"), &[]), Fate::LetsGo(vec!["goes".into()]));
        assert_eq!(graph.put("child", node("c", &[("stays", true)], None)), ["child", "goes"]);
        assert_eq!(graph.decide("goes"), Action::Finish);
    }

    #[test]
    fn owners_in_a_circle_go() {
        let mut graph = Graph::default();
        graph.put("a", node("a", &[("c", true)], Some("foreground")));
        graph.put("b", node("b", &[("a", true)], None));
        graph.put("c", node("c", &[("b", true)], None));
        assert_eq!(graph.fate("b", &judged(&graph, "b"), &[]), Fate::GoesAfterDependents { circle: false });
        graph.put("b", node("b", &[("a", true)], Some("foreground")));
        assert_eq!(graph.decide("b"), Action::LookAt(vec!["c".into()]));
        assert_eq!(graph.fate("c", &judged(&graph, "c"), &[]), Fate::GoesAfterDependents { circle: true });
        assert_eq!(graph.put("c", node("c", &[("b", false)], Some("foreground"))), ["c", "b"]);
        assert_eq!((graph.decide("b"), graph.decide("c")), (Action::Finish, Action::Leave));
        assert_eq!(graph.remove("b"), ["c", "a"]);
        assert_eq!(graph.decide("a"), Action::Finish);
        assert_eq!(graph.remove("a"), ["c"]);
        assert_eq!(graph.decide("c"), Action::Finish);
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
    fn what_a_definition_made_goes_with_it() {
        let mut graph = Graph::default();
        let mut owner = node("o", &[], None);
        owner.place.resource = 7;
        graph.put("owner", owner);
        let mut child = node("c", &[("owner", true)], None);
        child.owners[0].kind = "Cert".into();
        child.owners[0].api_version = "example.com/v1".into();
        graph.put("child", child);
        assert_eq!(graph.owned_by_kind("example.com", "Cert"), ["child"]);
        assert!(graph.owned_by_kind("", "Cert").is_empty());
        assert_eq!(graph.remove_resource(7), ["child"]);
        assert!(graph.get("owner").is_none() && graph.get("child").is_some());
    }

    #[test]
    fn objects_without_ties_cost_no_look() {
        let mut graph = Graph::default();
        assert_eq!(graph.put("plain", node("p", &[], None)), Vec::<String>::new());
    }
}
