// SPDX-License-Identifier: Apache-2.0
//! A Node, with what runs on it.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod, Taint};
use kube::api::{Api, ListParams};

use super::amounts::{Amounts, Which, add, get, of_pod, parse};
use super::page::{Page, date, since};
use crate::error::CtlError;
use crate::session::Session;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

/// What is shown besides the object itself.
pub(super) struct Around {
    /// Its heartbeat, or why there is none.
    pub lease: Result<Lease, String>,
    /// Its pods that are not done; none where the user may not see them.
    pub pods: Option<Vec<Pod>>,
}

/// Asks for what is around a node.
pub(super) async fn around(session: &Session, name: &str) -> Result<Around, CtlError> {
    let leases = Api::<Lease>::namespaced(session.client.clone(), "kube-node-lease");
    let lease = leases.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    });
    let on_it = format!("spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed");
    let pods = Api::<Pod>::all(session.client.clone()).list(&ListParams::default().fields(&on_it)).await;
    let pods = match pods {
        Ok(list) => Some(list.items),
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Around { lease, pods })
}

pub(super) fn page(node: &Node, around: &Around) -> Page {
    let (meta, spec) = (&node.metadata, node.spec.clone().unwrap_or_default());
    let status = node.status.clone().unwrap_or_default();
    let mut page = Page::of(meta);
    let roles = roles(node);
    page.field(0, "Roles", if roles.is_empty() { "<none>" } else { &roles });
    page.labels_and_annotations(meta);
    page.field(0, "CreationTimestamp", date(meta.creation_timestamp.as_ref().map(|time| time.0)));
    let mut taints = spec.taints.clone().unwrap_or_default();
    taints.sort_by(|a, b| (&a.effect, &a.key).cmp(&(&b.effect, &b.key)));
    page.list("Taints", &taints.iter().map(taint).collect::<Vec<_>>());
    page.field(0, "Unschedulable", spec.unschedulable.unwrap_or_default());
    lease(&mut page, &around.lease);
    conditions(&mut page, &status);
    facts(&mut page, &status);
    page.some(0, "PodCIDR", spec.pod_cidr.as_ref());
    page.some(0, "PodCIDRs", spec.pod_cidrs.map(|ranges| ranges.join(",")).as_ref());
    page.some(0, "ProviderID", spec.provider_id.as_ref());
    match &around.pods {
        Some(pods) => {
            let allocatable = status.allocatable.filter(|all| !all.is_empty()).or(status.capacity);
            usage(&mut page, pods, &parse(allocatable.as_ref()));
        }
        None => page.field(0, "Pods", "not authorized"),
    }
    page
}

fn roles(node: &Node) -> String {
    let role = |(key, value): (&String, &String)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => Some(value.clone()),
        None => None,
    };
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<_> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn taint(taint: &Taint) -> String {
    let value = taint.value.as_deref().filter(|value| !value.is_empty());
    let value = value.map_or(String::new(), |value| format!("={value}"));
    format!("{}{value}:{}", taint.key, taint.effect)
}

fn lease(page: &mut Page, lease: &Result<Lease, String>) {
    let spec = match lease {
        Ok(lease) => lease.spec.clone().unwrap_or_default(),
        Err(why) => return page.field(0, "Lease", format_args!("Failed to get lease: {why}")),
    };
    let unset = || "<unset>".to_owned();
    page.line(0, "Lease:");
    page.field(1, "HolderIdentity", spec.holder_identity.unwrap_or_else(unset));
    page.field(1, "AcquireTime", spec.acquire_time.map_or_else(unset, |time| date(Some(time.0))));
    page.field(1, "RenewTime", spec.renew_time.map_or_else(unset, |time| date(Some(time.0))));
}

fn conditions(page: &mut Page, status: &NodeStatus) {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if conditions.is_empty() {
        return;
    }
    page.line(0, "Conditions:");
    page.headings(1, &["Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"]);
    for condition in conditions {
        let beat = date(condition.last_heartbeat_time.as_ref().map(|time| time.0));
        let change = date(condition.last_transition_time.as_ref().map(|time| time.0));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reason, message) = (text(&condition.reason), text(&condition.message));
        page.line(
            1,
            format_args!("{} \t{} \t{beat} \t{change} \t{reason} \t{message}", condition.type_, condition.status),
        );
    }
}

