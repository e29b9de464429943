// SPDX-License-Identifier: Apache-2.0

//! The conditions that all newer kinds share (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::metadata;
use super::names;

const REASON_BYTES: usize = 1024;
const MESSAGE_BYTES: usize = 32 * 1024;

/// What is wrong with the conditions in a list.
pub fn conditions(holder: &At<'_>, field: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for condition in holder.items(field) {
        let kind = condition.str("type");
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&condition.get("type").path, kind));
        }
        seen.push(kind);
        errors.extend(self::condition(&condition));
    }
    errors
}

fn condition(condition: &At<'_>) -> ErrorList {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    let [kind, status, reason, message] = ["type", "status", "reason", "message"].map(|field| condition.get(field));
    let mut errors = metadata::faults(&kind.path, kind.text(), names::qualified_name(kind.text()));
    if !STATUSES.contains(&status.text()) {
        errors.push(status.not_supported(&STATUSES));
    }
    if condition.int("observedGeneration") < 0 {
        errors.push(condition.get("observedGeneration").invalid("must be greater than or equal to zero"));
    }
    if !condition.has("lastTransitionTime") {
        errors.push(condition.get("lastTransitionTime").required(""));
    }
    if reason.text().is_empty() {
        errors.push(reason.required(""));
    } else {
        errors.extend(reason.faults(names::condition_reason(reason.text())));
        if reason.text().len() > REASON_BYTES {
            errors.push(FieldError::too_long(&reason.path, REASON_BYTES));
        }
    }
    if message.text().len() > MESSAGE_BYTES {
        errors.push(FieldError::too_long(&message.path, MESSAGE_BYTES));
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_condition_says_since_when_and_why_and_only_once() {
        let good =
            json!({"type": "Ready", "status": "True", "reason": "Ok", "lastTransitionTime": "2024-01-01T00:00:00Z"});
        let faults = |list: knarr_types::tree::Value| {
            let status = json!({"conditions": list});
            conditions(&At::root(&status), "conditions").iter().map(|error| error.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(faults(json!([good])), Vec::<String>::new());
        assert_eq!(faults(json!([good, good])), ["conditions[1].type"]);
        let bad = json!({"type": "a b", "status": "Yes", "reason": "no reason"});
        let fields = ["type", "status", "lastTransitionTime", "reason"];
        assert_eq!(faults(json!([bad])), fields.map(|field| format!("conditions[0].{field}")));
    }
}
