// SPDX-License-Identifier: Apache-2.0
//! DaemonSets and StatefulSets.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::page::{Page, date};
use super::{pod, selector, workload};

pub(super) fn daemon_set(set: &DaemonSet, pods: &[Pod]) -> Page {
    let (meta, spec) = (&set.metadata, set.spec.clone().unwrap_or_default());
    let status = set.status.clone().unwrap_or_default();
    let mut page = Page::of(meta);
    page.field(0, "Selector", selector(Some(&spec.selector)));
    let nodes = spec.template.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    page.pairs("Node-Selector", nodes);
    page.labels_and_annotations(meta);
    for (title, number) in [
        ("Desired Number of Nodes Scheduled", status.desired_number_scheduled),
        ("Current Number of Nodes Scheduled", status.current_number_scheduled),
        ("Number of Nodes Scheduled with Up-to-date Pods", status.updated_number_scheduled.unwrap_or_default()),
        ("Number of Nodes Scheduled with Available Pods", status.number_available.unwrap_or_default()),
        ("Number of Nodes Misscheduled", status.number_misscheduled),
    ] {
        page.line(0, format_args!("{title}: {number}"));
    }
    page.field(0, "Pods Status", workload::phases(pods));
    pod::template(&mut page, &spec.template);
    page
}

pub(super) fn stateful_set(set: &StatefulSet, pods: &[Pod]) -> Page {
    let (meta, spec) = (&set.metadata, set.spec.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.field(0, "CreationTimestamp", date(meta.creation_timestamp.as_ref().map(|time| time.0)));
    page.field(0, "Selector", selector(Some(&spec.selector)));
    page.labels_and_annotations(meta);
    let made = set.status.as_ref().map_or(0, |status| status.replicas);
    page.field(0, "Replicas", format_args!("{} desired | {made} total", spec.replicas.unwrap_or_default()));
    let strategy = spec.update_strategy.unwrap_or_default();
    page.field(0, "Update Strategy", strategy.type_.as_deref().unwrap_or_default());
    if let Some(rolling) = strategy.rolling_update {
        page.some(1, "Partition", rolling.partition.as_ref());
        let most = rolling.max_unavailable.map(|most| serde_json::json!(most).to_string().replace('"', ""));
        page.some(1, "MaxUnavailable", most.as_ref());
    }
    page.field(0, "Pods Status", workload::phases(pods));
    pod::template(&mut page, &spec.template);
    claims(&mut page, &spec.volume_claim_templates.unwrap_or_default());
    page
}

fn claims(page: &mut Page, claims: &[PersistentVolumeClaim]) {
    if claims.is_empty() {
        page.field(0, "Volume Claims", "<none>");
        return;
    }
    page.line(0, "Volume Claims:");
    for claim in claims {
        let spec = claim.spec.clone().unwrap_or_default();
        page.field(1, "Name", claim.metadata.name.as_deref().unwrap_or_default());
        page.field(1, "StorageClass", spec.storage_class_name.as_deref().unwrap_or_default());
        page.pairs_at(1, "Labels", claim.metadata.labels.as_ref());
        page.pairs_at(1, "Annotations", claim.metadata.annotations.as_ref());
        let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
        match requests.get("storage") {
            Some(size) => page.field(1, "Capacity", &size.0),
            None => page.field(1, "Capacity", "<default>"),
        }
        page.field(1, "Access Modes", format_args!("[{}]", spec.access_modes.unwrap_or_default().join(" ")));
    }
}
