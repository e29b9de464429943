// SPDX-License-Identifier: Apache-2.0

//! What an update may set because the object had something of the kind before (`pkg/api/pod/util.go`).

use knarr_types::{ErrorList, FieldError, FieldErrorType, Object};

use super::at::At;

const SELINUX_POLICY: &str = "securityContext.seLinuxChangePolicy";

/// These faults of a changed object without those that `old` excuses: pods that said how their volumes are labelled
/// may say so in each of the ways that there are.
pub fn excused(faults: ErrorList, old: &Object) -> ErrorList {
    faults.into_iter().filter_map(|fault| by_policy(fault, old)).collect()
}

fn by_policy(mut fault: FieldError, old: &Object) -> Option<FieldError> {
    let path = fault.path.as_str();
    let is_policy = fault.kind == FieldErrorType::NotSupported && path.ends_with(SELINUX_POLICY);
    if !is_policy || !At::root(old).has(path) {
        return Some(fault);
    }
    if fault.value.as_ref().is_some_and(|value| value.to_string() == "\"MountOption\"") {
        return None;
    }
    fault.detail = "supported values: \"MountOption\", \"Recursive\"".to_owned();
    Some(fault)
}

#[cfg(test)]
mod tests {
    use knarr_types::FieldPath;
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_policy_of_labels_may_change_where_there_was_one() {
        let path = FieldPath::new("spec.template.spec.securityContext.seLinuxChangePolicy");
        let fault = |value: &str| vec![FieldError::not_supported(&path, value, &["Recursive"])];
        let before = json!({"spec": {"template": {"spec": {"securityContext": {"seLinuxChangePolicy": "Recursive"}}}}});
        let told = |value, old| excused(fault(value), old).iter().map(FieldError::body).collect::<String>();
        assert_eq!(told("MountOption", &before), "");
        let both = "Unsupported value: \"x\": supported values: \"MountOption\", \"Recursive\"";
        assert_eq!(told("x", &before), both);
        let only = "Unsupported value: \"MountOption\": supported values: \"Recursive\"";
        assert_eq!(told("MountOption", &json!({})), only);
    }
}
