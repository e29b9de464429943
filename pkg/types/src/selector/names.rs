// SPDX-License-Identifier: Apache-2.0
//! What keys and values of labels may be.

use super::{Operator, Requirement, SelectorError};
use crate::{ErrorList, FieldError, FieldPath};

const NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX_RULE: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY_RULE: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";

/// All that is wrong with a condition.
pub(super) fn check(requirement: &Requirement) -> Result<(), SelectorError> {
    let Requirement { key, operator, values } = requirement;
    let (root, path) = (FieldPath::root(), FieldPath::new("values"));
    let mut errors = ErrorList::new();
    errors.extend(key_fault(key, &root.child("key")));
    let shown = || crate::tree::json!(values);
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            errors.push(FieldError::invalid(&path, shown(), "for 'in', 'notin' operators, values set can't be empty"));
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            errors.push(FieldError::invalid(&path, shown(), "exact-match compatibility requires one single value"));
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            errors.push(FieldError::invalid(&path, shown(), "values set must be empty for exists and does not exist"));
        }
        Operator::GreaterThan | Operator::LessThan => {
            if values.len() != 1 {
                errors.push(FieldError::invalid(
                    &path,
                    shown(),
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                ));
            }
            for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&path.index(index), value.as_str(), rule));
            }
        }
        _ => {}
    }
    for (index, value) in values.iter().enumerate() {
        let faults = value_faults(value);
        if !faults.is_empty() {
            errors.push(FieldError::invalid(&path.index(index).key(key), value.as_str(), faults.join("; ")));
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for line in errors.iter().map(FieldError::to_string) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.as_slice() {
        [] => Ok(()),
        [one] => Err(SelectorError::new(one.clone())),
        many => Err(SelectorError::new(format!("[{}]", many.join(", ")))),
    }
}

/// What is wrong with a key.
pub(super) fn key_fault(key: &str, path: &FieldPath) -> Option<FieldError> {
    let mut faults = Vec::new();
    let mut parts = key.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        return Some(FieldError::invalid(path, key, KEY_RULE));
    }
    let name = match second {
        None => first,
        Some(name) => {
            if first.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                if first.len() > 253 {
                    faults.push("prefix part must be no more than 253 bytes".to_owned());
                }
                if !first.split('.').all(is_dns_label) {
                    faults.push(PREFIX_RULE.to_owned());
                }
            }
            name
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        faults.push(NAME_RULE.to_owned());
    }
    (!faults.is_empty()).then(|| FieldError::invalid(path, key, faults.join("; ")))
}

fn value_faults(value: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if value.len() > 63 {
        faults.push("must be no more than 63 bytes");
    }
    if !value.is_empty() && !is_name(value) {
        faults.push(VALUE_RULE);
    }
    faults
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_label(text: &str) -> bool {
    let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(lower)
        && bytes.last().is_some_and(lower)
        && bytes.iter().all(|byte| lower(byte) || *byte == b'-')
}
