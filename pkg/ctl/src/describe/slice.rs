// SPDX-License-Identifier: Apache-2.0
//! EndpointSlices.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::page::Page;

pub(super) fn page(slice: &EndpointSlice) -> Page {
    let meta = &slice.metadata;
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page.field(0, "AddressType", &slice.address_type);
    match slice.ports.as_deref().unwrap_or_default() {
        [] => page.field(0, "Ports", "<unset>"),
        ports => {
            page.line(0, "Ports:");
            page.headings(1, &["Name", "Port", "Protocol"]);
            for port in ports {
                let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
                let number = port.port.map_or("<unset>".to_owned(), |number| number.to_string());
                page.line(1, format_args!("{name}\t{number}\t{}", port.protocol.as_deref().unwrap_or_default()));
            }
        }
    }
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    if endpoints.is_empty() {
        page.line(0, "Endpoints: <none>");
    } else {
        page.line(0, "Endpoints:");
        endpoints.iter().for_each(|endpoint| add(&mut page, endpoint));
    }
    page
}

fn add(page: &mut Page, endpoint: &Endpoint) {
    let unset = |text: Option<&String>| text.map_or("<unset>", String::as_str).to_owned();
    page.line(1, format_args!("- Addresses:\t{}", endpoint.addresses.join(", ")));
    page.line(2, "Conditions:");
    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
    page.field(3, "Ready", ready.map_or("<unset>".to_owned(), |ready| ready.to_string()));
    page.field(2, "Hostname", unset(endpoint.hostname.as_ref()));
    if let Some(target) = &endpoint.target_ref {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        page.field(2, "TargetRef", format_args!("{}/{}", part(&target.kind), part(&target.name)));
    }
    page.field(2, "NodeName", unset(endpoint.node_name.as_ref()));
    page.field(2, "Zone", unset(endpoint.zone.as_ref()));
}
