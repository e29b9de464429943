// SPDX-License-Identifier: Apache-2.0

//! CertificateSigningRequests (`pkg/apis/certificates/validation`). What is signed is read as a
//! whole, and its signature verified (`certificate_request.rs`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::{At, same};
use super::containers::required_one_of;
use super::fill;
use super::judging::Judging;
use super::names;
use super::pem;

pub(super) static CERTIFICATE_SIGNING_REQUEST: Rules = Rules {
    prepare_create: |request| {
        fill::remove(request, "status");
        request["status"] = knarr_types::tree::json!({});
    },
    prepare_update,
    // Whatever it is called, the name only must fit into a path.
    name: |_, _| Vec::new(),
    validate: |request| spec(&At::root(request).get("spec")),
    validate_update,
    fields: |request| vec![("spec.signerName", At::root(request).str("spec.signerName").to_owned())],
    judging: Judging { status: Judging::WHOLE_THEN_CHANGE.update, ..Judging::WHOLE_THEN_CHANGE },
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

/// A write of the approval brings nothing but conditions; one of the status may add none that approves.
fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    fill::keep(new, old, "spec");
    match subresource {
        "" => fill::keep(new, old, "status"),
        "approval" => {
            let sent = new["status"].take();
            fill::keep(new, old, "status");
            fill::keep(fill::object(new, "status"), &sent, "conditions");
        }
        _ => CONDITIONS_OF_APPROVAL.iter().for_each(|kind| keep_conditions(new, old, kind)),
    }
}

/// Where there are as many conditions of this type as before, they stay what they were.
fn keep_conditions(new: &mut Object, old: &Object, kind: &str) {
    let of_kind = |condition: &&Value| condition["type"] == kind;
    let before: Vec<Value> =
        old["status"]["conditions"].as_array().into_iter().flatten().filter(of_kind).cloned().collect();
    let Some(status) = fill::at(new, "status") else { return };
    let now: Vec<&mut Value> = fill::each(status, "conditions").filter(|condition| condition["type"] == kind).collect();
    if now.len() == before.len() {
        now.into_iter().zip(before).for_each(|(now, before)| *now = before);
    }
}

fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let request = spec.get("request");
    let decoded = STANDARD.decode(request.text()).unwrap_or_default();
    if let Err(why) = pem::certificate_request(&decoded) {
        errors.push(request.invalid(why));
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
    /// A domain, a `/`, a namespace, a `.` and a name.
    const MAX_BYTES: usize = DOMAIN_BYTES + 1 + DOMAIN_BYTES + 1 + 63;
    match signer.text() {
        "" => return vec![signer.required("")],
        "kubernetes.io/legacy-unknown" => {
            return vec![signer.invalid("the legacy signerName is not allowed via this API version")];
        }
        _ => {}
    }
    let parts: Vec<&str> = signer.text().split('/').collect();
    let [domain, path] = parts[..] else {
        let message = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![signer.invalid(message)];
    };
    let mut errors = ErrorList::new();
    if domain.len() > DOMAIN_BYTES {
        errors.push(FieldError::too_long(&signer.path, DOMAIN_BYTES));
    }
    errors.extend(first_bad_label(signer, domain, names::dns1123_label));
    if !domain.contains('.') {
        errors.push(signer.invalid_as(domain, "should be a domain with at least two segments separated by dots"));
    }
    errors.extend(first_bad_label(signer, path, names::dns1123_subdomain));
    if signer.text().len() > MAX_BYTES {
        errors.push(FieldError::too_long(&signer.path, MAX_BYTES));
    }
    errors
}

const DOMAIN_BYTES: usize = 253;

/// Labels are judged one by one, up to the first that is none.
fn first_bad_label(signer: &At<'_>, text: &str, check: fn(&str) -> Vec<String>) -> ErrorList {
    let faults = text.split('.').map(|label| (label, check(label))).find(|(_, faults)| !faults.is_empty());
    let (label, faults) = faults.unwrap_or_default();
    faults.iter().map(|why| signer.invalid_as(text, format!("validating label {label:?}: {why}"))).collect()
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (request, before) = (At::root(new), At::root(old));
    let mut errors = spec(&request.get("spec"));
    errors.extend(conditions(&request, &before));
    let certificate = request.get("status.certificate");
    let unchanged = same(certificate.value, before.raw("status.certificate"));
    let bytes = STANDARD.decode(certificate.text()).unwrap_or_default();
    if !unchanged && let Err(why) = pem::certificates(&bytes) {
        errors.push(certificate.invalid_as("<certificate data>", why));
    }
    let list = request.get("status.conditions");
    let count = |at: &At<'_>, kind: &str| {
        at.items("status.conditions").iter().filter(|condition| condition.str("type") == kind).count()
    };
    for kind in ["Approved", "Denied", "Failed"].iter().filter(|kind| count(&request, kind) < count(&before, kind)) {
        errors.push(list.forbidden(format!("updates may not remove a condition of type {kind:?}")));
    }
    if subresource != "approval" {
        let added = CONDITIONS_OF_APPROVAL.iter().filter(|kind| count(&request, kind) > count(&before, kind));
        errors.extend(added.map(|kind| list.forbidden(format!("updates may not add a condition of type {kind:?}"))));
    }
    if !unchanged && !before.str("status.certificate").is_empty() {
        errors.push(certificate.forbidden("updates may not modify existing certificate content"));
    }
    errors
}

