// SPDX-License-Identifier: Apache-2.0
//! The CEL rules of a custom object's schema (`x-kubernetes-validations`).

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldErrorType, FieldPath, Object};

use super::custom::Custom;

impl Custom {
    /// What the rules say of an object; after errors that leave nothing to ask them, only that.
    pub(super) fn rule_errors(&self, new: &Object, old: Option<&Object>, errors: &[FieldError]) -> ErrorList {
        let Some(rules) = &self.here().rules else { return ErrorList::new() };
        if blocks_rules(errors) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            return vec![FieldError::invalid(&FieldPath::root(), Value::Null, why)];
        }
        rules.validate(new, old).errors
    }

    /// Rules that an accepted object breaks as it did before.
    pub(super) fn rule_warnings(&self, new: &Object, old: &Object) -> Vec<String> {
        let rules = self.here().rules.as_ref();
        rules.map(|rules| rules.validate(new, Some(old)).warnings).unwrap_or_default()
    }
}

/// Errors after which rules could not be understood.
fn blocks_rules(errors: &[FieldError]) -> bool {
    use FieldErrorType as Type;
    let blocking = [Type::NotSupported, Type::Required, Type::TooLong, Type::TooMany, Type::TypeInvalid];
    errors.iter().any(|error| blocking.contains(&error.kind))
}
