// SPDX-License-Identifier: Apache-2.0

//! Fixtures: stores, drafts and writers in one line each.

#![allow(dead_code, reason = "each test binary uses its part of the fixtures")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_store::{
    Applied, Author, Change, KeyRing, Options, Precondition, Proposal, ProposeError, Record, ResourceOptions, Store,
    Tier, WriteContext,
};
use knarr_store::{Draft, Lane};
use knarr_types::{Key, ResourceId, Revision};
use object_store::ObjectStore;

pub fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

pub fn events() -> ResourceId {
    ResourceId::new("", "events")
}

pub fn leases() -> ResourceId {
    ResourceId::new("coordination.k8s.io", "leases")
}

pub fn pod(name: &str) -> Key {
    Key::new(pods(), "default", name)
}

/// The resources of the tests: pods by node, leases (nodes' in memory), events.
pub fn resources() -> Vec<ResourceOptions> {
    let mut lease = ResourceOptions::new(leases(), "coordination.k8s.io/v1");
    lease.tier = |key| if &*key.namespace == "kube-node-lease" { Tier::Memory } else { Tier::Durable };
    lease.history = false;
    let mut event = ResourceOptions::new(events(), "v1");
    event.volatile = true;
    event.history = false;
    event.expire_after = Some(Duration::from_secs(3600));
    vec![ResourceOptions::new(pods(), "v1").indexed_by("spec.nodeName"), lease, event]
}

pub fn options(objects: &Arc<dyn ObjectStore>, keys: &KeyRing) -> Options {
    Options { resources: resources(), ..Options::objects(Arc::clone(objects), keys.clone()) }
}

pub fn draft(name: &str, text: &str) -> Draft {
    draft_on(name, text, "")
}

/// A draft of an object on a node.
pub fn draft_on(name: &str, text: &str, node: &str) -> Draft {
    let json = Bytes::from(format!(r#"{{"metadata":{{"name":"{name}"}},"text":"{text}"}}"#));
    let fields = Box::new([(Arc::from("spec.nodeName"), Arc::from(node))]);
    Draft { json, revision_at: 13, labels: Box::new([("text".into(), text.into())]), fields }
}

pub fn json(name: &str, text: &str, revision: Revision) -> String {
    format!(r#"{{"metadata":{{"resourceVersion":"{revision}","name":"{name}"}},"text":"{text}"}}"#)
}

/// What a fixture object says.
pub fn text(record: &Record) -> String {
    record.label("text").map(|text| text.to_string()).unwrap_or_default()
}

pub fn context() -> WriteContext {
    let author = Author { user: "tester".into(), manager: "tests".into(), verb: "update".into() };
    WriteContext { lane: Lane::Normal, ..WriteContext::new(author, Duration::from_secs(30)) }
}

pub async fn propose(
    store: &Store,
    preconditions: Vec<Precondition>,
    changes: Vec<Change>,
) -> Result<Vec<Applied>, ProposeError> {
    let proposal = Proposal { preconditions, changes, based_on: None, context: context() };
    store.propose(proposal).await.map(|committed| committed.applied)
}

pub async fn create(store: &Store, key: &Key, text: &str) -> Result<Applied, ProposeError> {
    let change = Change::Put(key.clone(), draft(&key.name, text));
    propose(store, vec![Precondition::Absent(key.clone())], vec![change]).await.map(first)
}

pub async fn put(store: &Store, key: &Key, text: &str) -> Result<Applied, ProposeError> {
    propose(store, vec![], vec![Change::Put(key.clone(), draft(&key.name, text))]).await.map(first)
}

pub async fn delete(store: &Store, key: &Key) -> Result<Applied, ProposeError> {
    propose(store, vec![], vec![Change::Delete(key.clone())]).await.map(first)
}

fn first(applied: Vec<Applied>) -> Applied {
    applied.into_iter().next().expect("one change was proposed")
}