/// What is wrong with the conditions; what was wrong with them before may stay so.
fn conditions(request: &At<'_>, before: &At<'_>) -> ErrorList {
    let types = |at: &At<'_>| -> Vec<String> {
        at.items("status.conditions").iter().map(|condition| condition.str("type").to_owned()).collect()
    };
    let was = types(before);
    let was_twice = was.iter().enumerate().any(|(at, kind)| was[..at].contains(kind));
    let was_both = CONDITIONS_OF_APPROVAL.iter().all(|kind| was.iter().any(|other| other == kind));
    let list = request.get("status.conditions");
    let (mut errors, mut seen) = (ErrorList::new(), Vec::new());
    for condition in request.items("status.conditions") {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if kind.text().is_empty() && !was.iter().any(String::is_empty) {
            errors.push(kind.required(""));
        }
        let allowed: &[&str] = match kind.text() {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        errors.extend(required_one_of(&status, allowed));
        let other = CONDITIONS_OF_APPROVAL.iter().find(|other| **other != kind.text());
        let excludes = CONDITIONS_OF_APPROVAL.contains(&kind.text()) && other.is_some_and(|other| seen.contains(other));
        if excludes && !was_both {
            errors.push(list.invalid_as(kind.text(), "Approved and Denied conditions are mutually exclusive"));
        }
        if seen.contains(&kind.text()) && !was_twice {
            errors.push(kind.duplicate());
        }
        seen.push(kind.text());
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn written(subresource: &str, conditions: Value) -> Vec<String> {
        let request = crate::rules::certificate_request::tests::PLAIN;
        let request = format!("-----BEGIN CERTIFICATE REQUEST-----\n{request}\n-----END CERTIFICATE REQUEST-----\n");
        let request = STANDARD.encode(request);
        let old = json!({"spec": {"request": request, "signerName": "e.com/a", "usages": ["any"]}, "status": {
            "conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
        let mut new = json!({"spec": {}, "status": {"conditions": conditions}});
        prepare_update(&mut new, &old, subresource);
        validate_update(&new, &old, subresource).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn conditions_are_each_said_once_and_only_approvals_approve() {
        let approved = json!({"type": "Approved", "status": "True"});
        assert!(written("approval", json!([approved])).is_empty());
        assert!(written("status", json!([{"type": "Approved", "status": "False"}])).is_empty(), "it stays as it was");
        assert_eq!(
            written(
                "approval",
                json!([approved, {"type": "Denied"}, {"status": "True"}, {"type": "X", "status": "y"}])
            ),
            [
                "status.conditions[1].status: Required value",
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                "status.conditions[2].type: Required value",
                "status.conditions[3].status: Unsupported value: \"y\": supported values: \"False\", \"True\", \"Unknown\"",
            ]
        );
        assert_eq!(
            written("status", json!([approved, approved])),
            [
                "status.conditions[1].type: Duplicate value: \"Approved\"",
                "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"",
            ]
        );
    }

    #[test]
    fn a_signer_is_a_domain_and_a_path() {
        let found = |name: &str| {
            let value = json!(name);
            let faults = signer_name(&At::new(&value, knarr_types::FieldPath::new("s")));
            faults
                .iter()
                .map(|fault| fault.detail.split(": ").next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(found("example.com/a.b").is_empty());
        assert_eq!(
            found("e.com/a/b"),
            ["must be a fully qualified domain and path of the form 'example.com/signer-name'"]
        );
        assert_eq!(found("E.com/a"), ["validating label \"E\""]);
        assert_eq!(found("e.com/"), ["validating label \"\""]);
        assert_eq!(
            found("com/a.B"),
            ["should be a domain with at least two segments separated by dots", "validating label \"B\""]
        );
    }
}
