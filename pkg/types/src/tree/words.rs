// SPDX-License-Identifier: Apache-2.0
//! The bytes of a short text as numbers of eight: looked at and compared without a loop over each, and without
//! a call. Most names and texts of an object have fewer than seventeen.

/// The first eight bytes of a name as a number that sorts as they do.
#[inline]
#[must_use]
pub fn front(name: &str) -> u64 {
    match name.as_bytes().first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => short(name.as_bytes()).swap_bytes(),
    }
}

/// Whether two names are the same whose [`front`] is.
#[inline]
#[must_use]
pub fn is_same_behind_front(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.len() == b.len() && (a.len() <= 8 || (last(a) == last(b) && (a.len() <= 16 || a == b)))
}

/// Whether a byte of the text is this one, which is no space.
#[inline]
#[must_use]
pub fn has_byte(text: &str, byte: u8) -> bool {
    any(text, |word| zeros(word ^ each(byte)))
}

/// Whether a byte of the text has another form in JSON (RFC 8259, section 7): a control character, a quote, a backslash.
#[inline]
#[must_use]
pub fn is_escaped_in_json(text: &str) -> bool {
    let controls = |word: u64| word.wrapping_sub(each(b' ')) & !word & each(0x80);
    any(text, |word| controls(word) | zeros(word ^ each(b'"')) | zeros(word ^ each(b'\\')))
}

/// Whether a word of the text has what `marks` marks with bits. The last word overlaps the one before it; a text of
/// fewer than eight bytes is one word filled up with spaces.
#[inline]
fn any(text: &str, marks: impl Fn(u64) -> u64) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 {
        return marks(short(bytes) | (each(b' ') << (8 * bytes.len()))) != 0;
    }
    let (words, _) = bytes.as_chunks();
    let marked = words.iter().fold(marks(last(bytes)), |found, word| found | marks(u64::from_le_bytes(*word)));
    marked != 0
}

/// A number of this byte, eight times.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Not nothing if, and only if, a byte of the word is zero.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

/// The last eight bytes of no fewer.
#[inline]
fn last(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Fewer than eight bytes, the first one lowest; zero behind them. Pieces that overlap have the same bits there.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    let at = |index: usize| u64::from(bytes[index]) << (8 * index);
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ if bytes.is_empty() => 0,
        _ => at(0) | at(bytes.len() / 2) | at(bytes.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_say_what_bytes_say(a in "[ -~\n\0é\u{80}]{0,20}", b in "[a.\"]{0,20}") {
            for text in [&a, &b] {
                let mut first = [0; 8];
                let length = text.len().min(8);
                first[..length].copy_from_slice(&text.as_bytes()[..length]);
                prop_assert_eq!(front(text), u64::from_be_bytes(first));
                prop_assert_eq!(has_byte(text, b'.'), text.contains('.'));
                let escaped = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
                prop_assert_eq!(is_escaped_in_json(text), text.bytes().any(escaped));
                prop_assert!(is_same_behind_front(text, text));
            }
        }

        #[test]
        fn names_with_one_front_differ_behind_it(front in "[a-c]{8}", a in "[a-c]{0,16}", b in "[a-c]{0,16}") {
            let (a, b) = (format!("{front}{a}"), format!("{front}{b}"));
            prop_assert_eq!(is_same_behind_front(&a, &b), a == b);
        }
    }
}
