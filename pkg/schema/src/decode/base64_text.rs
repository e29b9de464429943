// SPDX-License-Identifier: Apache-2.0
//! Base64 as Go reads it: padded, line breaks left out.

use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// The text itself, or without its line breaks; else what Go says about it.
pub(super) fn canonical(text: String) -> Result<String, String> {
    if STANDARD.decode(&text).is_ok() {
        return Ok(text);
    }
    decode(&text, &alphabet::STANDARD, *b"+/").map(|bytes| STANDARD.encode(bytes))
}

/// The bytes of a text in the alphabet of URLs, in which values of the format `byte` are read for expressions.
///
/// # Errors
/// What Go says about it.
pub(crate) fn decode_url(text: &str) -> Result<Vec<u8>, String> {
    decode(text, &alphabet::URL_SAFE, *b"-_")
}

/// `last` are the two letters in which alphabets differ.
fn decode(text: &str, alphabet: &Alphabet, last: [u8; 2]) -> Result<Vec<u8>, String> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    // Bits that do not fill a byte are dropped, as Go does.
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let decoded = GeneralPurpose::new(alphabet, config).decode(&joined);
    decoded.map_err(|_| format!("illegal base64 data at input byte {}", fault_offset(text.as_bytes(), last)))
}

/// Bytes as text.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The offset that Go's decoder reports: of the character at fault, or of the group of four that
/// is not whole.
fn fault_offset(text: &[u8], last: [u8; 2]) -> usize {
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
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => in_group = (in_group + 1) % 4,
            other if last.contains(other) => in_group = (in_group + 1) % 4,
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
    fn urls_have_letters_of_their_own() {
        assert_eq!(decode_url("_-8="), Ok(vec![0xff, 0xef]));
        assert_eq!(decode_url("a/=="), Err("illegal base64 data at input byte 1".to_owned()));
    }

    #[test]
    fn line_breaks_go() {
        assert_eq!(canonical("eA==\n".into()).as_deref(), Ok("eA=="));
        assert_eq!(canonical("".into()).as_deref(), Ok(""));
    }
}
