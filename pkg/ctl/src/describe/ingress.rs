// SPDX-License-Identifier: Apache-2.0
//! Ingresses, each backend with the endpoints behind it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressServiceBackend};
use kube::api::Api;

use super::page::Page;
use super::service::{endpoints, slices};
use crate::session::Session;

/// What is said of the endpoints of a backend, by Service and port.
pub(super) type Behind = BTreeMap<(String, String), String>;

/// Asks for what is behind all backends; what cannot be had is said in its place.
pub(super) async fn behind(session: &Session, ingress: &Ingress) -> Behind {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let mut behind = Behind::new();
    for backend in backends(ingress).iter().filter_map(|backend| backend.service.as_ref()) {
        let key = (backend.name.clone(), port(backend));
        if behind.contains_key(&key) {
            continue;
        }
        let said = match Api::<Service>::namespaced(session.client.clone(), namespace).get(&backend.name).await {
            Ok(service) => {
                let its = slices(session, namespace, &backend.name).await;
                its.map_or_else(
                    |error| format!("<error: {error}>"),
                    |its| endpoints(&its, &port_name(&service, backend)),
                )
            }
            Err(kube::Error::Api(status)) => format!("<error: {}>", status.message),
            Err(error) => format!("<error: {error}>"),
        };
        behind.insert(key, said);
    }
    behind
}

fn backends(ingress: &Ingress) -> Vec<&IngressBackend> {
    let spec = ingress.spec.as_ref();
    let rules = spec.into_iter().flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    spec.and_then(|spec| spec.default_backend.as_ref()).into_iter().chain(paths.map(|path| &path.backend)).collect()
}

/// The port as the Ingress names it.
fn port(backend: &IngressServiceBackend) -> String {
    let port = backend.port.clone().unwrap_or_default();
    match port.number {
        Some(number) if number != 0 => number.to_string(),
        _ => port.name.unwrap_or_default(),
    }
}

/// The Service's name of that port.
fn port_name(service: &Service, backend: &IngressServiceBackend) -> String {
    let wanted = port(backend);
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut named = ports.filter(|it| it.port.to_string() == wanted || it.name.as_ref() == Some(&wanted));
    named.next().and_then(|it| it.name.clone()).unwrap_or_default()
}

pub(super) fn page(ingress: &Ingress, behind: &Behind) -> Page {
    let (meta, spec) = (&ingress.metadata, ingress.spec.clone().unwrap_or_default());
    let mut page = Page::default();
    page.field(0, "Name", meta.name.as_deref().unwrap_or_default());
    page.labels("Labels", meta.labels.as_ref());
    page.field(0, "Namespace", meta.namespace.as_deref().unwrap_or_default());
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let addresses: BTreeSet<String> = entries.filter_map(|entry| entry.ip.clone().or(entry.hostname.clone())).collect();
    page.field(0, "Address", addresses.into_iter().collect::<Vec<_>>().join(","));
    page.field(0, "Ingress Class", spec.ingress_class_name.as_deref().unwrap_or("<none>"));
    let default = spec.default_backend.as_ref().map_or("<default>".to_owned(), |it| backend(it, behind));
    page.field(0, "Default backend", &default);
    let tls = spec.tls.unwrap_or_default();
    if !tls.is_empty() {
        page.line(0, "TLS:");
    }
    for tls in tls {
        let hosts = tls.hosts.unwrap_or_default().join(",");
        match tls.secret_name.filter(|name| !name.is_empty()) {
            Some(secret) => page.line(1, format_args!("{secret} terminates {hosts}")),
            None => page.line(1, format_args!("SNI routes {hosts}")),
        }
    }
    page.line(0, "Rules:");
    page.headings(1, &["Host", "Path", "Backends"]);
    let mut some = false;
    for (rule, http) in spec.rules.iter().flatten().filter_map(|rule| Some((rule, rule.http.as_ref()?))) {
        some = true;
        let host = rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("*");
        page.line(1, format_args!("{host}\t"));
        for path in &http.paths {
            let to = backend(&path.backend, behind);
            page.line(2, format_args!("\t{} \t{to}", path.path.as_deref().unwrap_or_default()));
        }
    }
    if !some {
        page.line(1, format_args!("*\t*\t{default}"));
    }
    page.annotations("Annotations", meta.annotations.as_ref());
    page
}

fn backend(backend: &IngressBackend, behind: &Behind) -> String {
    if let Some(service) = &backend.service {
        let port = port(service);
        let key = (service.name.clone(), port.clone());
        return format!("{}:{port} ({})", service.name, behind.get(&key).map_or("<none>", String::as_str));
    }
    backend.resource.as_ref().map_or(String::new(), |resource| {
        let group = resource.api_group.as_deref().unwrap_or("<none>");
        format!("APIGroup: {group}, Kind: {}, Name: {}", resource.kind, resource.name)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_stand_below_their_host() {
        let to = |port: serde_json::Value| json!({"service": {"name": "web", "port": port}});
        let ingress = json!({
            "metadata": {"name": "i", "namespace": "n"},
            "spec": {
                "tls": [{"hosts": ["a.test", "b.test"], "secretName": "s"}, {"hosts": ["c.test"]}],
                "rules": [
                    {"host": "a.test", "http": {"paths": [{"path": "/x", "pathType": "Prefix", "backend": to(json!({"number": 80}))}]}},
                    {"http": {"paths": [{"pathType": "Prefix", "backend": to(json!({"name": "http"}))}]}},
                ],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}]}},
        });
        let behind = Behind::from([(("web".to_owned(), "80".to_owned()), "10.0.0.1:8080".to_owned())]);
        let text = page(&serde_json::from_value(ingress).unwrap(), &behind).finish();
        for want in [
            "Address:          192.0.2.1,192.0.2.2\n",
            "TLS:\n  s terminates a.test,b.test\n  SNI routes c.test\n",
            "  a.test      \n              /x   web:80 (10.0.0.1:8080)\n",
            "  *           \n                 web:http (<none>)\n",
        ] {
            assert!(text.contains(want), "{want:?} in\n{text}");
        }
    }
}
