// SPDX-License-Identifier: Apache-2.0
//! Base64 as Go reads it: standard alphabet, padded, line breaks left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text itself, or without its line breaks; else what Go says about it.
pub(super) fn canonical(text: String) -> Result<String, String> {
    if STANDARD.decode(&text).is_ok() {
        return Ok(text);
    }
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    // Bits that do not fill a byte are dropped, as Go does.
    match lenient().decode(&joined) {
        Ok(bytes) => Ok(STANDARD.encode(bytes)),
        Err(_) => Err(format!("illegal base64 data at input byte {}", fault_offset(text.as_bytes()))),
    }
}

/// Bytes as text.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn lenient() -> base64::engine::GeneralPurpose {
    let config = base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

/// The offset that Go's decoder reports: of the character at fault, or of the group of four that
/// is not whole.
fn fault_offset(text: &[u8]) -> usize {
    let mut in_group = 0;
    for (i, byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if in_group >= 2 => {
                let rest = text[i + 1..].iter().position(|b| !matches!(b, b'\r' | b'\n')).map(|at| i + 1 + at);
                return match (in_group, rest) {
                    (2, None) => text.len(),
                    (2, Some(at)) if text[at] == b'=' => at + 1,
                    (_, Some(at)) => at,
                    (_, None) => i,
                };
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_group = (in_group + 1) % 4,
            _ => return i,
        }
    }
    text.len() - in_group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_where_go_finds_them() {
        for (text, offset) in [("not base64!", 3), ("%%%", 0), ("AA", 0), ("AAAAA", 4), ("AA=", 3), ("A===", 1)] {
            let want = format!("illegal base64 data at input byte {offset}");
            assert_eq!(canonical(text.into()), Err(want), "{text}");
        }
    }

    #[test]
    fn line_breaks_go() {
        assert_eq!(canonical("eA==\n".into()).as_deref(), Ok("eA=="));
        assert_eq!(canonical("".into()).as_deref(), Ok(""));
    }
}
