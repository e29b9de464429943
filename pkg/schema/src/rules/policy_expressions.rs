// SPDX-License-Identifier: Apache-2.0

//! The expressions of admission policies, and of the match conditions of webhooks: they compile, and give what their
//! place asks for.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldErrorType, Shown, go_json};

use super::at::At;
use super::names;
use super::security::one_of;
use crate::cel::conditions::{Scope, environment};
use crate::cel::{Environment, Type};

const BROKEN: &str = "must not contain line breaks";
const EMPTY: &str = "must be non-empty if specified";
/// What an expression for the audit may be long.
const MAX_ANNOTATION_BYTES: usize = 5 * 1024;

/// How many annotations a policy may give to the audit.
const MAX_ANNOTATIONS: usize = 20;

/// What an expression about requests gives must be one of these types.
pub(super) fn expression(at: &At<'_>, environment: &Environment, wanted: &[Type]) -> ErrorList {
    compiled(at, at.text(), environment, wanted)
}

/// The same of `text`, which is that of the field but for the space around it.
fn compiled(at: &At<'_>, text: &str, environment: &Environment, wanted: &[Type]) -> ErrorList {
    match environment.compile(text) {
        Err(why) => vec![at.invalid(format!("compilation failed: {why}"))],
        Ok(program) if wanted.is_empty() || wanted.contains(program.output()) => {
            let never = program.constant_fault().map(|why| FieldError {
                kind: FieldErrorType::Internal,
                path: at.path.clone(),
                value: None,
                detail: format!("program instantiation failed: {why}"),
            });
            never.into_iter().collect()
        }
        Ok(program) => {
            let detail = match wanted {
                [one] => format!("must evaluate to {one} but got {}", program.output()),
                several => {
                    let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                    format!("must evaluate to one of [{}] but got {}", names.join(" "), program.output())
                }
            };
            vec![at.invalid(detail)]
        }
    }
}

/// The variables of a policy, and what the expressions after them can name.
pub(super) fn variables(spec: &At<'_>, scope: &mut Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    for variable in spec.items("variables") {
        let (name, text) = (variable.get("name"), variable.get("expression"));
        if name.text().trim().is_empty() {
            errors.push(name.required("name is not specified"));
        } else if !is_identifier(name.text()) {
            errors.push(name.invalid("must be a valid CEL identifier"));
        }
        if text.text().trim().is_empty() {
            errors.push(text.required("expression is not specified"));
            continue;
        }
        let environment = environment(scope);
        errors.extend(expression(&text, &environment, &[]));
        let gives = environment.compile(text.text()).map_or(Type::Dyn, |program| program.output().as_variable());
        scope.variables.get_or_insert_default().push((name.text().to_owned(), gives));
    }
    errors
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && crate::cel::escape(name).is_some_and(|escaped| escaped == name || name.contains("__"))
}

/// What the expressions of a policy can name before its variables.
pub(super) fn scope(spec: &At<'_>, mutation: bool) -> Scope {
    // Where nothing is changed and there are no variables, `variables` is none either.
    let variables = (mutation || spec.len("variables") > 0).then(Vec::new);
    Scope { params: spec.has("paramKind"), authorizer: true, variables, mutation, ..Scope::default() }
}

/// The validations of a policy.
pub(super) fn validations(spec: &At<'_>, scope: &Scope) -> ErrorList {
    const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    let mut errors = ErrorList::new();
    let full = environment(scope);
    let of_message = environment(&Scope { authorizer: false, ..scope.clone() });
    for validation in spec.items("validations") {
        let rule = validation.get("expression");
        if rule.text().trim().is_empty() {
            errors.push(rule.required("expression is not specified"));
        } else {
            errors.extend(expression(&rule, &full, &[Type::Bool]));
        }
        let computed = validation.get("messageExpression");
        if !computed.text().is_empty() && computed.text().trim().is_empty() {
            errors.push(computed.invalid(EMPTY));
        } else if !computed.text().is_empty() {
            errors.extend(expression(&computed, &of_message, &[Type::String]));
        }
        let message = validation.get("message");
        if !message.text().is_empty() && message.text().trim().is_empty() {
            errors.push(message.invalid(EMPTY));
        } else if message.text().trim().contains(['\n', '\r']) {
            errors.push(message.invalid(BROKEN));
        }
        let reason = validation.get("reason");
        if reason.is_set() && !REASONS.contains(&reason.text()) {
            errors.push(reason.not_supported(&REASONS));
        }
    }
    errors
}

