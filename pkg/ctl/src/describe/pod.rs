// SPDX-License-Identifier: Apache-2.0
//! A Pod; and the templates of pods that other kinds hold.

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, PodStatus, PodTemplateSpec, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::page::{Page, date, since};
use super::{containers, selector, volumes};

/// Where a section stands: on a pod's own page, or below the template that holds it.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// On the page of this pod.
    Pod(&'a ObjectMeta),
    /// In a template.
    Template,
}

impl Place<'_> {
    fn is_template(self) -> bool {
        matches!(self, Self::Template)
    }

    /// What stands before titles.
    pub fn indent(self) -> &'static str {
        if self.is_template() { "  " } else { "" }
    }

    /// What stands before the names of containers and volumes, besides the depth.
    pub fn name_indent(self) -> &'static str {
        if self.is_template() { " " } else { "" }
    }
}

pub(super) fn page(pod: &Pod) -> Page {
    let (meta, spec) = (&pod.metadata, pod.spec.clone().unwrap_or_default());
    let status = pod.status.clone().unwrap_or_default();
    let place = Place::Pod(meta);
    let mut page = Page::default();
    head(&mut page, meta, &spec, &status);
    state(&mut page, meta, &spec, &status);
    if let Some(resources) = &spec.resources {
        page.line(0, "Resources:");
        containers::resources(&mut page, 1, resources);
    }
    let init = spec.init_containers.clone().unwrap_or_default();
    if !init.is_empty() {
        let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        containers::section(&mut page, "Init Containers", &init, statuses, place);
    }
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    containers::section(&mut page, "Containers", &spec.containers, statuses, place);
    let ephemeral = ephemeral(&spec);
    if !ephemeral.is_empty() {
        let statuses = status.ephemeral_container_statuses.as_deref().unwrap_or_default();
        containers::section(&mut page, "Ephemeral Containers", &ephemeral, statuses, place);
    }
    conditions(&mut page, &spec, &status);
    volumes::section(&mut page, spec.volumes.as_deref().unwrap_or_default(), place);
    page.field(0, "QoS Class", status.qos_class.as_deref().unwrap_or_default());
    placement(&mut page, &spec, place);
    page
}

fn head(page: &mut Page, meta: &ObjectMeta, spec: &PodSpec, status: &PodStatus) {
    page.field(0, "Name", meta.name.as_deref().unwrap_or_default());
    page.field(0, "Namespace", meta.namespace.as_deref().unwrap_or_default());
    page.some(0, "Priority", spec.priority.as_ref());
    page.some(0, "Priority Class Name", spec.priority_class_name.as_ref());
    page.some(0, "Runtime Class Name", spec.runtime_class_name.as_ref());
    page.some(0, "Service Account", spec.service_account_name.as_ref());
    match spec.node_name.as_deref() {
        None | Some("") => page.field(0, "Node", "<none>"),
        Some(node) => page.field(0, "Node", format_args!("{node}/{}", status.host_ip.as_deref().unwrap_or_default())),
    }
    if let Some(start) = &status.start_time {
        page.field(0, "Start Time", date(Some(start.0)));
    }
    page.labels_and_annotations(meta);
}

fn state(page: &mut Page, meta: &ObjectMeta, spec: &PodSpec, status: &PodStatus) {
    let phase = status.phase.as_deref().unwrap_or_default();
    match &meta.deletion_timestamp {
        Some(time) if phase != "Failed" && phase != "Succeeded" => {
            page.field(0, "Status", format_args!("Terminating (lasts {})", since(Some(time.0))));
            let grace = meta.deletion_grace_period_seconds.unwrap_or_default();
            page.field(0, "Termination Grace Period", format_args!("{grace}s"));
        }
        _ => page.field(0, "Status", phase),
    }
    page.some(0, "Reason", status.reason.as_ref());
    page.some(0, "Message", status.message.as_ref());
    if let Some(profile) = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref()) {
        page.field(0, "SeccompProfile", &profile.type_);
        page.some(0, "LocalhostProfile", profile.localhost_profile.as_ref());
    }
    page.field(0, "IP", status.pod_ip.as_deref().unwrap_or_default());
    match status.pod_ips.as_deref() {
        None | Some([]) => page.field(0, "IPs", "<none>"),
        Some(addresses) => {
            page.line(0, "IPs:");
            addresses.iter().for_each(|address| page.field(1, "IP", &address.ip));
        }
    }
    page.some(0, "Controlled By", super::controller(meta).as_ref());
    page.some(0, "NominatedNodeName", status.nominated_node_name.as_ref());
}

