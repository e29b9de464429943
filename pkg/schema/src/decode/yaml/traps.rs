// SPDX-License-Identifier: Apache-2.0
//! Texts at which the scanner of the library panics: refused, or completed, before it sees them.
//!
//! libyaml-safer 0.3.0 has three such places: a backslash that is the last of a text within double quotes, a comma right
//! behind a tag, and a block scalar whose last line does not end. The first two are faults of the text, which go-yaml
//! tells; of the third a line break too many is taken away again.

use std::borrow::Cow;

use libyaml_safer::{ScalarStyle, Scanner, Token, TokenData};

use super::nodes::{in_go_words, problem};

/// A text that the scanner can take.
pub(super) struct Safe<'t> {
    pub text: Cow<'t, str>,
    /// A line break was added at its end, behind a line that had something on it, or nothing.
    added_behind: Option<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Content,
    Blank,
}

impl<'t> Safe<'t> {
    /// Makes a text safe.
    ///
    /// # Errors
    /// In go-yaml's words, where the scanner would not come back.
    pub fn new(text: &'t str) -> Result<Self, String> {
        // The scanner would pass over it, and count without it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        refuse(text)?;
        let last = text.rsplit(LINE_BREAKS).next().unwrap_or_default();
        // Only block scalars need it, and errors at the end of a text name its last line.
        let may_be_open = !last.is_empty() && text.contains(['|', '>']);
        if !may_be_open {
            return Ok(Self { text: text.into(), added_behind: None });
        }
        let line = if last.trim_matches(' ').is_empty() { Line::Blank } else { Line::Content };
        Ok(Self { text: ended(text).into(), added_behind: Some(line) })
    }

    /// What a scalar that ends at this byte says.
    pub fn scalar(&self, mut value: String, style: ScalarStyle, end: u64) -> String {
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let too_many = match self.added_behind {
            Some(Line::Content) => "\n",
            // Of what ends blank, only a scalar that keeps all of its line breaks has the one that was added.
            Some(Line::Blank) => "\n\n",
            None => return value,
        };
        if is_block && usize::try_from(end) == Ok(self.text.len()) && value.ends_with(too_many) {
            value.pop();
        }
        value
    }
}

const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

fn ended(text: &str) -> String {
    [text, "\n"].concat()
}

fn refuse(text: &str) -> Result<(), String> {
    if text.ends_with('\\') {
        // With a letter behind it, the backslash is an escape that there is not; outside of quotes both say nothing.
        scan(&[text, "q"].concat(), |_| None)?;
    }
    let (apart, places) = commas_apart(text);
    if places.is_empty() {
        return Ok(());
    }
    scan(&apart, |token| {
        let index = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let of_tag = index(token.start_mark.index)..=index(token.end_mark.index);
        let first = places.partition_point(|place| place < of_tag.start());
        let is_near = places.get(first).is_some_and(|place| of_tag.contains(place));
        (matches!(token.data, TokenData::Tag { .. }) && is_near)
            .then(|| problem(token.end_mark.line, "did not find expected whitespace or line break"))
    })
}

/// Scans a text until a token is found at fault.
fn scan(text: &str, fault: impl Fn(&Token) -> Option<String>) -> Result<(), String> {
    let text = ended(text);
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

/// The text with what may be a tag and the comma right behind it set apart, and where: a space changes nothing else about
/// how a text is scanned, but behind a colon, where a letter takes the place of the comma.
fn commas_apart(text: &str) -> (String, Vec<usize>) {
    let (mut apart, mut places) = (String::new(), Vec::new());
    let (mut copied, mut before, mut may_be_tag) = (0, b' ', false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'!' if matches!(before, b' ' | b'\t' | b'[' | b'{' | b',' | b':') || text[..at].ends_with(LINE_BREAKS) => {
                may_be_tag = true;
            }
            b' ' | b'\t' | b'\n' | b'\r' => may_be_tag = false,
            b',' if may_be_tag => {
                apart.push_str(&text[copied..at]);
                places.push(apart.len());
                apart.push_str(if before == b':' { "_" } else { " ," });
                (copied, may_be_tag) = (at + 1, false);
            }
            _ => {}
        }
        before = byte;
    }
    apart.push_str(&text[copied..]);
    (apart, places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::nodes::{Kind, first};

    #[test]
    fn block_scalars_end_with_their_text() {
        for (text, want) in [
            ("|\n  a", "a"),
            ("|\n  a\n", "a\n"),
            ("|\n  a\n  ", "a\n"),
            ("|\n  a\n\n  b", "a\n\nb"),
            ("|+\n  a", "a"),
            ("|+\n  a\n  ", "a\n"),
            ("|+\n  a\n\n", "a\n\n"),
            ("|-\n  a", "a"),
            ("|-\n  a\n  ", "a"),
            (">\n  a\n  b", "a b"),
            ("|", ""),
            ("|+", ""),
            ("|\n  a # b", "a # b"),
            ("'a > b'", "a > b"),
            ("a | b", "a | b"),
        ] {
            let node = first(text).unwrap().unwrap();
            assert!(matches!(&node.kind, Kind::Scalar { text, .. } if text == want), "{text:?}: {:?}", node.kind);
        }
    }

    #[test]
    fn what_the_scanner_cannot_take_is_told() {
        let tag = "did not find expected whitespace or line break";
        for (text, why) in [
            ("[\"\\", "yaml: found unknown escape character".to_owned()),
            ("a: b\nc: \"x\\", "yaml: line 2: found unknown escape character".to_owned()),
            ("[!a,b]", format!("yaml: {tag}")),
            ("[!a:,b]", format!("yaml: {tag}")),
            ("\u{feff}[!a,b]", format!("yaml: {tag}")),
            ("{\"a\":!a,b}", format!("yaml: {tag}")),
            ("a: 1\nb: {c: !!str, d: 1}", format!("yaml: line 2: {tag}")),
        ] {
            assert_eq!(first(text).err(), Some(why), "{text}");
        }
        for line_break in super::LINE_BREAKS {
            assert!(first(&format!("[{line_break}!a,b]")).is_err(), "{line_break:?}");
        }
        for text in [
            "a: b\\",
            "'a\\'",
            "[!a b, c]",
            "a: \"!b, c\"",
            "a: b!,c\nd: [e!f,g]",
            "- !a\n- b,c",
            "a: b !c:,d",
            "{a: b !c, d: 1}",
            "|\n  a!,\\",
        ] {
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
