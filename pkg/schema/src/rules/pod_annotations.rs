// SPDX-License-Identifier: Apache-2.0

//! Annotations that mean something to pods (ValidatePodSpecificAnnotations and its kin).

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::containers;
use super::volumes::local_descending_path;

/// The pod mirrors one that a node has of its own.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// How dear it is to delete this pod of several.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Before the name of a container: its AppArmor profile.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The seccomp profile of the pod.
pub const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Before the name of a container: its seccomp profile.
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const LOCALHOST: &str = "localhost/";

/// What is wrong with the annotations of a pod or template.
pub fn of_pod(annotations: &At<'_>, spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let given = |key: &str| annotations.value.get(key).and_then(Value::as_str);
    if let Some(value) = given(MIRROR).filter(|_| spec.str("nodeName").is_empty()) {
        let message = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&annotations.path.key(MIRROR), value, message));
    }
    if let Some(cost) = given(DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.push(FieldError::invalid(&annotations.path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    if let Some(profile) = given(SECCOMP) {
        errors.extend(seccomp(annotations, SECCOMP, profile));
    }
    for (key, value) in annotations.entries_here() {
        if key.starts_with(SECCOMP_CONTAINER) {
            errors.extend(seccomp(annotations, key, value.text()));
        }
    }
    for (key, value) in annotations.entries_here() {
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            errors.extend(app_armor(&value, name, spec));
        }
    }
    errors
}

/// A number of 32 bits, without a plus sign or a zero before it.
fn is_cost(text: &str) -> bool {
    let starts_well = text == "0" || text.starts_with('-') || text.starts_with(|c| ('1'..='9').contains(&c));
    starts_well && text.parse::<i32>().is_ok()
}

fn seccomp(annotations: &At<'_>, key: &str, profile: &str) -> ErrorList {
    let value = Value::from(profile);
    let at = At::new(&value, annotations.path.child(key));
    match profile.strip_prefix(LOCALHOST) {
        _ if ["runtime/default", "docker/default", "unconfined"].contains(&profile) => ErrorList::new(),
        Some(path) => local_descending_path(&At::new(&Value::from(path), at.path)),
        None => vec![at.invalid("must be a valid seccomp profile")],
    }
}

fn app_armor(annotation: &At<'_>, container: &str, spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !containers::all(spec).iter().any(|other| other.str("name") == container) {
        errors.push(annotation.invalid_as(container, "container not found"));
    }
    let profile = annotation.text();
    if !["", "runtime/default", "unconfined"].contains(&profile) && !profile.starts_with(LOCALHOST) {
        errors.push(annotation.invalid(format!("invalid AppArmor profile name: {profile:?}")));
    }
    errors
}

/// The field that says what an annotation for AppArmor says.
pub fn app_armor_field(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        text => {
            let name = text.strip_prefix(LOCALHOST)?;
            let valid = !name.is_empty() && name.trim() == name && name.len() <= 4095;
            valid.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Profiles that an annotation and a field name differently.
pub fn profiles_that_differ(annotations: &At<'_>, spec: &At<'_>) -> ErrorList {
    let given = |key: &str| annotations.value.get(key).and_then(Value::as_str);
    let mut errors = ErrorList::new();
    let of_pod = spec.get("securityContext.seccompProfile");
    errors.extend(given(SECCOMP).and_then(|profile| differs(profile, &of_pod, "seccomp")));
    let all = containers::all(spec);
    for container in &all {
        let profile = given(&format!("{SECCOMP_CONTAINER}{}", container.str("name")));
        let field = container.get("securityContext.seccompProfile");
        errors.extend(profile.and_then(|profile| differs(profile, &field, "seccomp")));
    }
    if spec.str("os.name") == "windows" {
        return errors;
    }
    for container in &all {
        let own = container.get("securityContext.appArmorProfile");
        let profile = given(&format!("{APP_ARMOR}{}", container.str("name")));
        let meant = if own.is_set() { own.value } else { spec.raw("securityContext.appArmorProfile") };
        errors.extend(profile.and_then(|profile| differs(profile, &At::new(meant, own.path.clone()), "apparmor")));
    }
    errors
}

fn differs(annotation: &str, field: &At<'_>, what: &str) -> Option<FieldError> {
    let docker = what == "seccomp" && annotation == "docker/default";
    let same_kind = match field.str("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || docker,
        "Localhost" => match annotation.strip_prefix(LOCALHOST) {
            Some(name) if field.raw("localhostProfile") != name => {
                let message = format!("{what} profile in annotation and field must match");
                return Some(field.get("localhostProfile").forbidden(message));
            }
            found => found.is_some(),
        },
        _ => true,
    };
    (!same_kind).then(|| field.get("type").forbidden(format!("{what} type in annotation and field must match")))
}

/// What is wrong with a change of annotations: of some a pod keeps what it was made with.
pub fn changes(annotations: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let kept = |key: &str| key.starts_with(APP_ARMOR) || key == MIRROR;
    let name = |key: &str| if key == MIRROR { "mirror pod annotation" } else { "AppArmor annotations" };
    for (key, old) in before.entries_here() {
        if kept(key) && annotations.value.get(key) != Some(old.value) {
            let path = annotations.path.key(key);
            errors.push(FieldError::forbidden(&path, format!("may not remove or update {}", name(key))));
        }
    }
    for (key, new) in annotations.entries_here() {
        if kept(key) && before.value.get(key).is_none() {
            errors.push(new.forbidden(format!("may not add {}", name(key))));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_types::FieldPath;

    fn told(annotations: Value, spec: Value) -> Vec<String> {
        let annotations = At::new(&annotations, FieldPath::new("a"));
        let spec = At::new(&spec, FieldPath::new("spec"));
        let errors = of_pod(&annotations, &spec).into_iter().chain(profiles_that_differ(&annotations, &spec));
        errors.map(|error| error.to_string()).collect()
    }

    #[test]
    fn annotations_and_fields_say_the_same() {
        let spec =
            json!({"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]});
        let key = format!("{APP_ARMOR}c");
        assert!(told(json!({&key: "unconfined"}), spec.clone()).is_empty());
        let path = "spec.containers[0].securityContext.appArmorProfile.type";
        assert_eq!(
            told(json!({&key: "runtime/default"}), spec),
            [format!("{path}: Forbidden: apparmor type in annotation and field must match")]
        );
    }

    #[test]
    fn costs_are_numbers_of_32_bits() {
        for (text, want) in
            [("1", true), ("-7", true), ("0", true), ("+1", false), ("01", false), ("1e3", false), ("", false)]
        {
            assert_eq!(is_cost(text), want, "{text}");
        }
    }
}
