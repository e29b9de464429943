// SPDX-License-Identifier: Apache-2.0
//! What the node itself knows: its pods and its settings.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::context::Context;

/// `GET /pods`: the pods of this node as the node last saw them.
pub async fn pods(State(context): State<Arc<Context>>) -> Response {
    let views: Vec<_> = context.pods.read().values().cloned().collect();
    let items: Vec<Value> = views.iter().map(|view| json!(*view.pod())).collect();
    answer(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

/// `GET /configz`: those of a kubelet's settings that there are here.
pub async fn configuration(State(context): State<Arc<Context>>) -> Response {
    let max_pods = context.allocatable.get("pods").and_then(crate::resources::whole);
    let configuration = json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "clusterDomain": context.cluster.cluster_domain,
        "clusterDNS": [context.cluster.cluster_dns],
        "maxPods": max_pods,
        "containerLogMaxFiles": 5,
        "containerLogMaxSize": "10Mi",
    });
    answer(&json!({ "kubeletconfig": configuration }))
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
