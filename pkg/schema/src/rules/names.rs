// SPDX-License-Identifier: Apache-2.0

//! What may be a name: DNS labels and subdomains, qualified names, label values, ports, in
//! upstream's words (`k8s.io/apimachinery/pkg/util/validation`). Every function gives what is wrong.

use knarr_types::Object;

/// `(name, it is a generateName prefix)` gives what is wrong.
pub(crate) type NameCheck = fn(&str, bool) -> Vec<String>;

/// The end of names that files on the server's own disk give.
const STATIC_SUFFIX: &str = ".static.k8s.io";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
     and must start and end with an alphanumeric character";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start and end with an alphanumeric character";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
     subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric \
     character";
const DNS1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
     with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
     with an alphanumeric character";
const LABEL_VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, \
     '-', '_' or '.', and must start and end with an alphanumeric character";
const CONFIG_KEY_MESSAGE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
const LABEL_PATTERN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_PATTERN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_PATTERN: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_PATTERN: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// A warning of a name that is kept for what files on the server's own disk say.
pub(crate) fn static_name_warning(object: &Object) -> Vec<String> {
    let is_static = object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(STATIC_SUFFIX));
    let why = "are reserved for static manifest-based configurations and cannot be managed via the API";
    is_static.then(|| format!("metadata.name: names ending with {STATIC_SUFFIX:?} {why}")).into_iter().collect()
}

/// The same where a prefix is not judged: what becomes of it is.
pub(crate) fn finished_dns_subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        return Vec::new();
    }
    // The rule is declared with the type, and such rules count bytes.
    dns_subdomain_name(name, false)
        .into_iter()
        .map(|fault| fault.replace("no more than 253 characters", "no more than 253 bytes"))
        .collect()
}

/// A name that is a DNS subdomain: most kinds.
#[must_use]
pub fn dns_subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&mask_trailing_dash(name, prefix))
}

/// A name that is a DNS label: namespaces and what becomes part of host names.
pub(crate) fn dns_label_name(name: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&mask_trailing_dash(name, prefix))
}

/// A name that is part of a path: RBAC's kinds.
#[must_use]
pub fn path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    for part in ["/", "%"] {
        if name.contains(part) {
            faults.push(format!("may not contain '{part}'"));
        }
    }
    faults
}

/// A prefix may end in a dash, as something follows it; upstream judges it by a text one shorter.
fn mask_trailing_dash(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => {
            let mut masked = rest.to_owned();
            masked.pop();
            masked.push('a');
            masked
        }
        _ => name.to_owned(),
    }
}

/// RFC 1123 label: at most 63 characters.
pub(crate) fn dns1123_label(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 63);
    if !is_label(value) {
        if is_subdomain(value) {
            // The message says at once what is different about a label.
            faults.push("must not contain dots".to_owned());
        } else {
            faults.push(pattern(LABEL_MESSAGE, LABEL_PATTERN, &["my-name", "123-abc"]));
        }
    }
    faults
}

/// RFC 1123 subdomain: at most 253 characters.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 253);
    if !is_subdomain(value) {
        faults.push(pattern(SUBDOMAIN_MESSAGE, SUBDOMAIN_PATTERN, &["example.com"]));
    }
    faults
}

/// A subdomain whose labels may also have underscores, as names of DNS services do.
pub(crate) fn dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 253);
    let is_name = |label: &str| is_label(&label.strip_prefix('_').unwrap_or(label).replace('_', "-"));
    if !value.split('.').all(is_name) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        faults.push(pattern(
            message,
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    faults
}

/// `*.` and a subdomain.
pub(crate) fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 253);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        faults.push(pattern(WILDCARD_MESSAGE, WILDCARD_PATTERN, &["*.example.com"]));
    }
    faults
}

/// RFC 1035 label: it starts with a letter.
pub(crate) fn dns1035_label(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 63);
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        faults.push(pattern(DNS1035_MESSAGE, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    faults
}

/// A full domain name: a subdomain of at least two labels, perhaps with a dot at its end.
pub(crate) fn fully_qualified_name(value: &str) -> Vec<String> {
    let faults = dns1123_subdomain(value);
    if faults.is_empty() && value.split('.').count() < 3 {
        return vec!["should be a domain with at least three segments separated by dots".to_owned()];
    }
    faults
}

/// `[prefix/]name`: keys of labels, annotations, taints, resources.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let qualified_pattern = || pattern(QUALIFIED_MESSAGE, QUALIFIED_PATTERN, &["MyName", "my.name", "123-abc"]);
    let mut faults = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                faults.extend(dns1123_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}")));
            }
            name
        }
        _ => {
            let tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {}{tail}", qualified_pattern())];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", max_bytes(63)));
    }
    if !is_qualified(name) {
        faults.push(format!("name part {}", qualified_pattern()));
    }
    faults
}

