// SPDX-License-Identifier: Apache-2.0
//! The formats of text that schemas may ask for; others are not looked at.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

use super::value::{What, wrong_type};
use crate::crd::structural::StructuralSchema;
use crate::decode::go_time;
use crate::rules::names;

const KNOWN: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The schema's format is one that text is checked against.
pub(super) fn known(schema: &StructuralSchema) -> bool {
    let text = matches!(schema.ty.as_str(), "" | "string") && !schema.int_or_string;
    text && !schema.format.is_empty() && KNOWN.contains(&schema.format.replace('-', "").as_str())
}

/// What is wrong with a text that is to be of its schema's format.
pub(super) fn check(text: &str, schema: &StructuralSchema, path: &str) -> Option<What> {
    if !known(schema) || fits(text, &schema.format.replace('-', "")) {
        return None;
    }
    let What::Type(value, said) = wrong_type(path, &schema.format, text.into()).what else { return None };
    Some(What::Type(value, said))
}

macro_rules! pattern {
    ($text:expr, $pattern:literal) => {{
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($pattern).ok());
        PATTERN.as_ref().is_none_or(|pattern| pattern.is_match($text))
    }};
}

fn fits(text: &str, format: &str) -> bool {
    match format {
        "bsonobjectid" => pattern!(text, "^[0-9a-fA-F]{24}$"),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => pattern!(text, "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        "uuid3" => pattern!(text, "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        "uuid4" => pattern!(text, "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
        "uuid5" => pattern!(text, "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => pattern!(text, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"),
        "hexcolor" => pattern!(text, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        "rgbcolor" => is_rgb(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text.replace(['\n', '\r'], "")).is_ok(),
        "date" => jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok() && text.len() == 10,
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

/// With a scheme, or a path from the root.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| pattern!(scheme, "^[a-zA-Z][a-zA-Z0-9+.-]*$"))
}

/// An address as mail has it, perhaps with a name before it.
fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(open), Some(inner)) => &inner[open + 1..],
        _ => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atoms = |text: &str| !text.is_empty() && text.split('.').all(|atom| !atom.is_empty());
    let quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
    let plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || "()<>[]:;@\\,\"".contains(c));
    (quoted || (atoms(local) && plain(local))) && atoms(domain) && plain(domain)
}

fn is_hostname(text: &str) -> bool {
    if text.len() > 255 || text.is_empty() {
        return false;
    }
    pattern!(
        text,
        r"^([a-zA-Z0-9\p{L}]([a-zA-Z0-9\p{L}-]*[a-zA-Z0-9\p{L}])?)(\.[a-zA-Z0-9\p{L}]([a-zA-Z0-9\p{L}-]*[a-zA-Z0-9\p{L}])?)*\.?$"
    ) && text.trim_end_matches('.').split('.').all(|label| label.len() <= 63)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let canonical = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) && length.len() <= 3;
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    canonical && length.parse::<u8>().is_ok_and(|length| length <= most)
}

/// Six, eight or twenty bytes, as Go reads them.
fn is_mac(text: &str) -> bool {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_hexdigit());
    let groups = |separator: char, size: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| digits(part, size))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).filter_map(|c| c.to_digit(10)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let bare: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if !pattern!(&bare, "^(?:[0-9]{9}X|[0-9]{10})$") {
        return false;
    }
    let value = |c: char| if c == 'X' { 10 } else { c.to_digit(10).unwrap_or_default() };
    bare.chars().zip((1..=10).rev()).map(|(c, weight)| value(c) * weight).sum::<u32>().is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let bare: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let weighed = |digits: Vec<u32>| digits.iter().zip([1, 3].iter().cycle()).map(|(d, w)| d * w).sum::<u32>();
    pattern!(&bare, "^[0-9]{13}$") && weighed(digits_of(&bare)).is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let bare: String = digits.iter().map(u32::to_string).collect();
    let known = pattern!(
        &bare,
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$"
    );
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, d)| if i % 2 == 1 { doubled(*d) } else { *d }).sum();
    known && sum.is_multiple_of(10)
}

fn is_rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

/// As Go writes it (`1h30m`), or a number and a unit in words (`2 days`).
fn is_duration(text: &str) -> bool {
    pattern!(text, r"^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$")
        || pattern!(text, r"^((\d+)\s*([A-Za-zµ]+)\s*)$")
            && [
                "ns",
                "nano",
                "nanosecond",
                "us",
                "µs",
                "micro",
                "microsecond",
                "ms",
                "milli",
                "millisecond",
                "s",
                "sec",
                "second",
                "m",
                "min",
                "minute",
                "h",
                "hr",
                "hour",
                "d",
                "day",
                "w",
                "wk",
                "week",
            ]
            .contains(
                &text
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .trim()
                    .trim_end_matches('s')
                    .to_lowercase()
                    .as_str(),
            )
        || text.ends_with('s') && pattern!(text, r"^\d+\s*(ns|us|ms|s)$")
}

fn is_date_time(text: &str) -> bool {
    pattern!(text, r"^\d{4}-\d{2}-\d{2}[tT ]\d{2}:\d{2}:\d{2}(\.\d+)?([zZ]|[+-]\d{2}:?\d{2})?$")
        && go_time::canonical_time(&with_zone(text)).is_ok()
}

/// A time as RFC 3339 has it: a `T` between, and a zone.
fn with_zone(text: &str) -> String {
    let upper = text.to_uppercase().replacen(' ', "T", 1);
    let (_, time) = upper.split_once('T').unwrap_or(("", &upper));
    let mut full = upper.clone();
    if !time.contains(['Z', '+', '-']) {
        full.push('Z');
    } else if let Some(at) = full.rfind(['+', '-']).filter(|at| full.len() - at == 5 && *at > 10) {
        full.insert(at + 3, ':');
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_take_what_they_are_for() {
        for (format, good, bad) in [
            ("uri", "https://a/b", "no uri"),
            ("email", "Jo <jo@example.com>", "x"),
            ("hostname", "a.example.com", "-x-"),
            ("ipv4", "1.2.3.4", "1.2.3.400"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "01:23:45:67:89:ab", "zz"),
            ("uuid", "A987FBC9-4BED-3078-CF07-9141BA07C9F3", "x"),
            ("isbn", "978-0321751041", "978-0321751042"),
            ("isbn10", "0321751043", "0321751044"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("ssn", "111-11-1111", "1"),
            ("hexcolor", "#FFFFFF", "#FFF0"),
            ("rgbcolor", "rgb(255,0,1)", "rgb(256,0,1)"),
            ("byte", "aGk=", "***"),
            ("date", "2024-02-29", "2020-13-01"),
            ("duration", "1h30m", "soon"),
            ("duration", "2 days", "2 moons"),
            ("datetime", "2024-02-29T01:02:03.5Z", "yesterday"),
            ("datetime", "2024-02-29T01:02:03+0100", "2024-02-30T01:02:03Z"),
            ("k8sshortname", "a-b", "Not_A_Name"),
        ] {
            assert!(fits(good, format), "{format} {good}");
            assert!(!fits(bad, format), "{format} {bad}");
        }
        assert!(fits("anything", "password"));
    }
}
