//! What may be a name: DNS labels and subdomains, qualified names, label values, ports, in
//! upstream's words (`k8s.io/apimachinery/pkg/util/validation`).

/// `(name, it is a generateName prefix)` gives what is wrong.
pub type NameCheck = fn(&str, bool) -> Vec<String>;

const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_PATTERN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_PATTERN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// A name that is a DNS subdomain: most kinds.
#[must_use]
pub fn dns_subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&mask_trailing_dash(name, prefix))
}

/// A name that is a DNS label: namespaces and what becomes part of host names.
#[must_use]
pub fn dns_label_name(name: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&mask_trailing_dash(name, prefix))
}

/// A prefix may end in a dash, as something follows it.
fn mask_trailing_dash(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && name.len() > 1 => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

/// RFC 1123 label: at most 63 bytes.
#[must_use]
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 63 {
        faults.push(too_long(63));
    }
    if !is_label(value) {
        faults.push(pattern(LABEL_MESSAGE, LABEL_PATTERN, &["my-name", "123-abc"]));
    }
    faults
}

/// RFC 1123 subdomain: at most 253 bytes.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 253 {
        faults.push(too_long(253));
    }
    if !value.split('.').all(is_label) {
        faults.push(pattern(SUBDOMAIN_MESSAGE, SUBDOMAIN_PATTERN, &["example.com"]));
    }
    faults
}

fn is_label(value: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = value.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn too_long(max_bytes: usize) -> String {
    format!("must be no more than {max_bytes} bytes")
}

fn pattern(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|e| format!("'{e}'")).collect();
    let examples = match examples.as_slice() {
        [] => String::new(),
        some => format!("e.g. {}, ", some.join(",  or ")),
    };
    format!("{message} ({examples}regex used for validation is '{regex}')")
}