/// The value of a label.
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 63 {
        faults.push(max_bytes(63));
    }
    if !value.is_empty() && !is_qualified(value) {
        let regex = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        faults.push(pattern(LABEL_VALUE_MESSAGE, regex, &["MyValue", "my_value", "12345"]));
    }
    faults
}

/// A key of a ConfigMap or Secret.
pub(crate) fn config_map_key(value: &str) -> Vec<String> {
    let mut faults = too_many_characters(value, 253);
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(legal) {
        faults.push(pattern(CONFIG_KEY_MESSAGE, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    if value == "." || value == ".." {
        faults.push(format!("must not be '{value}'"));
    } else if value.starts_with("..") {
        faults.push("must not start with '..'".to_owned());
    }
    faults
}

/// The name of an environment variable.
pub(crate) fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() || !value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        let message =
            "a valid environment variable name must consist only of printable ASCII characters other than '='";
        return vec![message.to_owned()];
    }
    Vec::new()
}

/// The reason of a condition.
pub(crate) fn condition_reason(value: &str) -> Vec<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = value.as_bytes();
    let ends = bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.last().is_some_and(|b| word(*b));
    if !ends || !bytes.iter().all(|b| word(*b) || matches!(b, b',' | b':')) {
        let message = "a condition reason must start with alphabetic character, optionally followed by a string of \
                       alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
        let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
        return vec![pattern(message, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)];
    }
    Vec::new()
}

/// A name as C and its heirs have them.
pub(crate) fn c_identifier(value: &str) -> Vec<String> {
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let message = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                       alphanumeric characters or '_'";
        return vec![pattern(message, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])];
    }
    Vec::new()
}

/// The name of an HTTP header.
pub(crate) fn http_header_name(value: &str) -> Vec<String> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
        return vec![pattern(message, "[-A-Za-z0-9]+", &["X-Header-Name"])];
    }
    Vec::new()
}

/// The name of a port.
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 15 {
        faults.push("must be no more than 15 characters".to_owned());
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// The number of a port.
pub(crate) fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![in_range(1, 65535)] }
}

/// The id of a user or group.
pub(crate) fn user_or_group_id(id: i64) -> Vec<String> {
    if (0..=2_147_483_647).contains(&id) { Vec::new() } else { vec![in_range(0, 2_147_483_647)] }
}

/// A percentage: `10%`.
#[must_use]
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let message = "a valid percent string must be a numeric string followed by an ending '%'";
        return vec![pattern(message, "[0-9]+%", &["1%", "93%"])];
    }
    Vec::new()
}

/// What a number outside a range is told.
pub(crate) fn in_range(from: i64, to: i64) -> String {
    format!("must be between {from} and {to}, inclusive")
}

/// It is one DNS label.
#[must_use]
pub fn is_label(value: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = value.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// It is DNS labels with dots between them.
#[must_use]
pub fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn too_many_characters(value: &str, max: usize) -> Vec<String> {
    if value.len() > max { vec![format!("must be no more than {max} characters")] } else { Vec::new() }
}

fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `message (e.g. 'a',  or 'b', regex used for validation is '...')`
fn pattern(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|e| format!("'{e}'")).collect();
    format!("{message} (e.g. {}, regex used for validation is '{regex}')", examples.join(",  or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_in_upstreams_words() {
        type Check = fn(&str) -> Vec<String>;
        let cases: [(Check, &str, &[&str]); 9] = [
            (dns1123_label, "a-b", &[]),
            (dns1123_label, "a.b", &["must not contain dots"]),
            (port_name, "-a", &["must not begin or end with a hyphen"]),
            (port_name, "80", &["must contain at least one letter (a-z)"]),
            (config_map_key, "..", &["must not be '..'"]),
            (config_map_key, "..x", &["must not start with '..'"]),
            (qualified_name, "/a", &["prefix part must be non-empty"]),
            (qualified_name, "example.com/a_B.c", &[]),
            (label_value, "", &[]),
        ];
        for (check, value, want) in cases {
            assert_eq!(check(value), want, "{value:?}");
        }
    }
}
