// SPDX-License-Identifier: Apache-2.0

//! ConfigMaps, Secrets and ServiceAccounts (`pkg/registry/core/{configmap,secret,serviceaccount}`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::{At, same};
use super::fill::{self, empty};
use super::judging::Judging;
use super::key_pair;
use super::metadata;
use super::names;

pub(super) static CONFIG_MAP: Rules = Rules {
    validate: |map| config_map(&At::root(map)),
    validate_update: |new, old, _| {
        let mut errors = unchanged(new, old, &["data", "binaryData"]);
        errors.extend(config_map(&At::root(new)));
        errors
    },
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

pub(super) static SECRET: Rules = Rules {
    default: |secret| {
        empty(secret, "type", "Opaque");
        encode_string_data(secret);
    },
    prepare_update: |new, old, _| {
        if new["type"].as_str().unwrap_or_default().is_empty() {
            fill::keep(new, old, "type");
        }
    },
    validate: |secret| self::secret(&At::root(secret)),
    validate_update: |new, old, _| {
        let mut errors: ErrorList =
            metadata::immutable(&At::root(new).get("type"), &At::root(old).get("type")).into_iter().collect();
        errors.extend(unchanged(new, old, &["data"]));
        errors.extend(secret(&At::root(new)));
        errors
    },
    warnings: pair_warning,
    update_warnings: Some(|secret, _| pair_warning(secret)),
    fields: |secret| vec![("type", At::root(secret).str("type").to_owned())],
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

/// The certificate and the key of a secret belong together.
fn pair_warning(secret: &Object) -> Vec<String> {
    if secret["type"] != "kubernetes.io/tls" {
        return Vec::new();
    }
    let file = |name: &str| decoded(secret["data"][name].as_str().unwrap_or_default());
    key_pair::fault(&file("tls.crt"), &file("tls.key")).into_iter().collect()
}

pub(super) static SERVICE_ACCOUNT: Rules = Rules {
    prepare_create: clean_secrets,
    prepare_update: |new, _, _| clean_secrets(new),
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

/// Secrets are known by their names alone.
fn clean_secrets(account: &mut Object) {
    for secret in fill::each(account, "secrets") {
        let name = secret["name"].as_str().filter(|name| !name.is_empty()).map(Value::from);
        *secret =
            name.map(|name| knarr_types::tree::json!({"name": name})).unwrap_or_else(|| knarr_types::tree::json!({}));
    }
}

/// The most bytes that all values together may take.
const MAX_BYTES: usize = 1024 * 1024;

/// What was given as text becomes data, over what was given as data.
fn encode_string_data(secret: &mut Object) {
    let Some(texts) = secret["stringData"].as_object().cloned() else { return };
    fill::remove(secret, "stringData");
    let data = fill::object(secret, "data");
    for (key, text) in texts {
        data[key] = Value::from(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

/// An immutable map stays as it is, its immutability too.
fn unchanged(new: &Object, old: &Object, fields: &[&str]) -> ErrorList {
    const MESSAGE: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    if new["immutable"] != true {
        errors.push(FieldError::forbidden(&FieldPath::new("immutable"), MESSAGE));
    }
    for field in fields {
        if !same(&new[*field], &old[*field]) {
            errors.push(FieldError::forbidden(&FieldPath::new(field), MESSAGE));
        }
    }
    errors
}

fn config_map(map: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut total_bytes = 0;
    for (key, value) in map.entries("data") {
        errors.extend(metadata::faults(&value.path, key, names::config_map_key(key)));
        if map.raw("binaryData").get(key).is_some() {
            errors.push(value.invalid_as(key, "duplicate of key present in binaryData"));
        }
        total_bytes += value.text().len();
    }
    for (key, value) in map.entries("binaryData") {
        errors.extend(metadata::faults(&value.path, key, names::config_map_key(key)));
        total_bytes += decoded(value.text()).len();
    }
    if total_bytes > MAX_BYTES {
        errors.push(FieldError::too_long(&FieldPath::new("[]"), MAX_BYTES));
    }
    errors
}

fn secret(secret: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let data = secret.get("data");
    let mut total_bytes = 0;
    for (key, value) in secret.entries("data") {
        errors.extend(metadata::faults(&value.path, key, names::config_map_key(key)));
        total_bytes += decoded(value.text()).len();
    }
    if total_bytes > MAX_BYTES {
        errors.push(FieldError::too_long(&data.path, MAX_BYTES));
    }
    let key = |name: &str| At::new(data.value.get(name).unwrap_or(&Value::Null), data.path.key(name));
    let missing = |name: &str| data.value.get(name).is_none().then(|| key(name).required(""));
    match secret.str("type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let annotations = secret.get("metadata.annotations");
            let given = annotations.value.get(name).and_then(Value::as_str).unwrap_or_default();
            if given.is_empty() {
                errors.push(FieldError::required(&annotations.path.key(name), ""));
            }
        }
        "kubernetes.io/dockercfg" => errors.extend(json_key(&key(".dockercfg"))),
        "kubernetes.io/dockerconfigjson" => errors.extend(json_key(&key(".dockerconfigjson"))),
        "kubernetes.io/basic-auth" if missing("username").is_some() && missing("password").is_some() => {
            errors.extend(["username", "password"].iter().filter_map(|name| missing(name)));
        }
        "kubernetes.io/ssh-auth" if key("ssh-privatekey").text().is_empty() => {
            errors.push(key("ssh-privatekey").required(""));
        }
        "kubernetes.io/tls" => errors.extend(["tls.crt", "tls.key"].iter().filter_map(|name| missing(name))),
        _ => {}
    }
    errors
}

fn json_key(value: &At<'_>) -> Option<FieldError> {
    if !value.is_set() {
        return Some(value.required(""));
    }
    let bytes = decoded(value.text());
    let fault = serde_json::from_slice::<knarr_types::tree::Map>(&bytes).err()?;
    Some(value.invalid_as("<secret contents redacted>", go_json_error(&bytes, &fault)))
}

/// A JSON syntax error in Go's words, as far as they differ by what was found.
fn go_json_error(bytes: &[u8], fault: &serde_json::Error) -> String {
    let syntax = serde_json::from_slice::<Value>(bytes);
    if fault.is_eof() || syntax.is_err_and(|error| error.is_eof()) {
        return "unexpected end of JSON input".to_owned();
    }
    let at = fault.column().saturating_sub(1);
    let found = bytes.get(at).map_or('?', |byte| char::from(*byte));
    for literal in ["null", "true", "false"] {
        let started = bytes.iter().zip(literal.bytes()).take_while(|(a, b)| **a == *b).count();
        if started > 0 && started < literal.len() {
            let (found, expected) = (bytes.get(started).copied().unwrap_or(b'?'), literal.as_bytes()[started]);
            let (found, expected) = (char::from(found), char::from(expected));
            return format!("invalid character {found:?} in literal {literal} (expecting {expected:?})");
        }
    }
    format!("invalid character {found:?} looking for beginning of value")
}

fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}
