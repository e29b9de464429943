// SPDX-License-Identifier: Apache-2.0
//! What is wrong with one field of an object, in upstream's words
//! (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::cell::Cell;
use std::fmt;

use crate::tree::Value;

thread_local! {
    /// Paths are not written down: see [`faults_of`].
    static UNNAMED: Cell<bool> = const { Cell::new(false) };
}

/// What these rules find wrong. Nearly every object is right, and writing down where one looks costs more
/// than looking: so they look once without names, and again with names where there is something to tell.
///
/// The rules must give the same both times: what they find may not depend on the text of a path.
pub fn faults_of<T>(rules: impl Fn() -> Vec<T>) -> Vec<T> {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            UNNAMED.set(self.0);
        }
    }
    let unnamed = {
        let _restore = Restore(UNNAMED.replace(true));
        rules()
    };
    if unnamed.is_empty() || UNNAMED.get() { unnamed } else { rules() }
}

/// The place of a field: `spec.containers[0].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// The object itself; prints as `<nil>` as upstream's empty path does.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// A path from its printed form.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::written(|| text.to_owned())
    }

    fn written(text: impl FnOnce() -> String) -> Self {
        if UNNAMED.get() { Self::root() } else { Self(text()) }
    }

    /// The field `name` below.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::written(|| if self.0.is_empty() { name.to_owned() } else { [&self.0, ".", name].concat() })
    }

    /// The element `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self::written(|| format!("{}[{index}]", self.0))
    }

    /// The entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self::written(|| [&self.0, "[", key, "]"].concat())
    }

    /// The printed form; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// The kinds of fault; the names are the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorType {
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `InternalError`
    Internal,
}

impl FieldErrorType {
    /// The `reason` of the Status cause.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// An offending value as a message shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// As it came: strings quoted as Go does, everything else as Go's JSON.
    Value(Value),
    /// Already in its printed form: where upstream prints its own structs, whose fields have another
    /// order and other names than the published ones.
    Printed(String),
}

impl<T: Into<Value>> From<T> for Shown {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(Value::String(text)) => f.write_str(&go_quoted(text)),
            Self::Value(Value::Number(number)) if number.is_f64() => {
                f.write_str(&go_float(number.as_f64().unwrap_or_default()))
            }
            Self::Value(other) => f.write_str(&go_json(other.to_string())),
            Self::Printed(text) => f.write_str(text),
        }
    }
}

/// A float as Go's `%v` prints it: `0.5`, `100`, `1e+06`.
#[must_use]
pub fn go_float(float: f64) -> String {
    // Go writes the exponent where the shortest digits need one: below -4 and from 6 on.
    if float == 0.0 || !float.is_finite() {
        return float.to_string();
    }
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A text in quotes as Go's `%q` prints it.
#[must_use]
pub fn go_quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_printable(c) => quoted.push(c),
            c if u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// JSON as Go's `encoding/json` writes it: what means something in HTML or ends a line of JavaScript is escaped.
#[must_use]
pub fn go_json(json: String) -> String {
    const ESCAPED: [(char, &str); 5] =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    ESCAPED
        .iter()
        .fold(json, |json, (char, escape)| if json.contains(*char) { json.replace(*char, escape) } else { json })
}

/// Whether Go prints a character as it is: not what has no shape, and of the spaces only the one of ASCII.
#[must_use]
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // The library escapes the same; marks only at the beginning of a text.
    let text = String::from_iter(['a', c]);
    text.escape_debug().skip(1).eq([c])
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of fault.
    pub kind: FieldErrorType,
    /// Where.
    pub path: FieldPath,
    /// The offending value, for the kinds that print it.
    pub value: Option<Shown>,
    /// What would be right; may be empty.
    pub detail: String,
}

/// All that is wrong with an object, in the order in which upstream reports it.
pub type ErrorList = Vec<FieldError>;

