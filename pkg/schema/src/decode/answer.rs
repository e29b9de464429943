// SPDX-License-Identifier: Apache-2.0
//! What webhooks answer: a review, read as upstream's client reads it. It need not say what it is, and may be YAML.

use knarr_types::Object;

use super::kind::{Opened, head_in_json, open, read};
use super::{Head, MediaType};
use crate::builtin_types::NamedType;
use crate::kinds::Kind;

/// The table of types that upstream's clients of webhooks have.
const TABLE: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";
/// The versions of reviews.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Reads an answer that should be of that kind, one of reviews; what it says that it is stays as it was sent.
///
/// # Errors
/// Where it can be read as no such review, in the words of upstream's decoder.
pub fn decode_answer(body: &[u8], group: &str, version: &str, kind: &str) -> Result<Object, String> {
    let wanted = Kind::of_body(group, version, kind).ok_or_else(|| format!("{kind} is no review"))?;
    let is_json = body.trim_ascii_start().starts_with(b"{");
    let opened = open(body, if is_json { MediaType::Json } else { MediaType::Yaml });
    let opened = opened.map_err(|why| format!("couldn't get version/kind; json parse error: {why}"))?;
    let head = match &opened {
        Opened::Yaml(document) => Head::of(&document.value, &wanted)?,
        _ => head_in_json(body, &wanted)?,
    };
    let is_review = head.group == group && head.kind == kind && VERSIONS.contains(&&*head.version);
    if !is_review {
        let (kind, version) = (&head.kind, head.api_version());
        return Err(format!("no kind {kind:?} is registered for version {version:?} in scheme {TABLE:?}"));
    }
    let ty = head.ty().map(NamedType::get).unwrap_or_else(|| wanted.ty.get());
    let decoded = read(body, opened, ty).map_err(|error| error.to_string())?;
    if head.version != version {
        let (from, to) = (format!("{}.{kind}", head.version), format!("{version}.{kind}"));
        return Err(format!("converting ({from}) to ({to}): unknown conversion"));
    }
    Ok(decoded.object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_their_type() {
        const START: &str = "couldn't get version/kind; json parse error: ";
        let read = |body: &str| decode_answer(body.as_bytes(), "admission.k8s.io", "v1", "AdmissionReview");
        assert_eq!(read("{\"response\": {\"allowed\": true}}").unwrap()["response"]["allowed"], true);
        assert_eq!(read("kind: AdmissionReview\nresponse:\n  uid: u\n").unwrap()["response"]["uid"], "u");
        for (body, want) in [
            ("hello", format!("{START}json: cannot unmarshal string into Go value of type struct {{ APIVersion")),
            ("[]", format!("{START}json: cannot unmarshal array into Go value of type struct {{ APIVersion")),
            ("{\"kind\": 5}", format!("{START}json: cannot unmarshal number into Go struct field .kind of type string")),
            ("{\"kind\": \"\"", format!("{START}unexpected end of JSON input")),
            ("{} {}", format!("{START}invalid character '{{' after top-level value")),
            ("{\"apiVersion\": \"a/b/c\"}", "unexpected GroupVersion string: a/b/c".to_owned()),
            (
                "{\"kind\": \"Foo\", \"apiVersion\": \"admission.k8s.io/v1\"}",
                "no kind \"Foo\" is registered for version \"admission.k8s.io/v1\" in scheme".to_owned(),
            ),
            (
                "{\"apiVersion\": \"admission.k8s.io/v1beta1\"}",
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion".to_owned(),
            ),
            (
                "{\"response\": {\"uid\": 5}}",
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.uid of type types.UID"
                    .to_owned(),
            ),
            (
                "{\"response\": {\"status\": []}}",
                "json: cannot unmarshal array into Go struct field AdmissionResponse.response.status of type v1.Status"
                    .to_owned(),
            ),
            (
                "{\"response\": {\"patchType\": 5}}",
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.patchType of type \
                 v1.PatchType"
                    .to_owned(),
            ),
            (
                "{\"response\": {\"auditAnnotations\": {\"a\": 5}}}",
                "json: cannot unmarshal number into Go struct field AdmissionResponse.response.auditAnnotations of type \
                 string"
                    .to_owned(),
            ),
        ] {
            let why = read(body).unwrap_err();
            assert!(why.starts_with(&want), "{body}: {why}");
        }
    }
}