/// Ephemeral containers have the fields of others.
fn ephemeral(spec: &PodSpec) -> Vec<Container> {
    let containers = spec.ephemeral_containers.iter().flatten();
    containers.filter_map(|container| serde_json::from_value(json!(container)).ok()).collect()
}

fn conditions(page: &mut Page, spec: &PodSpec, status: &PodStatus) {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if !gates.is_empty() {
        page.line(0, "Readiness Gates:\n  Type\tStatus");
        for gate in gates {
            let found = conditions.iter().find(|condition| condition.type_ == gate.condition_type);
            page.line(1, format_args!("{} \t{} ", gate.condition_type, found.map_or("<none>", |found| &found.status)));
        }
    }
    if !conditions.is_empty() {
        page.line(0, "Conditions:\n  Type\tStatus");
        conditions
            .iter()
            .for_each(|condition| page.line(1, format_args!("{} \t{} ", condition.type_, condition.status)));
    }
}

/// Where it may run.
fn placement(page: &mut Page, spec: &PodSpec, place: Place<'_>) {
    let indent = place.indent();
    if place.is_template() {
        spread(page, spec.topology_spread_constraints.as_deref().unwrap_or_default(), indent);
        page.some(1, "Priority Class Name", spec.priority_class_name.as_ref());
    }
    page.labels(&format!("{indent}Node-Selectors"), spec.node_selector.as_ref());
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    tolerations.sort_by(|a, b| a.key.cmp(&b.key));
    page.list(&format!("{indent}Tolerations"), &tolerations.iter().map(toleration).collect::<Vec<_>>());
    if !place.is_template() {
        spread(page, spec.topology_spread_constraints.as_deref().unwrap_or_default(), indent);
    }
}

fn toleration(toleration: &Toleration) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, value, effect) = (part(&toleration.key), part(&toleration.value), part(&toleration.effect));
    let mut text = key;
    if !value.is_empty() {
        text.push_str(&format!("={value}"));
    }
    if !effect.is_empty() {
        text.push_str(&format!(":{effect}"));
    }
    if toleration.operator.as_deref() == Some("Exists") && value.is_empty() {
        text.push_str(if text.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = toleration.toleration_seconds {
        text.push_str(&format!(" for {seconds}s"));
    }
    text
}

fn spread(page: &mut Page, constraints: &[TopologySpreadConstraint], indent: &str) {
    if constraints.is_empty() {
        return;
    }
    let mut constraints: Vec<_> = constraints.iter().collect();
    constraints.sort_by_key(|constraint| &constraint.topology_key);
    let line = |constraint: &&TopologySpreadConstraint| {
        let of = constraint.label_selector.as_ref().map(|it| format!(" for selector {}", selector(Some(it))));
        let (key, how, skew) = (&constraint.topology_key, &constraint.when_unsatisfiable, constraint.max_skew);
        format!("{key}:{how} when max skew {skew} is exceeded{}", of.unwrap_or_default())
    };
    page.list(&format!("{indent}Topology Spread Constraints"), &constraints.iter().map(line).collect::<Vec<_>>());
}

/// The template of the pods of a Deployment, a ReplicaSet and so on.
pub(super) fn template(page: &mut Page, template: &PodTemplateSpec) {
    let (meta, spec) = (template.metadata.clone().unwrap_or_default(), template.spec.clone().unwrap_or_default());
    page.line(0, "Pod Template:");
    page.labels("  Labels", meta.labels.as_ref());
    if meta.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty()) {
        page.annotations("  Annotations", meta.annotations.as_ref());
    }
    page.some(1, "Service Account", spec.service_account_name.as_ref());
    let place = Place::Template;
    let init = spec.init_containers.clone().unwrap_or_default();
    if !init.is_empty() {
        containers::section(page, "Init Containers", &init, &[], place);
    }
    containers::section(page, "Containers", &spec.containers, &[], place);
    volumes::section(page, spec.volumes.as_deref().unwrap_or_default(), place);
    placement(page, &spec, place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_read_as_kubectl_writes_them() {
        for (given, want) in [
            (
                json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
                "a:NoExecute op=Exists for 300s",
            ),
            (json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}), "a=b:NoSchedule"),
            (json!({"operator": "Exists"}), "op=Exists"),
        ] {
            assert_eq!(toleration(&serde_json::from_value(given).unwrap()), want);
        }
    }
}
