// SPDX-License-Identifier: Apache-2.0
//! What people asked for, as text: tables, names, JSON, YAML, JSONPath.

use std::io::Write as _;

use jsonpath_rust::JsonPath as _;
use serde::Serialize as _;
use serde_json::Value;

use crate::error::CtlError;

/// How objects are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The server's table; `wide` with the columns of lower priority.
    Table {
        wide: bool,
    },
    Json,
    Yaml,
    Name,
    /// kubectl's JSONPath templates: text with `{expressions}`.
    JsonPath(Vec<Piece>),
}

/// A part of a JSONPath template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// An expression, in the form of RFC 9535.
    Path(String),
    /// `{range EXPRESSION}...{end}`.
    Range(String, Vec<Piece>),
}

impl Format {
    /// Reads the value of `-o`.
    pub fn parse(text: &str) -> Result<Self, CtlError> {
        if let Some(template) = text.strip_prefix("jsonpath=") {
            return Ok(Self::JsonPath(template_pieces(template.trim_matches('\''))?));
        }
        match text {
            "" => Ok(Self::Table { wide: false }),
            "wide" => Ok(Self::Table { wide: true }),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            other => Err(CtlError::usage(format!(
                "unknown output format {other:?}; the formats are wide, json, yaml, name and jsonpath=TEMPLATE"
            ))),
        }
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

/// What a template makes of an object. What is not there is empty, as with kubectl.
pub(crate) fn render(pieces: &[Piece], object: &Value) -> Result<String, CtlError> {
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

/// JSON as kubectl prints it, indented by four spaces.
pub(crate) fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    // A tree of plain values, written to memory, does not fail.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter));
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

/// A table with columns as wide as their widest cell, and spaces between them.
#[derive(Debug)]
pub(crate) struct Columns {
    widths: Vec<usize>,
    least: usize,
    gap: usize,
}

impl Default for Columns {
    /// As `get` has them: three spaces between, and no column narrower than six with them.
    fn default() -> Self {
        Self { widths: Vec::new(), least: 3, gap: 3 }
    }
}

impl Columns {
    /// As commands have them that make a table of their own: two spaces between.
    pub fn narrow() -> Self {
        Self { widths: Vec::new(), least: 0, gap: 2 }
    }

    /// The lines; widths grow with what was printed before, so that a watch stays aligned.
    pub fn lines(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), self.least);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&self.widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + self.gap - cell.chars().count()));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints to standard output.
///
/// # Errors
/// [`CtlError::OutputClosed`] when nobody reads any more.
pub(crate) fn print(text: &str) -> Result<(), CtlError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| CtlError::OutputClosed)
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
        let Format::JsonPath(pieces) = Format::parse(&format!("jsonpath={template}")).unwrap() else { panic!() };
        assert_eq!(render(&pieces, &object).unwrap(), want, "{template}");
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
    fn bad_templates_and_formats_are_refused() {
        for bad in ["jsonpath={.a", "jsonpath={end}", "jsonpath={range .a}", "xml"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let mut columns = Columns::default();
        assert_eq!(columns.lines(&[row(&["NAME", "AGE"]), row(&["longer", "1d"])]), "NAME     AGE\nlonger   1d\n");
        assert_eq!(columns.lines(&[row(&["x", "2d"])]), "x        2d\n");
        assert_eq!(Columns::default().lines(&[row(&["x", "1", "2d"])]), "x     1     2d\n");
        assert_eq!(Columns::narrow().lines(&[row(&["x", "1", "2d"])]), "x  1  2d\n");
    }
}
