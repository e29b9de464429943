// SPDX-License-Identifier: Apache-2.0
//! What the node and its pods use, in the form of upstream's summary.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use knarr_runtime::ContainerStats;
use serde_json::{Value, json};

use crate::context::Context;
use crate::machine::Figures;
use crate::pod::Moment;

/// `GET /stats/summary`
pub async fn summary(State(context): State<Arc<Context>>) -> Response {
    let views: Vec<_> = context.pods.read().values().cloned().collect();
    let mut pods = Vec::with_capacity(views.len());
    for view in views {
        let Ok(stats) = context.runtime.stats(&view.uid).await else { continue };
        let metadata = view.pod().metadata.clone();
        let containers: Vec<Value> = stats
            .containers
            .iter()
            .map(|(id, stats)| {
                let mut usage = usage(stats);
                usage["name"] = json!(id.name);
                usage
            })
            .collect();
        let mut pod = usage(&stats.total);
        pod["podRef"] = json!({ "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid });
        pod["containers"] = json!(containers);
        pods.push(pod);
    }
    let figures = Figures::read(&context.layout.root);
    let used = figures.memory_bytes.saturating_sub(figures.memory_available_bytes);
    let node = json!({
        "nodeName": context.node_name,
        "cpu": { "time": Moment::now().time(), "usageCoreNanoSeconds": cpu_nanoseconds() },
        "memory": {
            "time": Moment::now().time(),
            "availableBytes": figures.memory_available_bytes,
            "usageBytes": used,
            "workingSetBytes": used,
        },
        "fs": { "availableBytes": figures.disk_available_bytes, "capacityBytes": figures.disk_bytes },
    });
    let summary = json!({ "node": node, "pods": pods });
    ([(header::CONTENT_TYPE, "application/json")], summary.to_string()).into_response()
}

fn usage(stats: &ContainerStats) -> Value {
    let time = Moment::now().time();
    json!({
        "cpu": { "time": time, "usageCoreNanoSeconds": stats.cpu_ns },
        "memory": {
            "time": time,
            "usageBytes": stats.memory_bytes,
            "workingSetBytes": stats.working_set_bytes,
            "rssBytes": stats.rss_bytes,
        },
        "process_stats": { "process_count": stats.pids },
    })
}

/// CPU time of the whole host since its start, without what it was idle.
pub(super) fn cpu_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    let ticks: u64 =
        fields.iter().enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks).sum();
    // The kernel counts in hundredths of a second towards user space.
    ticks * 10_000_000
}
