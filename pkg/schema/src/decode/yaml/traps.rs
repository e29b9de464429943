// SPDX-License-Identifier: Apache-2.0
//! Texts at which the scanner of the library panics, refused before it sees them.
//!
//! libyaml-safer 0.3.0 has two such places: a backslash that is the last of a text within double quotes, and a comma
//! right behind a tag. Both are faults of the text, which go-yaml tells.

use libyaml_safer::{Scanner, Token, TokenData};

use super::nodes::{in_go_words, problem};

/// Lets a text on to the scanner.
///
/// # Errors
/// In go-yaml's words, where it would not come back.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.ends_with('\\') {
        // With a letter behind it, the backslash is an escape that there is not; outside of quotes both say nothing.
        scan(&[text, "q"].concat(), |_| None)?;
    }
    let (spaced, spaces) = with_spaces_before_commas(text);
    if spaces.is_empty() {
        return Ok(());
    }
    scan(&spaced, |token| {
        let is_tag = matches!(token.data, TokenData::Tag { .. });
        let index = usize::try_from(token.end_mark.index).unwrap_or(usize::MAX);
        (is_tag && spaces.binary_search(&index).is_ok())
            .then(|| problem(token.end_mark.line, "did not find expected whitespace or line break"))
    })
}

/// Scans a text until a token is found at fault.
fn scan(text: &str, fault: impl Fn(&Token) -> Option<String>) -> Result<(), String> {
    let mut input = text.as_bytes();
    let mut scanner = Scanner::new();
    scanner.set_input_string(&mut input);
    for token in scanner {
        if let Some(fault) = fault(&token.map_err(|error| in_go_words(&error))?) {
            return Err(fault);
        }
    }
    Ok(())
}

/// The text with a space before each comma that may stand right behind a tag, which changes nothing else about how it is
/// scanned; and where in it the spaces are.
fn with_spaces_before_commas(text: &str) -> (String, Vec<usize>) {
    let (mut spaced, mut spaces, mut may_be_tag) = (String::new(), Vec::new(), false);
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'!' => may_be_tag = true,
            b' ' | b'\t' | b'\n' | b'\r' => may_be_tag = false,
            b',' if may_be_tag => {
                spaced.push_str(&text[copied..at]);
                spaces.push(spaced.len());
                spaced.push(' ');
                (copied, may_be_tag) = (at, false);
            }
            _ => {}
        }
    }
    spaced.push_str(&text[copied..]);
    (spaced, spaces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::nodes::first;

    #[test]
    fn what_the_scanner_cannot_take_is_told() {
        let tag = "did not find expected whitespace or line break";
        for (text, why) in [
            ("[\"\\", "yaml: found unknown escape character".to_owned()),
            ("a: b\nc: \"x\\", "yaml: line 2: found unknown escape character".to_owned()),
            ("[!a,b]", format!("yaml: {tag}")),
            ("a: 1\nb: {c: !!str, d: 1}", format!("yaml: line 2: {tag}")),
        ] {
            assert_eq!(first(text).err(), Some(why), "{text}");
        }
        for text in ["a: b\\", "'a\\'", "[!a b, c]", "a: \"!b, c\"", "a: b!,c\nd: [e!f,g]", "- !a\n- b,c", "|\n  a!,\\"]
        {
            assert!(first(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn no_text_stops_the_scanner(text in "[-\\[\\]{},:!<>%&*#?|'\"\\\\ab1 \n\t.~é\u{2028}\u{feff}]{0,24}") {
            let _ = first(&text);
        }
    }
}
