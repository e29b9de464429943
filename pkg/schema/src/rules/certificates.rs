// SPDX-License-Identifier: Apache-2.0

//! CertificateSigningRequests (`pkg/apis/certificates/validation`). What needs the request parsed is
//! judged only as far as its PEM block.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::{At, same};
use super::fill;
use super::metadata;
use super::names;

pub(super) static CERTIFICATE_SIGNING_REQUEST: Rules = Rules {
    prepare_create: |request| {
        fill::remove(request, "status");
        request["status"] = serde_json::json!({});
    },
    prepare_update,
    validate: |request| spec(&At::root(request).get("spec")),
    validate_update,
    fields: |request| vec![("spec.signerName", At::root(request).str("spec.signerName").to_owned())],
    ..Rules::DEFAULT
};

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const CONDITIONS_OF_APPROVAL: [&str; 2] = ["Approved", "Denied"];

fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    fill::keep(new, old, "spec");
    match subresource {
        "" => fill::keep(new, old, "status"),
        "approval" => {
            let before = old["status"].clone();
            fill::keep(fill::object(new, "status"), &before, "certificate");
        }
        _ => {}
    }
}

fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let request = spec.get("request");
    let decoded = STANDARD.decode(request.text()).unwrap_or_default();
    let pem = String::from_utf8_lossy(&decoded).into_owned();
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        errors.push(request.invalid("PEM block type must be CERTIFICATE REQUEST"));
    }
    let usages = spec.items("usages");
    if usages.is_empty() {
        errors.push(spec.get("usages").required(""));
    }
    for usage in &usages {
        if !USAGES.contains(&usage.text()) {
            errors.push(usage.not_supported(USAGES));
        }
    }
    for (index, usage) in usages.iter().enumerate() {
        if usages[..index].iter().any(|other| other.text() == usage.text()) {
            errors.push(usage.duplicate());
        }
    }
    errors.extend(signer_name(&spec.get("signerName")));
    let seconds = spec.get("expirationSeconds");
    if seconds.value.as_i64().is_some_and(|seconds| seconds < 600) {
        errors.push(seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    errors
}

fn signer_name(signer: &At<'_>) -> ErrorList {
    match signer.text() {
        "" => return vec![signer.required("")],
        "kubernetes.io/legacy-unknown" => {
            return vec![signer.invalid("the legacy signerName is not allowed via this API version")];
        }
        _ => {}
    }
    let (domain, path) = match signer.text().split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() && !path.contains('/') => (domain, path),
        _ => {
            let message = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            return vec![signer.invalid(message)];
        }
    };
    let mut errors = ErrorList::new();
    // Each label of the domain is judged alone.
    for label in domain.split('.') {
        for fault in names::dns1123_label(label) {
            errors.push(signer.invalid_as(domain, format!("validating label {label:?}: {fault}")));
        }
    }
    if !domain.contains('.') {
        errors.push(signer.invalid_as(domain, "should be a domain with at least two segments separated by dots"));
    }
    errors.extend(metadata::faults(&signer.path, path, names::dns1123_subdomain(path)));
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (request, before) = (At::root(new), At::root(old));
    let mut errors = if subresource.is_empty() { spec(&request.get("spec")) } else { ErrorList::new() };
    let list = request.get("status.conditions");
    let types = |at: &At<'_>| -> Vec<String> {
        at.items("status.conditions").iter().map(|condition| condition.str("type").to_owned()).collect()
    };
    let (now, was) = (types(&request), types(&before));
    if CONDITIONS_OF_APPROVAL.iter().all(|kind| now.iter().any(|other| other == kind)) {
        errors.push(list.invalid_as("Denied", "Approved and Denied conditions are mutually exclusive"));
    }
    let states = ["Approved", "Denied", "Failed"]
        .map(|kind| (kind, now.iter().any(|other| other == kind), was.iter().any(|other| other == kind)));
    for (kind, ..) in states.iter().filter(|(_, has, had)| *had && !has) {
        errors.push(list.forbidden(format!("updates may not remove a condition of type {kind:?}")));
    }
    for (kind, has, had) in states {
        if subresource == "status" && has && !had && kind != "Failed" {
            errors.push(list.forbidden(format!("updates may not add a condition of type {kind:?}")));
        }
    }
    let certificate = request.get("status.certificate");
    if before.has("status.certificate") {
        if !same(certificate.value, before.raw("status.certificate")) {
            errors.push(certificate.forbidden("updates may not modify existing certificate content"));
        }
    } else if certificate.is_set() {
        errors.extend(certificate_faults(&certificate));
    }
    errors
}

fn certificate_faults(certificate: &At<'_>) -> Option<FieldError> {
    let bytes = STANDARD.decode(certificate.text()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let blocks: Vec<&str> =
        text.split("-----BEGIN ").skip(1).filter_map(|rest| rest.split_once("-----").map(|(kind, _)| kind)).collect();
    let refuse = |why: String| Some(certificate.invalid_as("<certificate data>", why));
    match blocks.iter().find(|kind| **kind != "CERTIFICATE") {
        Some(other) => refuse(format!("only CERTIFICATE PEM blocks are allowed, found {other:?}")),
        None if blocks.is_empty() => refuse("must contain at least one CERTIFICATE PEM block".to_owned()),
        None => None,
    }
}
