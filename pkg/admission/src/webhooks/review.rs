// SPDX-License-Identifier: Apache-2.0
//! What a webhook is asked, and what it answers.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>

use base64::Engine as _;
use knarr_schema::decode::{decode_answer, decode_any};
use knarr_schema::patch::json_kind;
use knarr_types::tree::{Value, json};
use knarr_types::{Reason, Status, StatusDetails, go_quoted};

use super::hook::Hook;
use crate::Request;
use crate::admission_request::admission_request;
use crate::versions::View;

/// The answer of a webhook that could be understood.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Why it refuses.
    pub refusal: Option<Value>,
    /// Changes to the object.
    pub patch: Option<Patch>,
    pub warnings: Vec<String>,
}

/// Changes to an object, unread.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Patch {
    kind: String,
    /// Base64.
    text: String,
}

const GROUP: &str = "admission.k8s.io";
const JSON_PATCH: &str = "JSONPatch";

/// The review of a request, for a webhook that wants it in the version of the view.
pub(super) fn review(hook: &Hook, request: &Request<'_>, view: &View, options: &Value, uid: &str) -> Value {
    let mut body = admission_request(request, &view.kind);
    body["uid"] = uid.into();
    body["object"] = json!(view.object);
    body["oldObject"] = json!(view.old);
    body["options"] = options.clone();
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{}", hook.version), "request": body})
}

/// Reads what a webhook answered.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(super) fn read(hook: &Hook, body: &[u8], uid: &str, mutating: bool) -> Result<Answer, String> {
    let document = decode_answer(body, GROUP, hook.version, "AdmissionReview");
    let document = document.map_err(|why| format!("failed to call webhook: {why}"))?;
    verified(hook, &document, uid, mutating).map_err(|why| format!("received invalid webhook response: {why}"))?;
    let response = &document["response"];
    let texts = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let warnings = texts.map(str::to_owned).collect();
    let refusal = (response["allowed"] != true).then(|| response["status"].clone());
    let patch = response["patch"].as_str().filter(|p| !p.is_empty() && mutating && refusal.is_none());
    let kind = if hook.version == "v1" { response["patchType"].as_str().unwrap_or_default() } else { JSON_PATCH };
    let patch = patch.map(|text| Patch { kind: kind.to_owned(), text: text.to_owned() });
    Ok(Answer { refusal, patch, warnings })
}

/// It answers the question, and gives a patch only where one may be, with its type.
fn verified(hook: &Hook, document: &Value, uid: &str, mutating: bool) -> Result<(), String> {
    let response = &document["response"];
    if response.is_null() {
        return Err("webhook response was absent".into());
    }
    if hook.version != "v1" {
        return Ok(());
    }
    let got = response["uid"].as_str().unwrap_or_default();
    if got != uid {
        return Err(format!("expected response.uid={uid:?}, got {}", go_quoted(got)));
    }
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("admission.k8s.io/v1", "AdmissionReview") {
        let slash = if text("apiVersion").contains('/') { "" } else { "/" };
        let got = format!("{slash}{}, Kind={}", text("apiVersion"), text("kind"));
        return Err(format!("expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}"));
    }
    let has_patch = response["patch"].as_str().is_some_and(|patch| !patch.is_empty());
    let kind = response["patchType"].as_str();
    let why = match (mutating, has_patch, kind) {
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, true, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.into())
}

impl Patch {
    /// The operations; none where there is nothing to do.
    ///
    /// # Errors
    /// Where they cannot be read, in upstream's words.
    pub(super) fn operations(&self) -> Result<Vec<Value>, String> {
        let why = |why: String| format!("received undecodable patch in webhook response: {why}");
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.text).map_err(|e| why(e.to_string()))?;
        let list = match decode_any(&bytes).map_err(|e| why(e.to_string()))? {
            Value::Array(list) => list,
            Value::Null => Vec::new(),
            other => {
                let is = json_kind(&other);
                return Err(why(format!("json: cannot unmarshal {is} into Go value of type jsonpatch.Patch")));
            }
        };
        if let Some(other) = list.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
            let is = json_kind(other);
            return Err(why(format!("json: cannot unmarshal {is} into Go value of type jsonpatch.Operation")));
        }
        Ok(list)
    }

    /// Whether it is of the only kind that there is.
    ///
    /// # Errors
    /// Where it is not.
    pub(super) fn is_known(&self) -> Result<(), String> {
        match self.kind.as_str() {
            JSON_PATCH => Ok(()),
            other => Err(format!("unsupported patch type {}", go_quoted(other))),
        }
    }
}

