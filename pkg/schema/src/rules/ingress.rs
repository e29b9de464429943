// SPDX-License-Identifier: Apache-2.0

//! Ingresses and their classes (`pkg/apis/networking/validation`).

use std::net::IpAddr;

use knarr_types::{ErrorList, FieldError, FieldPath, Shown, go_json};

use super::Rules;
use super::addresses;
use super::at::At;
use super::fill::{self, empty};
use super::judging::Judging;
use super::metadata;
use super::names;
use super::security::one_of;

pub(super) static INGRESS: Rules = Rules {
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    validate: |ingress| {
        let ingress = At::root(ingress);
        let mut errors = spec(&ingress.get("spec"));
        errors.extend(class_annotation(&ingress));
        errors
    },
    validate_update: |new, _, subresource| match subresource {
        "status" => addresses::load_balancer_status(&At::root(new).get("status.loadBalancer"), false),
        _ => spec(&At::root(new).get("spec")),
    },
    warns_of_updates: false,
    status_warnings: addresses::load_balancer_warnings,
    warnings: |ingress| {
        let annotated = ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
        let deprecated = annotated && ingress["spec"]["ingressClassName"].is_null();
        let message =
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        if deprecated { vec![message.to_owned()] } else { Vec::new() }
    },
    has_generation: true,
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

pub(super) static INGRESS_CLASS: Rules = Rules {
    default: |class| {
        if let Some(parameters) = fill::at(class, "spec.parameters") {
            empty(parameters, "scope", "Cluster");
        }
    },
    prepare_create: |class| fill::generation(class, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    validate: |class| ingress_class(&At::root(class).get("spec")),
    validate_update: |new, old, _| {
        let spec = At::root(new).get("spec");
        let mut errors: ErrorList =
            metadata::immutable(&spec.get("controller"), &At::root(old).get("spec.controller")).into_iter().collect();
        errors.extend(ingress_class(&spec));
        errors
    },
    has_generation: true,
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

fn class_annotation(ingress: &At<'_>) -> Option<FieldError> {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let annotation = ingress.raw("metadata.annotations").get(CLASS)?.as_str()?;
    let class = ingress.raw("spec.ingressClassName").as_str()?;
    let path = FieldPath::new("annotations").child(CLASS);
    let message = "must match `ingressClassName` when both are specified";
    (annotation != class).then(|| FieldError::invalid(&path, annotation, message))
}

fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let backend_at = spec.get("defaultBackend");
    if spec.len("rules") == 0 && !backend_at.is_set() {
        let message = "either `defaultBackend` or `rules` must be specified";
        errors.push(spec.invalid_as(Shown::Printed(go_json(spec.raw("rules").to_string())), message));
    }
    if backend_at.is_set() {
        errors.extend(backend(&backend_at));
    }
    for rule in spec.items("rules") {
        errors.extend(host(&rule.get("host")));
        let http = rule.get("http");
        if http.is_set() && http.len("paths") == 0 {
            errors.push(http.get("paths").required(""));
        }
        for path in http.items("paths") {
            errors.extend(http_path(&path));
        }
    }
    for tls in spec.items("tls") {
        for name in tls.items("hosts") {
            let check =
                if name.text().contains('*') { names::wildcard_dns1123_subdomain } else { names::dns1123_subdomain };
            errors.extend(name.faults(check(name.text())));
        }
        let secret = tls.get("secretName");
        if !secret.text().is_empty() {
            errors.extend(secret.faults(names::dns1123_subdomain(secret.text())));
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        errors.extend(class.faults(names::dns1123_subdomain(class.text())));
    }
    errors
}

fn host(host: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if host.text().is_empty() {
        return errors;
    }
    if host.text().parse::<IpAddr>().is_ok() {
        errors.push(host.invalid("must be a DNS name, not an IP address"));
    }
    let check = if host.text().contains('*') { names::wildcard_dns1123_subdomain } else { names::dns1123_subdomain };
    errors.extend(host.faults(check(host.text())));
    errors
}

fn http_path(rule: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, kind) = (rule.get("path"), rule.get("pathType"));
    let relative = !path.text().starts_with('/');
    match kind.text() {
        "" if !kind.is_set() => return vec![kind.required("pathType must be specified")],
        "Exact" | "Prefix" => {
            if relative {
                errors.push(path.invalid_as(path.text(), "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(part) {
                    errors.push(path.invalid(format!("must not contain '{part}'")));
                }
            }
            for end in ["/..", "/."] {
                if path.text().ends_with(end) {
                    errors.push(path.invalid(format!("cannot end with '{end}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if relative && !path.text().is_empty() {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
    errors.extend(backend(&rule.get("backend")));
    errors
}

fn backend(backend: &At<'_>) -> ErrorList {
    let service = backend.get("service");
    match (backend.has("resource"), service.is_set()) {
        (true, true) => return vec![backend.invalid_as("", "cannot set both resource and service backends")],
        (false, false) => return vec![backend.invalid_as("", "resource or service backend is required")],
        (true, false) => return typed_reference(&backend.get("resource")),
        (false, true) => {}
    }
    let mut errors = ErrorList::new();
    let name = service.get("name");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.faults(names::dns1123_label(name.text())));
    }
    let (port_name, number) = (service.get("port.name"), service.int("port.number"));
    match (port_name.text().is_empty(), number) {
        (false, 0) => errors.extend(port_name.faults(names::port_name(port_name.text()))),
        (false, _) => errors.push(backend.invalid_as("", "cannot set both port name & port number")),
        (true, 0) => errors.push(backend.required("port name or number is required")),
        (true, number) => errors.extend(service.get("port.number").faults(names::port_number(number))),
    }
    errors
}

fn ingress_class(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let controller = spec.get("controller");
    if controller.text().len() > 250 {
        errors.push(FieldError::too_long(&controller.path, 250));
    }
    errors.extend(domain_prefixed_path(&controller));
    errors.extend(parameters(&spec.get("parameters")));
    errors
}

/// `example.com/name`
pub fn domain_prefixed_path(path: &At<'_>) -> ErrorList {
    if path.text().is_empty() {
        return vec![path.required("")];
    }
    match path.text().split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            metadata::faults(&path.path, host, names::dns1123_subdomain(host))
        }
        _ => vec![path.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")")],
    }
}

/// What is wrong with a reference to an object of any kind.
fn typed_reference(reference: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let group = reference.get("apiGroup");
    if group.is_set() {
        errors.extend(group.faults(names::dns1123_subdomain(group.text())));
    }
    for field in ["kind", "name"] {
        let at = reference.get(field);
        if at.text().is_empty() {
            errors.push(at.required(""));
        } else {
            errors.extend(at.faults(names::path_segment_name(at.text(), false)));
        }
    }
    errors
}

fn parameters(parameters: &At<'_>) -> ErrorList {
    if !parameters.is_set() {
        return ErrorList::new();
    }
    let mut errors = typed_reference(parameters);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.text() {
        "Namespace" if !namespace.is_set() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => errors.extend(namespace.faults(names::dns1123_label(namespace.text()))),
        "Cluster" if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        _ => errors.extend(one_of(&scope, &["Cluster", "Namespace"])),
    }
    errors
}