fn facts(page: &mut Page, status: &NodeStatus) {
    page.line(0, "Addresses:");
    status.addresses.iter().flatten().for_each(|address| page.field(1, &address.type_, &address.address));
    for (title, amounts) in [("Capacity", &status.capacity), ("Allocatable", &status.allocatable)] {
        let Some(amounts) = amounts.as_ref().filter(|amounts| !amounts.is_empty()) else { continue };
        page.line(0, format_args!("{title}:"));
        amounts.iter().for_each(|(name, amount)| page.field(1, name, &amount.0));
    }
    let info = status.node_info.clone().unwrap_or_default();
    page.line(0, "System Info:");
    for (title, value) in [
        ("Machine ID", info.machine_id),
        ("System UUID", info.system_uuid),
        ("Boot ID", info.boot_id),
        ("Kernel Version", info.kernel_version),
        ("OS Image", info.os_image),
        ("Operating System", info.operating_system),
        ("Architecture", info.architecture),
        ("Container Runtime Version", info.container_runtime_version),
        ("Kubelet Version", info.kubelet_version),
    ] {
        page.field(1, title, value);
    }
}

/// What the pods of the node ask for, each and together.
fn usage(page: &mut Page, pods: &[Pod], allocatable: &Amounts) {
    page.field(0, "Non-terminated Pods", format_args!("({} in total)", pods.len()));
    let titles = ["Namespace", "Name", "", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"];
    page.headings(1, &titles);
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let share =
        |amounts: &Amounts, name: &str| format!("{} ({}%)", get(amounts, name), percent(amounts, allocatable, name));
    for pod in pods {
        let (asks, may) = (of_pod(pod, Which::Requests), of_pod(pod, Which::Limits));
        let meta = &pod.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let (cpu, cpu_limit) = (share(&asks, "cpu"), share(&may, "cpu"));
        let (memory, memory_limit) = (share(&asks, "memory"), share(&may, "memory"));
        let age = since(meta.creation_timestamp.as_ref().map(|time| time.0));
        page.line(1, format_args!("{namespace}\t{name}\t\t{cpu}\t{cpu_limit}\t{memory}\t{memory_limit}\t{age}"));
        add(&mut requests, &asks);
        add(&mut limits, &may);
    }
    page.line(0, "Allocated resources:");
    page.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    page.headings(1, &["Resource", "Requests", "Limits"]);
    let huge = allocatable.keys().filter(|name| name.starts_with("hugepages-")).map(String::as_str);
    for name in ["cpu", "memory", "ephemeral-storage"].into_iter().chain(huge) {
        page.line(1, format_args!("{name}\t{}\t{}", share(&requests, name), share(&limits, name)));
    }
    let standard =
        |name: &str| ["cpu", "memory", "ephemeral-storage", "pods"].contains(&name) || name.starts_with("hugepages-");
    for name in allocatable.keys().filter(|name| !standard(name)) {
        page.line(1, format_args!("{name}\t{}\t{}", get(&requests, name), get(&limits, name)));
    }
}

/// Of what the node has, rounded down.
fn percent(amounts: &Amounts, of: &Amounts, name: &str) -> i128 {
    let all = get(of, name).nanos();
    if all == 0 { 0 } else { get(amounts, name).nanos().saturating_mul(100) / all }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_counted_up_against_what_the_node_has() {
        let pod = |name: &str| -> Pod {
            let resources = json!({"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
            let spec = json!({"containers": [{"name": "c", "resources": resources}]});
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})).unwrap()
        };
        let allocatable = json!({"cpu": "2", "memory": "1Gi", "pods": "110", "example.com/gpu": "1"});
        let node = json!({
            "metadata": {"name": "a", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "b"}},
            "spec": {"taints": [{"key": "z", "effect": "NoSchedule"}, {"key": "k", "value": "v", "effect": "NoExecute"}]},
            "status": {"allocatable": allocatable},
        });
        let around = Around { lease: Err("gone".to_owned()), pods: Some(vec![pod("one"), pod("two")]) };
        let text = page(&serde_json::from_value(node).unwrap(), &around).finish();
        for want in [
            "Roles:              b,worker\n",
            "Taints:             k=v:NoExecute\n                    z:NoSchedule\n",
            "Lease:              Failed to get lease: gone\n",
            "  n                           one     250m (12%)    0 (0%)      64Mi (6%)        128Mi (12%)    <unknown>\n",
            "  cpu                500m (25%)   0 (0%)\n",
            "  memory             128Mi (12%)  256Mi (25%)\n",
            "  ephemeral-storage  0 (0%)       0 (0%)\n",
            "  example.com/gpu    0            0\n",
        ] {
            assert!(text.contains(want), "{want:?} in\n{text}");
        }
    }
}