/// The answer to a request that a webhook refuses; `status` is what it said of it.
pub(super) fn refused(hook: &Hook, status: &Value) -> Status {
    let denied = format!("admission webhook {:?} denied the request", hook.name);
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 400).unwrap_or(400);
    let reason = knarr_types::tree::from_value(status["reason"].clone()).ok();
    let mut refusal = Status::new(code, reason.unwrap_or(Reason::Unknown), message);
    if reason.is_none() {
        refusal.other_reason = text("reason").to_owned();
    }
    match knarr_types::tree::from_value::<StatusDetails>(status["details"].clone()) {
        Ok(details) => refusal.with_details(details),
        Err(_) => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hook::read_all;
    use super::*;

    fn hook() -> Hook {
        read_all(vec![json!({"webhooks": [{"name": "x.y.z"}]}).into()]).remove(0)
    }

    #[test]
    fn refusals_say_who_and_why() {
        let of = |status: Value| {
            let status = refused(&hook(), &status);
            format!("{} {}", status.code, status.message)
        };
        assert_eq!(of(json!(null)), "400 admission webhook \"x.y.z\" denied the request without explanation");
        assert_eq!(of(json!({"message": "no", "code": 403})), "403 admission webhook \"x.y.z\" denied the request: no");
        assert_eq!(of(json!({"reason": "Forbidden"})), "400 admission webhook \"x.y.z\" denied the request: Forbidden");
    }

    #[test]
    fn answers_must_be_to_the_question() {
        let read = |response: Value, mutating: bool| {
            let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
            read(&hook(), review.to_string().as_bytes(), "u", mutating)
        };
        assert!(read(json!({"uid": "u", "allowed": true}), false).unwrap().refusal.is_none());
        assert!(read(json!({"uid": "u", "allowed": false}), false).unwrap().refusal.is_some());
        let invalid = |response: Value, mutating: bool, want: &str| {
            let why = read(response, mutating).unwrap_err();
            assert_eq!(why, format!("received invalid webhook response: {want}"));
        };
        for (patch, want) in [
            ("{}", "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
            ("[1]", "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
            ("{", "unexpected end of JSON input"),
        ] {
            let text = base64::engine::general_purpose::STANDARD.encode(patch);
            let why = Patch { kind: JSON_PATCH.to_owned(), text }.operations().unwrap_err();
            assert_eq!(why, format!("received undecodable patch in webhook response: {want}"));
        }
        invalid(json!({"uid": "v"}), false, "expected response.uid=\"u\", got \"v\"");
        invalid(json!(null), false, "webhook response was absent");
        let typed = json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"});
        invalid(typed.clone(), true, "webhook returned response.patchType but not response.patch");
        invalid(typed, false, "validating webhook may not return response.patchType");
        let untyped = json!({"uid": "u", "allowed": true, "patchType": "", "patch": "W10="});
        invalid(untyped, true, "webhook returned invalid response.patchType of \"\"");
        let patch = base64::engine::general_purpose::STANDARD.encode("[]");
        let patched = json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": patch});
        let operations = |answer: Answer| answer.patch.unwrap().operations();
        assert_eq!(operations(read(patched.clone(), true).unwrap()), Ok(Vec::new()));
        assert!(read(patched, false).unwrap_err().contains("may not return response.patch"));
    }

    #[test]
    fn what_is_no_review_could_not_be_asked() {
        let why = |body: &str| read(&hook(), body.as_bytes(), "u", false).unwrap_err();
        let scheme = "in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"";
        assert_eq!(
            why(r#"{"kind": "Foo", "apiVersion": "admission.k8s.io/v1"}"#),
            format!(
                "failed to call webhook: no kind \"Foo\" is registered for version \"admission.k8s.io/v1\" {scheme}"
            )
        );
        assert!(why(r#"{"apiVersion": "admission.k8s.io/v1", "response": {"uid": "u"}}"#).ends_with(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1, Kind="
        ));
        assert!(why("hello").starts_with("failed to call webhook: couldn't get version/kind; json parse error: "));
    }
}
