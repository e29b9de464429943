// SPDX-License-Identifier: Apache-2.0
//! The formats of text that schemas may ask for; others are not looked at.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation>

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::value::{What, wrong_type};
use crate::crd::structural::StructuralSchema;
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
    let text = matches!(schema.ty.as_str(), "" | "string") || schema.int_or_string;
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

/// Whether a text is of the format of that name, written without dashes.
pub(crate) fn fits(text: &str, format: &str) -> bool {
    match format {
        "bsonobjectid" => pattern!(text, "^[0-9a-fA-F]{24}$"),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => is_ip(text) && text.contains('.'),
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
        "ssn" => text.len() == 11 && pattern!(text, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"),
        "hexcolor" => pattern!(text, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        "rgbcolor" => is_rgb(text),
        "byte" => pattern!(text, "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

/// An address of either family. Octets may have zeros before them.
fn is_ip(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok() || octets(text).is_some()
}

fn octets(text: &str) -> Option<Ipv4Addr> {
    let octet = |part: &str| -> Option<u8> {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.trim_start_matches('0')).map(|part| if part.is_empty() { "0" } else { part })?.parse().ok()
    };
    let octets: Option<Vec<u8>> = text.split('.').map(octet).collect();
    <[u8; 4]>::try_from(octets?).ok().map(Ipv4Addr::from)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && pattern!(text, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$") && text.parse::<jiff::civil::Date>().is_ok()
}

/// What Go's `url.ParseRequestURI` takes: a path from the root, or something behind a scheme.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.starts_with(':') || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let scheme = text.split_once(':').filter(|(scheme, _)| pattern!(scheme, "^[a-zA-Z][a-zA-Z0-9+.-]*$"));
    let rest = scheme.map_or(text, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        // What is behind a scheme alone is not looked into.
        return scheme.is_some();
    }
    match rest.strip_prefix("//").filter(|_| scheme.is_some()) {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            is_authority(authority) && escapes_well(path)
        }
        None => escapes_well(rest),
    }
}

/// Every `%` begins an escape, of a path.
fn escapes_well(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port_of = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    if host.starts_with('[') {
        return host.rfind(']').is_some_and(|end| port_of(&host[end + 1..]));
    }
    let (name, port) = host.rfind(':').map_or((host, ""), |colon| host.split_at(colon));
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(c);
    port_of(port) && name.chars().all(allowed)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit())
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

/// One label, or several with a name of letters at the end.
fn is_hostname(text: &str) -> bool {
    pattern!(
        text,
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
    ) && text.len() <= 255
        && text.split('.').all(|label| label.len() <= 63)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match octets(address) {
        Some(_) => 32,
        None if address.parse::<Ipv6Addr>().is_ok() => 128,
        None => return false,
    };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    digits && length.parse::<u32>().is_ok_and(|length| length <= most)
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
    let parts: Vec<&str> = inner.split(',').map(|part| part.trim_matches([' ', '\t', '\n', '\r', '\u{c}'])).collect();
    let plain = |part: &&str| *part == "0" || !part.starts_with(['0', '+']);
    parts.len() == 3 && parts.iter().all(|part| plain(part) && part.parse::<u8>().is_ok())
}

/// As Go writes it (`1h30m`), or numbers and units in words somewhere in the text (`2 days`).
fn is_duration(text: &str) -> bool {
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"([0-9]+)[\t\n\f\r ]*([A-Za-zµ]+)").ok());
    if pattern!(text, r"^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$") {
        return true;
    }
    let mut found = false;
    for words in WORDS.iter().flat_map(|words| words.captures_iter(text)) {
        if words[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = words[2].to_lowercase();
        // The last name of each unit may go on: `days`, `hours`.
        let is = |names: &&[&str]| names.contains(&unit.as_str()) || names.last().is_some_and(|n| unit.starts_with(n));
        found |= UNITS.iter().any(is);
    }
    found
}

/// A date, a `T` and a time with its zone.
fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let form = pattern!(time, "^[0-9]{2}:[0-9]{2}:[0-9]{2}(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$");
    is_date(date) && form && &time[0..2] <= "23" && &time[3..5] <= "59" && &time[6..8] <= "59"
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
            ("datetime", "2024-02-29T01:02:03+01:00", "2024-02-30T01:02:03Z"),
            ("datetime", "2024-02-29t01:02:03z", "2024-02-29T01:02:03"),
            ("datetime", "2024-02-29T23:59:59Z", "2024-02-29T24:00:00Z"),
            ("ipv4", "010.0.0.1", "::1"),
            ("cidr", "2001:db8::/32", "10.0.0.0/33"),
            ("hostname", "example", "ex-ample-"),
            ("hostname", "a.b.example.com", "a.example.c0m"),
            ("uri", "/a b", "a/b"),
            ("uri", "mailto:x", "https://host:port/"),
            ("uri", "https://a/b?c=%zz", "https://a/%zz"),
            ("duration", "2 days", ""),
            ("byte", "aGk=", ""),
            ("k8sshortname", "a-b", "Not_A_Name"),
        ] {
            assert!(fits(good, format), "{format} {good}");
            assert!(!fits(bad, format), "{format} {bad}");
        }
        assert!(fits("anything", "password"));
    }
}
