// SPDX-License-Identifier: Apache-2.0
//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may approve and sign
//! for a signer, and which subject nobody may ask for.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#signers>

use base64::Engine as _;
use knarr_auth::{Attributes, UserInfo};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, Status};

use crate::{Lookup, Operation, Request};

const GROUP: &str = "certificates.k8s.io";
/// The signer whose certificates the API server takes.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

fn is_request(request: &Request<'_>) -> bool {
    request.is(GROUP, "CertificateSigningRequest")
}

/// Writes down who asks for a certificate: nobody says that of themselves.
pub fn set_requester(request: &Request<'_>, object: &mut Object) {
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    if !is_request(request) || !creates {
        return;
    }
    let UserInfo { name, uid, groups, extra, .. } = request.user;
    let spec = &mut object["spec"];
    for (field, value, empty) in [
        ("username", json!(name), name.is_empty()),
        ("uid", json!(uid), uid.is_empty()),
        ("groups", json!(groups), groups.is_empty()),
        ("extra", json!(extra), extra.is_empty()),
    ] {
        match spec.as_object_mut() {
            Some(spec) if empty => drop(spec.remove(field)),
            _ => spec[field] = value,
        }
    }
}

/// Conditions get the time at which they were written, and since when they are as they are.
pub fn set_condition_times(request: &Request<'_>, object: &mut Object, now: &str) {
    let writes = matches!(request.subresource, "approval" | "status");
    let Some(old) = request.old.filter(|_| writes && is_request(request)) else { return };
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let conditions = object["status"].get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let known = before.iter().find(|b| b["type"] == condition["type"] && b["status"] == condition["status"]);
        if condition["lastTransitionTime"].is_null() {
            let since = known.map(|b| b["lastTransitionTime"].clone()).filter(|t| !t.is_null());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.into());
        }
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
    }
}

pub(crate) fn validate(request: &Request<'_>, object: Option<&Object>, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(object) = object.filter(|_| is_request(request)) else { return Ok(()) };
    let refuse = |why: String| Err(request.refusal(&why));
    let signer = request.old.unwrap_or(object)["spec"]["signerName"].as_str().unwrap_or_default();
    match (request.operation, request.subresource) {
        (Operation::Create, "") => restrict_subject(request, object),
        (Operation::Update, "approval") if !may(request.user, "approve", signer, lookup) => {
            refuse(format!("user not permitted to approve requests with signerName \"{signer}\""))
        }
        (Operation::Update, "status") if is_signed(request, object) && !may(request.user, "sign", signer, lookup) => {
            refuse(format!("user not permitted to sign requests with signerName \"{signer}\""))
        }
        _ => Ok(()),
    }
}

/// Whether a change of the status brings a certificate or says that there will be none.
fn is_signed(request: &Request<'_>, object: &Object) -> bool {
    let failed = |object: &Object| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().filter(|c| c["type"] == "Failed").collect::<Vec<_>>()
    };
    request.old.is_some_and(|old| {
        old["status"]["certificate"] != object["status"]["certificate"] || failed(old) != failed(object)
    })
}

/// By the signer's name, or by all of its domain.
fn may(user: &UserInfo, verb: &str, signer: &str, lookup: &dyn Lookup) -> bool {
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    let allowed = |name: &str| {
        lookup.allows(user, &Attributes { verb, group: GROUP, resource: "signers", name, ..Attributes::default() })
    };
    allowed(signer) || domain.is_some_and(|d| allowed(&d))
}

fn restrict_subject(request: &Request<'_>, object: &Object) -> Result<(), Status> {
    if object["spec"]["signerName"] != CLIENT_SIGNER {
        return Ok(());
    }
    let text = object["spec"]["request"].as_str().unwrap_or_default();
    let pem = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    let subject = knarr_pki::certificate::subject_of_request(&String::from_utf8_lossy(&pem));
    let why = match subject {
        Ok(subject) if subject.organizations.iter().any(|o| o == MASTERS) => {
            format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")
        }
        Ok(_) => return Ok(()),
        Err(error) => format!("failed to parse CSR: {error}"),
    };
    Err(request.refusal(&why))
}
