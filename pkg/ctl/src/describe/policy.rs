// SPDX-License-Identifier: Apache-2.0
//! NetworkPolicies.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::page::{Page, go_date};
use super::selector;

pub(super) fn page(policy: &NetworkPolicy) -> Page {
    let (meta, spec) = (&policy.metadata, policy.spec.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.field(0, "Created on", go_date(meta.creation_timestamp.as_ref().map(|time| time.0)));
    page.labels_and_annotations(meta);
    page.line(0, "Spec:");
    let pods = spec.pod_selector.unwrap_or_default();
    let of_all =
        pods.match_labels.iter().flatten().next().is_none() && pods.match_expressions.iter().flatten().next().is_none();
    let whom = if of_all {
        "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned()
    } else {
        selector(Some(&pods))
    };
    page.line(1, format_args!("PodSelector:     {whom}"));
    let types = spec.policy_types.unwrap_or_default();
    let ingress: Vec<_> = spec.ingress.unwrap_or_default().into_iter().map(|rule| (rule.ports, rule.from)).collect();
    let egress: Vec<_> = spec.egress.unwrap_or_default().into_iter().map(|rule| (rule.ports, rule.to)).collect();
    for (type_, traffic, peers, source, rules) in
        [("Ingress", "ingress", "From", "source", &ingress), ("Egress", "egress", "To", "destination", &egress)]
    {
        if !types.iter().any(|it| it == type_) {
            page.line(1, format_args!("Not affecting {traffic} traffic"));
            continue;
        }
        page.line(1, format_args!("Allowing {traffic} traffic:"));
        if rules.is_empty() {
            page.line(2, format_args!("<none> (Selected pods are isolated for {traffic} connectivity)"));
        }
        for (i, (ports, those)) in rules.iter().enumerate() {
            if i > 0 {
                page.line(2, "----------");
            }
            add_ports(&mut page, ports.as_deref().unwrap_or_default());
            add_peers(&mut page, peers, source, those.as_deref().unwrap_or_default());
        }
    }
    page.line(1, format_args!("Policy Types: {}", types.join(", ")));
    page
}

fn add_ports(page: &mut Page, ports: &[NetworkPolicyPort]) {
    if ports.is_empty() {
        page.line(2, "To Port: <any> (traffic allowed to all ports)");
    }
    for port in ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let first = match &port.port {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(name)) => name.clone(),
            None => "<nil>".to_owned(),
        };
        match port.end_port {
            Some(last) => page.line(2, format_args!("To Port Range: {first}-{last}/{protocol}")),
            None => page.line(2, format_args!("To Port: {first}/{protocol}")),
        }
    }
}

fn add_peers(page: &mut Page, title: &str, source: &str, peers: &[NetworkPolicyPeer]) {
    if peers.is_empty() {
        page.line(2, format_args!("{title}: <any> (traffic not restricted by {source})"));
    }
    for peer in peers {
        page.line(2, format_args!("{title}:"));
        if let Some(namespaces) = &peer.namespace_selector {
            page.line(3, format_args!("NamespaceSelector: {}", selector(Some(namespaces))));
        }
        if let Some(pods) = &peer.pod_selector {
            page.line(3, format_args!("PodSelector: {}", selector(Some(pods))));
        }
        if let Some(block) = &peer.ip_block {
            page.line(3, "IPBlock:");
            page.line(4, format_args!("CIDR: {}", block.cidr));
            page.line(4, format_args!("Except: {}", block.except.clone().unwrap_or_default().join(", ")));
        }
    }
}
