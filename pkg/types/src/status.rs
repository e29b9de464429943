// SPDX-License-Identifier: Apache-2.0
//! The API's one form of failure, in upstream's words
//! (`k8s.io/apimachinery/pkg/api/errors`; `meta/v1.Status`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::field_error::{ErrorList, FieldErrorType, go_quoted};
use crate::{Key, ResourceId};

/// The machine-readable cause of a failure: `Status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are upstream's StatusReason constants")]
pub enum Reason {
    #[serde(rename = "")]
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

/// One detail of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueRequired`, `ResourceVersionTooLarge`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field at fault.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The group of `kind`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (for most reasons) or the kind (for `Invalid`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid, in the answer to a delete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry a fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When a client may try again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A refused or failed request. `Display` gives the message; `to_json` what goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// For machines.
    pub reason: Reason,
    /// Another reason, which only who refused knows.
    pub other_reason: String,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<StatusDetails>>,
    /// How a list whose state is gone can go on all the same: `metadata.continue`.
    pub continue_token: Option<String>,
    /// What the client is warned of besides, in headers.
    pub warnings: Vec<String>,
}

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Status {
    /// A failure without details.
    #[must_use]
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            other_reason: String::new(),
            message: message.into(),
            details: None,
            continue_token: None,
            warnings: Vec::new(),
        }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with these warnings, before those that it has.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &[String]) -> Self {
        self.warnings.splice(0..0, warnings.iter().cloned());
        self
    }

    /// 404: there is no such object.
    #[must_use]
    pub fn not_found(resource: &ResourceId, name: &str) -> Self {
        Self::about(404, Reason::NotFound, resource, name, format!("{resource} {} not found", go_quoted(name)))
    }

    /// 409: a create met an object of that name.
    #[must_use]
    pub fn already_exists(resource: &ResourceId, name: &str) -> Self {
        Self::about(
            409,
            Reason::AlreadyExists,
            resource,
            name,
            format!("{resource} {} already exists", go_quoted(name)),
        )
    }

    /// 409: the object is not as the client said.
    #[must_use]
    pub fn conflict(resource: &ResourceId, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", go_quoted(name));
        Self::about(409, Reason::Conflict, resource, name, message)
    }

    /// 409 for an update with an old resourceVersion.
    #[must_use]
    pub fn modified(key: &Key) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(&key.resource, &key.name, why)
    }

    /// 403: the user may not, or the object may not.
    #[must_use]
    pub fn forbidden(resource: &ResourceId, name: &str, why: &str) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", go_quoted(name))
        };
        Self::about(403, Reason::Forbidden, resource, name, message)
    }

    /// 422: fields of the object break rules. `group` and `kind` are the object's.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.kind.reason().into(), message: e.body(), field: e.path.to_string() })
            .collect();
        let mut lines: Vec<String> = Vec::new();
        for error in errors {
            let line = error.to_string();
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let text = match lines.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        debug_assert!(errors.iter().all(|e| e.kind != FieldErrorType::Internal || !e.detail.is_empty()));
        Self::new(422, Reason::Invalid, format!("{qualified} {} is invalid: {text}", go_quoted(name))).with_details(
            StatusDetails { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Default::default() },
        )
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 401: nobody knows who this is.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 405: the resource has no such verb.
    #[must_use]
    pub fn method_not_allowed(resource: &ResourceId, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::about(405, Reason::MethodNotAllowed, resource, "", message)
    }

    /// 410: the state asked for is no longer kept.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 413: more than we read.
    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, message)
    }

    /// 429: later, please.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, Reason::TooManyRequests, message)
            .with_details(StatusDetails { retry_after_seconds, ..Default::default() })
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal(error: impl fmt::Display) -> Self {
        let cause = Cause { message: error.to_string(), ..Default::default() };
        Self::new(500, Reason::InternalError, format!("Internal error occurred: {error}"))
            .with_details(StatusDetails { causes: vec![cause], ..Default::default() })
    }

    /// 503: not now.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
            .with_details(StatusDetails { retry_after_seconds, ..Default::default() })
    }

    /// 504: it was not done in time, or nobody knows whether it was.
    #[must_use]
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(504, Reason::Timeout, message)
            .with_details(StatusDetails { retry_after_seconds, ..Default::default() })
    }

    /// The `meta/v1.Status` object that a client gets.
    #[must_use]
    pub fn to_json(&self) -> crate::tree::Value {
        let texts =
            [("kind", "Status"), ("apiVersion", "v1"), ("status", "Failure"), ("message", self.message.as_str())];
        let mut body: crate::tree::Value = texts.into_iter().collect();
        body["metadata"] = crate::tree::Map::new().into();
        body["code"] = self.code.into();
        if let Some(token) = &self.continue_token {
            body["metadata"]["continue"] = token.as_str().into();
        }
        if !self.other_reason.is_empty() {
            body["reason"] = self.other_reason.as_str().into();
        } else if self.reason != Reason::Unknown {
            body["reason"] = crate::tree::json!(self.reason);
        }
        if let Some(details) = &self.details {
            body["details"] = crate::tree::json!(details);
        }
        body
    }

    fn about(code: u16, reason: Reason, resource: &ResourceId, name: &str, message: String) -> Self {
        Self::new(code, reason, message).with_details(StatusDetails {
            name: name.into(),
            group: resource.group.to_string(),
            kind: resource.resource.to_string(),
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldError, FieldPath};

    #[test]
    fn invalid_joins_its_faults_as_upstream_does() {
        let path = FieldPath::new("spec.replicas");
        let one = Status::invalid("apps", "Deployment", "x", &vec![FieldError::required(&path, "")]);
        assert_eq!(one.message, "Deployment.apps \"x\" is invalid: spec.replicas: Required value");
        let two =
            Status::invalid("", "Pod", "x", &vec![FieldError::required(&path, ""), FieldError::duplicate(&path, 1)]);
        assert_eq!(
            two.message,
            "Pod \"x\" is invalid: [spec.replicas: Required value, spec.replicas: Duplicate value: 1]"
        );
    }

    #[test]
    fn a_status_without_reason_leaves_the_field_out() {
        let body = Status::new(404, Reason::Unknown, "x").to_json();
        assert_eq!(body.get("reason"), None);
        assert_eq!(body["status"], "Failure");
    }
}
