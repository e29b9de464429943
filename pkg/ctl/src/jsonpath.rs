// SPDX-License-Identifier: Apache-2.0
//! kubectl's JSONPath templates: text with `{expressions}`, put to objects by the language of RFC 9535.
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

use jsonpath_rust::JsonPath as _;
use serde_json::Value;

use crate::error::CtlError;

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Piece>);

/// A part of a JSONPath template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// An expression, in the form of RFC 9535.
    Path(String),
    /// `{range EXPRESSION}...{end}`.
    Range(String, Vec<Piece>),
}

impl JsonPath {
    /// Reads a template.
    ///
    /// # Errors
    /// Brackets or ranges that do not end.
    pub fn parse(template: &str) -> Result<Self, CtlError> {
        template_pieces(template).map(Self)
    }

    /// One expression, as columns have them: `.a.b` or `a.b`.
    pub fn expression(path: &str) -> Self {
        Self(vec![Piece::Path(standard_path(path))])
    }

    /// What a template makes of an object. What is not there is empty, as with kubectl.
    ///
    /// # Errors
    /// An expression that makes no sense.
    pub fn render(&self, object: &Value) -> Result<String, CtlError> {
        render(&self.0, object)
    }

    /// All that its expressions find.
    ///
    /// # Errors
    /// An expression that makes no sense.
    pub fn find<'a>(&self, object: &'a Value) -> Result<Vec<&'a Value>, CtlError> {
        let mut found = Vec::new();
        for piece in &self.0 {
            if let Piece::Path(path) = piece {
                found.extend(query(object, path)?);
            }
        }
        Ok(found)
    }
}

fn template_pieces(template: &str) -> Result<Vec<Piece>, CtlError> {
    let mut stack: Vec<(String, Vec<Piece>)> = vec![(String::new(), Vec::new())];
    let mut rest = template;
    while !rest.is_empty() {
        let Some(start) = rest.find('{') else {
            push(&mut stack, Piece::Text(unescape(rest)));
            break;
        };
        if start > 0 {
            push(&mut stack, Piece::Text(unescape(&rest[..start])));
        }
        let end =
            rest[start..].find('}').ok_or_else(|| CtlError::usage(format!("jsonpath: unclosed {{ in {template:?}")))?;
        let inside = rest[start + 1..start + end].trim();
        rest = &rest[start + end + 1..];
        if let Some(path) = inside.strip_prefix("range ") {
            stack.push((standard_path(path.trim()), Vec::new()));
        } else if inside == "end" {
            let (path, pieces) = stack
                .pop()
                .filter(|_| !stack.is_empty())
                .ok_or_else(|| CtlError::usage("jsonpath: {end} without {range}"))?;
            push(&mut stack, Piece::Range(path, pieces));
        } else if let Some(text) = inside.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            push(&mut stack, Piece::Text(unescape(text)));
        } else {
            push(&mut stack, Piece::Path(standard_path(inside)));
        }
    }
    match stack.as_mut_slice() {
        [(_, pieces)] => Ok(std::mem::take(pieces)),
        _ => Err(CtlError::usage("jsonpath: {range} without {end}")),
    }
}

fn push(stack: &mut [(String, Vec<Piece>)], piece: Piece) {
    if let Some((_, pieces)) = stack.last_mut() {
        pieces.push(piece);
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"")
}

/// kubectl writes `.a.b`, `a.b`, `@.a`, and dots in keys as `\.`; RFC 9535 wants `$`, and such keys quoted.
fn standard_path(path: &str) -> String {
    let path = path.strip_prefix('@').or_else(|| path.strip_prefix('$')).unwrap_or(path);
    let mut standard = String::from("$");
    let mut segment = String::new();
    let mut characters = path.chars().peekable();
    let flush = |segment: &mut String, standard: &mut String| {
        if !segment.is_empty() {
            let quoted = segment.contains(['.', '/', '-']);
            standard.push_str(&if quoted { format!("['{segment}']") } else { format!(".{segment}") });
            segment.clear();
        }
    };
    while let Some(c) = characters.next() {
        match c {
            '\\' => segment.extend(characters.next()),
            '.' if characters.peek() == Some(&'.') => {
                flush(&mut segment, &mut standard);
                characters.next();
                standard.push_str("..");
                while let Some(n) = characters.next_if(|n| n.is_alphanumeric() || *n == '*') {
                    standard.push(n);
                }
            }
            '.' => flush(&mut segment, &mut standard),
            '[' => {
                flush(&mut segment, &mut standard);
                standard.push('[');
                let mut depth = 1;
                for n in characters.by_ref() {
                    depth += i32::from(n == '[') - i32::from(n == ']');
                    standard.push(n);
                    if depth == 0 {
                        break;
                    }
                }
            }
            other => segment.push(other),
        }
    }
    flush(&mut segment, &mut standard);
    standard
}

fn render(pieces: &[Piece], object: &Value) -> Result<String, CtlError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(t) => text.push_str(t),
            Piece::Path(path) => {
                let found = query(object, path)?;
                let words: Vec<_> = found.into_iter().map(scalar).collect();
                text.push_str(&words.join(" "));
            }
            Piece::Range(path, inner) => {
                for item in query(object, path)? {
                    text.push_str(&render(inner, item)?);
                }
            }
        }
    }
    Ok(text)
}

fn query<'a>(object: &'a Value, path: &str) -> Result<Vec<&'a Value>, CtlError> {
    object.query(path).map_err(|e| CtlError::usage(format!("jsonpath: cannot use {path:?}: {e}")))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, want: &str) {
        let object = json!({
            "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}},
            "items": [{"n": 1, "s": "one"}, {"n": 2, "s": "two"}],
        });
        assert_eq!(JsonPath::parse(template).unwrap().render(&object).unwrap(), want, "{template}");
    }

    #[test]
    fn jsonpath_templates_follow_kubectl() {
        check("{.metadata.name}", "a");
        check("{.items[*].s}", "one two");
        check("{.items[1].n}", "2");
        check("{.metadata.labels.app\\.kubernetes\\.io/name}", "x");
        check("{range .items[*]}{.n}={.s}{\"\\n\"}{end}", "1=one\n2=two\n");
        check("{.nothing.here}", "");
        check("name: {.metadata.name}!", "name: a!");
        check("{.items[?(@.n==2)].s}", "two");
    }

    #[test]
    fn bad_templates_are_refused() {
        for bad in ["{.a", "{end}", "{range .a}"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