/// The annotations that a policy gives to the audit.
pub(super) fn audit_annotations(policy: &At<'_>, scope: &Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    let environment = environment(scope);
    let list = policy.get("spec.auditAnnotations");
    if policy.len("spec.auditAnnotations") > MAX_ANNOTATIONS {
        let shown = |note: &At<'_>| {
            format!("{{\"Key\":{},\"ValueExpression\":{}}}", note.raw("key"), note.raw("valueExpression"))
        };
        let shown: Vec<_> = policy.items("spec.auditAnnotations").iter().map(shown).collect();
        let shown = Shown::Printed(go_json(format!("[{}]", shown.join(","))));
        errors.push(list.invalid_as(shown, format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations")));
    }
    let mut seen = Vec::new();
    for annotation in policy.items("spec.auditAnnotations") {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        let name = policy.str("metadata.name");
        if name.is_empty() {
            errors.push(key.invalid("requires metadata.name be non-empty"));
        } else {
            let whole = format!("{name}/{}", key.text());
            errors.extend(names::qualified_name(&whole).into_iter().map(|why| key.invalid_as(whole.clone(), why)));
        }
        if value.text().trim().is_empty() {
            errors.push(value.required("valueExpression is not specified"));
        } else if value.text().trim().len() > MAX_ANNOTATION_BYTES {
            errors.push(value.required(&format!("must not exceed {MAX_ANNOTATION_BYTES} bytes in length")));
        } else {
            errors.extend(compiled(&value, value.text().trim(), &environment, &[Type::String, Type::Null]));
        }
        if seen.contains(&key.text()) {
            errors.push(key.duplicate());
        }
        seen.push(key.text());
    }
    errors
}

/// The mutations of a policy.
pub(super) fn mutations(spec: &At<'_>, scope: &Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    let list = spec.get("mutations");
    if spec.len("mutations") == 0 {
        errors.push(list.required("mutations must contain at least one item"));
    }
    let environment = environment(scope);
    for mutation in spec.items("mutations") {
        let patch_type = mutation.get("patchType");
        if patch_type.text().is_empty() {
            errors.push(patch_type.required(""));
            continue;
        }
        let (own, other, gives) = match patch_type.text() {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Type::open_struct("Object")),
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Type::list(environment.structs[1].clone())),
            _ => {
                errors.push(patch_type.not_supported(&["ApplyConfiguration", "JSONPatch"]));
                continue;
            }
        };
        let patch = mutation.get(own);
        if patch.is_set() {
            let text = patch.get("expression");
            match text.text().trim() {
                "" => errors.push(text.required("")),
                trimmed => {
                    let trimmed = Value::from(trimmed);
                    errors.extend(expression(&At::new(&trimmed, text.path.clone()), &environment, &[gives]));
                }
            }
        } else {
            let detail = format!("must be specified when patchType is {}", patch_type.text());
            errors.push(patch.required(&detail));
        }
        if mutation.has(other) {
            let detail = format!("must not be specified when patchType is {}", patch_type.text());
            errors.push(mutation.get(other).invalid_as(format!("{{{other}}}"), detail));
        }
    }
    let again = spec.get("reinvocationPolicy");
    if again.text().is_empty() {
        errors.push(again.required(""));
    } else {
        errors.extend(one_of(&again, &["IfNeeded", "Never"]));
    }
    errors
}

/// The expression of a match condition.
pub(super) fn match_condition(text: &At<'_>, params: bool) -> ErrorList {
    let scope = Scope { params, authorizer: true, ..Scope::default() };
    let trimmed = Value::from(text.text().trim());
    expression(&At::new(&trimmed, text.path.clone()), &environment(&scope), &[Type::Bool])
}
