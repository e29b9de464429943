// SPDX-License-Identifier: Apache-2.0
//! What Go's `netip.ParseAddr` says of a text that is no address.

use knarr_types::go_quoted;

/// The fault of a text, in its words: `ParseAddr("1.2.3"): IPv4 address too short`.
pub(super) fn fault(text: &str) -> String {
    let found = match text.find(['.', ':', '%']).map(|at| text.as_bytes()[at]) {
        Some(b'.') => ipv4(text),
        Some(b':') => ipv6(text),
        Some(_) => Err(("missing IPv6 address", "")),
        None => Ok(()),
    };
    let (why, at) = found.err().unwrap_or(("unable to parse IP", ""));
    let place = if at.is_empty() { String::new() } else { format!(" (at {})", go_quoted(at)) };
    format!("ParseAddr({}): {why}{place}", go_quoted(text))
}

/// What is wrong, and from where on.
type Fault<'t> = (&'static str, &'t str);

fn ipv4(text: &str) -> Result<(), Fault<'_>> {
    let bytes = text.as_bytes();
    let (mut value, mut dots, mut digits) = (0_u32, 0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' if digits == 1 && value == 0 => return Err(("IPv4 field has octet with leading zero", "")),
            b'0'..=b'9' => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            b'.' if at == 0 || at + 1 == bytes.len() || bytes[at - 1] == b'.' => {
                return Err(("IPv4 field must have at least one digit", &text[at..]));
            }
            b'.' if dots == 3 => return Err(("IPv4 address too long", "")),
            b'.' => (value, digits, dots) = (0, 0, dots + 1),
            _ => return Err(("unexpected character", text.get(at..).unwrap_or_default())),
        }
    }
    if dots < 3 { Err(("IPv4 address too short", "")) } else { Ok(()) }
}

fn ipv6(text: &str) -> Result<(), Fault<'_>> {
    let (mut rest, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    if zone == Some("") {
        return Err(("zone must be a non-empty string", ""));
    }
    let (mut bytes, mut gap) = (0, false);
    if let Some(after) = rest.strip_prefix("::") {
        (gap, rest) = (true, after);
        if rest.is_empty() {
            return Ok(());
        }
    }
    while bytes < 16 {
        let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        match length {
            0 => return Err(("each colon-separated field must have at least one digit", rest)),
            1..=4 => {}
            _ => return Err(("each group must have four or less digits", rest)),
        }
        if rest[length..].starts_with('.') {
            if !gap && bytes != 12 {
                return Err(("embedded IPv4 address must replace the final 2 fields of the address", rest));
            }
            if bytes + 4 > 16 {
                return Err(("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
            }
            ipv4(rest)?;
            (bytes, rest) = (bytes + 4, "");
            break;
        }
        (bytes, rest) = (bytes + 2, &rest[length..]);
        let Some(after) = rest.strip_prefix(':') else {
            if rest.is_empty() {
                break;
            }
            return Err(("unexpected character, want colon", rest));
        };
        if after.is_empty() {
            return Err(("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if gap {
                return Err(("multiple :: in address", rest));
            }
            (gap, rest) = (true, after);
            if rest.is_empty() {
                break;
            }
        }
    }
    match (rest.is_empty(), bytes < 16, gap) {
        (false, ..) => Err(("trailing garbage after address", rest)),
        (_, true, false) => Err(("address string too short", "")),
        (_, false, true) => Err(("the :: must expand to at least one field of zeros", "")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_does() {
        for (text, want) in [
            ("", "unable to parse IP"),
            ("host", "unable to parse IP"),
            ("1.2.3", "IPv4 address too short"),
            ("1.2.3.4.5", "IPv4 address too long"),
            ("1.2.3.400", "IPv4 field has value >255"),
            ("1.2.3.04", "IPv4 field has octet with leading zero"),
            ("1..3.4", "IPv4 field must have at least one digit (at \".3.4\")"),
            ("1.2.3.x", "unexpected character (at \"x\")"),
            ("192.168.0.0/16", "unexpected character (at \"/16\")"),
            ("1:2:3", "address string too short"),
            ("1::2::3", "multiple :: in address (at \":3\")"),
            ("12345::", "each group must have four or less digits (at \"12345::\")"),
            ("1:2:", "colon must be followed by more characters (at \":\")"),
            ("2001:db8::g", "each colon-separated field must have at least one digit (at \"g\")"),
            ("1:2:3:4:5:6:7:8:9", "trailing garbage after address (at \"9\")"),
            ("%a", "missing IPv6 address"),
            ("fe80::1%", "zone must be a non-empty string"),
        ] {
            assert_eq!(fault(text), format!("ParseAddr({text:?}): {want}"));
        }
    }
}
