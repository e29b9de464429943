// SPDX-License-Identifier: Apache-2.0
//! Decoders of the kinds that several crates read, made in this crate for all of them: a crate built for size takes
//! what a crate below has made already, and else each would bring its own copy of the same 100 KiB a kind.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ObjectList;
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;

/// Whether a text is an object of a kind, a list of such, or an event of a watch.
type Reads = fn(&str) -> bool;

/// By kind.
pub static DECODERS: [(&str, Reads); 9] = [
    ("ConfigMap", reads::<ConfigMap>),
    ("Deployment", reads::<Deployment>),
    ("EndpointSlice", reads::<EndpointSlice>),
    ("Event", reads::<Event>),
    ("Node", reads::<Node>),
    ("Pod", reads::<Pod>),
    ("ReplicaSet", reads::<ReplicaSet>),
    ("Secret", reads::<Secret>),
    ("Service", reads::<Service>),
];

fn reads<K: DeserializeOwned + Clone>(text: &str) -> bool {
    serde_json::from_str::<K>(text).is_ok()
        || serde_json::from_str::<ObjectList<K>>(text).is_ok()
        || serde_json::from_str::<WatchEvent<K>>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reads_its_kind_alone_in_a_list_and_in_a_watch() {
        for (kind, reads) in DECODERS {
            let (version, more) = match kind {
                "Deployment" | "ReplicaSet" => ("apps/v1", ""),
                "EndpointSlice" => ("discovery.k8s.io/v1", r#","addressType":"IPv4","endpoints":[]"#),
                "Event" => ("v1", r#","involvedObject":{}"#),
                _ => ("v1", ""),
            };
            let object = format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"name":"a"}}{more}}}"#);
            assert!(reads(&object), "{object}");
            assert!(reads(&format!(r#"{{"metadata":{{}},"items":[{object}]}}"#)), "a list of {kind}");
            assert!(reads(&format!(r#"{{"type":"ADDED","object":{object}}}"#)), "a watch of {kind}");
            assert!(!reads("[]"), "{kind}");
        }
    }
}
