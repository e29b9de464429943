// SPDX-License-Identifier: Apache-2.0
//! YAML to a tree, as upstream turns YAML into JSON first: YAML 1.1 by the rules of go-yaml's second version.
//!
//! The parser gives events; they are made into nodes, which aliases share, and the nodes into a tree. What aliases
//! repeat is bounded as go-yaml bounds it.

mod nodes;
mod read;
mod scalar;
mod traps;

use knarr_types::Object;

use super::{json_tree, shortest};

/// More open brackets than this are refused.
const MAX_FLOW_DEPTH: usize = 10_000;

/// A document, and what a strict reader minds in it.
#[derive(Debug, Default)]
pub struct Document {
    /// The tree.
    pub value: Object,
    /// Keys that come twice, in the words of go-yaml, as one fault: the last one counts.
    pub duplicates: Option<String>,
}

/// Reads the first document. A body without any is `null`.
///
/// # Errors
/// Where it is not YAML: `yaml: line 2: mapping values are not allowed in this context`.
pub fn first_document(body: &[u8]) -> Result<Document, String> {
    let text = String::from_utf8_lossy(body);
    // JSON is YAML, and what kubectl sends as YAML is JSON: its parser takes a tenth of the time and of the memory.
    if let Some(Ok((value, duplicates))) = text.trim_start().starts_with('{').then(|| json_tree::read(&text, shortest))
        && duplicates.is_empty()
    {
        return half_character(&text).map_or(Ok(Document { value, duplicates: None }), Err);
    }
    if nests_too_deep(&text) {
        return Err(format!("yaml: exceeded max depth of {MAX_FLOW_DEPTH}"));
    }
    let Some(nodes) = nodes::first(&text)? else { return Ok(Document::default()) };
    let (value, twice) = read::tree(&nodes)?;
    let duplicates = (!twice.is_empty()).then(|| format!("yaml: unmarshal errors:\n{}", twice.join("\n")));
    Ok(Document { value, duplicates })
}

/// What go-yaml says of a text in JSON that has a character in two halves: it knows only whole ones.
fn half_character(json: &str) -> Option<String> {
    let is_half = |escape: &[u8]| matches!(escape, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']);
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        if bytes.get(at + 1) == Some(&b'u') && bytes.get(at + 2..at + 4).is_some_and(is_half) {
            let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let line = if before == 0 { String::new() } else { format!("line {}: ", before + 1) };
            return Some(format!("yaml: {line}found invalid Unicode character escape code"));
        }
        at += 2;
    }
    None
}

/// The scanner's work grows with the square of open brackets, so they are bounded before it runs.
/// Brackets in texts count too: no sane document leaves this many open. A line can open as many lists by `- - -`.
fn nests_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let dashes = |line: &str| line.split(' ').take_while(|word| matches!(*word, "" | "-" | "?")).count();
    text.lines().any(|line| dashes(line) > MAX_FLOW_DEPTH)
        || text.bytes().any(|byte| {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth > MAX_FLOW_DEPTH
        })
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::Value;

    use super::*;

    #[test]
    fn the_first_document_counts() {
        let document = first_document(b"---\na: 1\nb: [x, {z: ~}]\n---\nc: 2\n").unwrap();
        assert_eq!(document.value, knarr_types::tree::json!({"a": 1, "b": ["x", {"z": null}]}));
        assert_eq!(first_document(br#"{"a": "\u00e9 \\ud83d"}"#).unwrap().value["a"], "é \\ud83d");
        assert_eq!(first_document(b"").unwrap().value, Value::Null);
        assert_eq!(first_document(b"# nothing\n").unwrap().value, Value::Null);
        let numbers = first_document(b"{\"a\": [80.0, 1e1, 0.5, -0.0]}").unwrap().value;
        assert_eq!(numbers, knarr_types::tree::json!({"a": [80, 10, 0.5, 0]}));
        assert_eq!(
            first_document(b"1: a\ntrue: b\n").unwrap().value,
            knarr_types::tree::json!({"1": "a", "true": "b"})
        );
    }

    #[test]
    fn faults_are_told_as_upstream_tells_them() {
        for (text, want) in [
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            ("\tx: 1", "yaml: found character that cannot start any token"),
            (r#"{"a": "\ud83d\ude00"}"#, "yaml: found invalid Unicode character escape code"),
            ("{\n\"a\": \"\\\\\\uD83D\\ude00\"}", "yaml: line 2: found invalid Unicode character escape code"),
            ("[1,2", "yaml: line 1: did not find expected ',' or ']'"),
            ("{", "yaml: line 1: did not find expected node content"),
            ("kind: ConfigMap\n apiVersion: v1", "yaml: line 2: mapping values are not allowed in this context"),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n\tdata: {}\n",
                "yaml: line 5: found a tab character that violates indentation",
            ),
        ] {
            assert_eq!(first_document(text.as_bytes()).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn keys_that_come_twice_are_told() {
        let document = first_document(b"data: {a: '1', a: '2'}").unwrap();
        let told = document.duplicates.unwrap();
        assert_eq!(told, "yaml: unmarshal errors:\n  line 1: key \"a\" already set in map");
        assert_eq!(document.value["data"]["a"], "2");
    }

    #[test]
    fn deep_nesting_is_refused_in_time() {
        for text in ["[".repeat(1_000_000), "- ".repeat(1_000_000), "? ".repeat(100_000), "{a: ".repeat(9_000)] {
            assert!(first_document(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}, ", i - 1).repeat(9);
            text.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
        }
        assert!(first_document(text.as_bytes()).is_err());
    }
}