impl FieldError {
    /// A value that must be there is not.
    #[must_use]
    pub fn required(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Required, path, None, detail)
    }

    /// A value that breaks a rule.
    #[must_use]
    pub fn invalid(path: &FieldPath, value: impl Into<Shown>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// A value of the wrong type.
    #[must_use]
    pub fn type_invalid(path: &FieldPath, value: impl Into<Shown>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// A value outside an enumeration; `valid` is printed as upstream does.
    #[must_use]
    pub fn not_supported(path: &FieldPath, value: impl Into<Shown>, valid: &[&str]) -> Self {
        let detail = if valid.is_empty() {
            String::new()
        } else {
            let quoted: Vec<_> = valid.iter().map(|v| format!("{v:?}")).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// A value that may not be given here.
    #[must_use]
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Forbidden, path, None, detail)
    }

    /// A second value where one may be.
    #[must_use]
    pub fn duplicate(path: &FieldPath, value: impl Into<Shown>) -> Self {
        Self::new(FieldErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// A reference to what is not there.
    #[must_use]
    pub fn not_found(path: &FieldPath, value: impl Into<Shown>) -> Self {
        Self::new(FieldErrorType::NotFound, path, Some(value.into()), "")
    }

    /// A value longer than `max_bytes`; upstream does not print the value.
    #[must_use]
    pub fn too_long(path: &FieldPath, max_bytes: usize) -> Self {
        let unit = if max_bytes == 1 { "byte" } else { "bytes" };
        Self::new(FieldErrorType::TooLong, path, None, format!("may not be more than {max_bytes} {unit}"))
    }

    /// More than `max` elements where `actual` were given.
    #[must_use]
    pub fn too_many(path: &FieldPath, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} {}", if max == 1 { "item" } else { "items" });
        Self::new(FieldErrorType::TooMany, path, Some(Shown::from(actual)), detail)
    }

    fn new(kind: FieldErrorType, path: &FieldPath, value: Option<Shown>, detail: impl Into<String>) -> Self {
        Self { kind, path: path.clone(), value, detail: detail.into() }
    }

    /// The fault without its path: the `message` of a Status cause.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(&format!(": {value}"));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_upstream_prints_them() {
        let path = FieldPath::new("spec").child("containers").index(0).child("name");
        for (error, want) in [
            (FieldError::required(&path, ""), "spec.containers[0].name: Required value"),
            (
                FieldError::invalid(&path, "A", "must be lower case"),
                "spec.containers[0].name: Invalid value: \"A\": must be lower case",
            ),
            (
                FieldError::not_supported(&path, "x", &["a", "b"]),
                "spec.containers[0].name: Unsupported value: \"x\": supported values: \"a\", \"b\"",
            ),
            (FieldError::duplicate(&path, 3), "spec.containers[0].name: Duplicate value: 3"),
            (FieldError::forbidden(&FieldPath::root(), "no"), "<nil>: Forbidden: no"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn values_that_go_prints_as_json_are_fit_for_html() {
        let path = FieldPath::new("a");
        let value = crate::tree::json!(["<&>", "\u{2028}\u{a0}"]);
        assert_eq!(
            FieldError::invalid(&path, value, "").to_string(),
            "a: Invalid value: [\"\\u003c\\u0026\\u003e\",\"\\u2028\u{a0}\"]"
        );
        assert_eq!(FieldError::invalid(&path, "<\u{a0}", "").to_string(), "a: Invalid value: \"<\\u00a0\"");
    }

    #[test]
    fn only_what_has_a_shape_is_printable() {
        for c in ['a', ' ', '~', 'é', '\u{301}', '紊', '𝄞', '½'] {
            assert!(is_printable(c), "{c:?}");
        }
        for c in ['\n', '\u{7f}', '\u{a0}', '\u{ad}', '\u{200b}', '\u{2028}', '\u{e000}', '\u{feff}', '\u{ffff}'] {
            assert!(!is_printable(c), "{c:?}");
        }
    }
}
