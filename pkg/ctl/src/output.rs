// SPDX-License-Identifier: Apache-2.0
//! What people asked for, as text: tables, names, JSON; templates and columns are in modules of their own.

use std::io::Write as _;

use serde::Serialize as _;
use serde_json::Value;

use crate::custom_columns::CustomColumns;
use crate::error::CtlError;
use crate::jsonpath::JsonPath;
use crate::template::Template;

/// How objects are printed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    /// The server's table; `wide` with the columns of lower priority.
    Table {
        wide: bool,
    },
    Json,
    Yaml,
    Name,
    /// kubectl's JSONPath templates: text with `{expressions}`.
    JsonPath(JsonPath),
    /// All that a JSONPath template's expressions find, as one JSON list.
    JsonPathAsJson(JsonPath),
    GoTemplate(Template),
    Columns(CustomColumns),
}

/// What `-o` takes, in the order in which kubectl names them.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,\
                       jsonpath-file,name,template,templatefile,wide,yaml";

impl Format {
    /// Reads the value of `-o`, whose template may be one of its own.
    ///
    /// # Errors
    /// As [`Format::parse`].
    pub fn with_template(text: &str, template: Option<&str>) -> Result<Self, CtlError> {
        match template {
            Some(template) if !text.contains('=') => {
                let name = if text.is_empty() { "go-template" } else { text };
                Self::parse(&format!("{name}={template}"))
            }
            _ => Self::parse(text),
        }
    }

    /// Reads the value of `-o`.
    ///
    /// # Errors
    /// A format that is not there, or a template or file that cannot be read.
    pub fn parse(text: &str) -> Result<Self, CtlError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(match name {
            "" => Self::Table { wide: false },
            "wide" => Self::Table { wide: true },
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            "jsonpath" => Self::JsonPath(JsonPath::parse(&given(value)?)?),
            "jsonpath-file" => Self::JsonPath(JsonPath::parse(&contents("--template", &given(value)?)?)?),
            "jsonpath-as-json" => Self::JsonPathAsJson(JsonPath::parse(&given(value)?)?),
            "go-template" | "template" => Self::GoTemplate(Template::parse(&given(value)?)?),
            "go-template-file" | "templatefile" => {
                Self::GoTemplate(Template::parse(&contents("--template", &given(value)?)?)?)
            }
            "custom-columns" => Self::Columns(CustomColumns::parse(value)?),
            "custom-columns-file" => Self::Columns(CustomColumns::parse_file(&contents("template", &given(value)?)?)?),
            other => {
                return Err(CtlError::usage(format!(
                    "unable to match a printer suitable for the output format {other:?}, allowed formats are: {FORMATS}"
                )));
            }
        })
    }
}

/// The template, without the quotes that a script may have left around it.
fn given(value: &str) -> Result<String, CtlError> {
    let text = value.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(value);
    if text.is_empty() {
        return Err(CtlError::usage("template format specified but no template given"));
    }
    Ok(text.to_owned())
}

/// The template in a file; the error as kubectl words it.
fn contents(what: &str, file: &str) -> Result<String, CtlError> {
    std::fs::read_to_string(file).map_err(|error| {
        let text = error.to_string();
        let reason = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        CtlError::usage(format!("error reading {what} {file}, open {file}: {reason}"))
    })
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
            for (i, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
                line.push_str(cell);
                // The last cell of a line has nothing behind it, also when it is empty.
                if i + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', width + self.gap - cell.chars().count()));
                }
            }
            text.push_str(&line);
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
    use super::*;

    #[test]
    fn formats_that_are_not_there_are_refused_in_kubectls_words() {
        for (bad, words) in [
            ("xml", "unable to match a printer suitable for the output format \"xml\""),
            ("go-template", "template format specified but no template given"),
            ("jsonpath=", "template format specified but no template given"),
            ("custom-columns=", "no custom columns given"),
            ("go-template-file=/none", "error reading --template /none, open /none: no such file or directory"),
            ("jsonpath={.a", "unclosed"),
        ] {
            let said = Format::parse(bad).unwrap_err().to_string();
            assert!(said.contains(words), "{bad}: {said}");
        }
        assert!(matches!(Format::parse("go-template={{.a}}").unwrap(), Format::GoTemplate(_)));
        assert!(matches!(Format::parse("custom-columns=A:.a").unwrap(), Format::Columns(_)));
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
