// SPDX-License-Identifier: Apache-2.0
//! The JSON paths of a CRD: printer columns, selectable fields, replicas.
//!
//! `.spec.names[0]['a.b'].x[?(@.type=="Ready")].status`, with unions (`[0,2]`), slices (`[1:]`) and descent
//! (`..name`). They are read and followed as upstream's `client-go/util/jsonpath` does: a path that leads nowhere
//! has no value, and one that cannot be followed (an index into an object, a comparison of a text with a number)
//! has none either.

mod follow;
mod read;

use std::borrow::Cow;

use knarr_types::tree::Value;

/// A path, read once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// `[from:to:step]`; an index is a slice of one.
    Slice {
        from: Option<i64>,
        to: To,
        step: Option<i64>,
    },
    /// Elements for which it holds.
    Where(Filter),
    /// All elements or values.
    All,
    /// Everything below, itself included.
    Below,
    /// What each of the paths leads to.
    Union(Vec<JsonPath>),
    /// A constant, mostly on the right of a comparison.
    Constant(Value),
    /// A word that means nothing where it stands.
    Word(String),
}

/// Where a slice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Before this element.
    Given(i64),
    /// After the first one.
    Next,
    /// At the end of the list.
    End,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: JsonPath,
    /// The sign and the other side; without one it is enough that there is something on the left.
    compared: Option<(String, JsonPath)>,
}

impl JsonPath {
    /// Reads a path; enclosing braces may be there or not.
    ///
    /// # Errors
    /// What cannot be read, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        read::path(inner)
    }

    /// All values that the path leads to; none where it cannot be followed.
    #[must_use]
    pub fn find_all<'a>(&self, root: &'a Value) -> Vec<Cow<'a, Value>> {
        follow::path(self, vec![Cow::Borrowed(root)]).unwrap_or_default()
    }

    /// The first value that the path leads to.
    #[must_use]
    pub fn find<'a>(&self, root: &'a Value) -> Option<Cow<'a, Value>> {
        self.find_all(root).into_iter().next()
    }
}

/// Text without quotes, all else as JSON.
#[must_use]
pub fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn paths_are_followed() {
        let object = json!({"spec": {"a.b": 1, "list": ["x", {"y": 2}], "counts": [{"n": 1}, {"n": 10}], "none": null,
            "texts": ["a", "b", "c", "d"]}, "status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.list[0]", Some(json!("x"))),
            (".spec.list[-1].y", Some(json!(2))),
            (".spec['a.b']", None),
            (".spec['a\\.b']", Some(json!(1))),
            (".spec.a\\.b", Some(json!(1))),
            ("{.status.conditions[?(@.type==\"Ready\")].status}", Some(json!("True"))),
            (".status.conditions[?(@.type!='Ready')].status", Some(json!("False"))),
            (".status.conditions[*].status", Some(json!("False"))),
            (".status.conditions[?(@.type=='None')].status", None),
            (".status.conditions[?(@.status)].type", Some(json!("Other"))),
            (".status.conditions[?(@.status==1)].type", None),
            (".spec.counts[?(@.n>=2)].n", Some(json!(10))),
            (".spec.counts[?(@.n>=2.5)].n", None),
            (".spec.list[1:].y", Some(json!(2))),
            (".spec.list[0:1]", Some(json!("x"))),
            (".spec.list[-1:].y", Some(json!(2))),
            (".spec.texts[1,3]", Some(json!("b"))),
            (".spec.texts[9,3]", None),
            (".spec.texts[::2]", Some(json!("a"))),
            (".spec['none','list']", Some(Value::Null)),
            (".spec['nothing','list'][0]", Some(json!("x"))),
            ("..y", Some(json!(2))),
            (".status..type", Some(json!("Other"))),
            (".spec.none", Some(Value::Null)),
            (".spec.none.a", None),
            (".spec.none[0]", None),
            (".spec.nothing[0]", None),
            (".spec[0]", None),
            (".spec.list[9]", None),
            (".spec.list.a", None),
        ] {
            let found = JsonPath::parse(path).unwrap().find(&object).map(Cow::into_owned);
            assert_eq!(found, want, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_as_upstream_does() {
        for (path, why) in [
            ("....", "invalid multiple recursive descent"),
            (".a[", "unterminated array"),
            (".a[x]", "invalid array index x"),
            (".a[\"x\"]", "invalid array index \"x\""),
            (".a[?(@.b]", "unterminated filter"),
            (".a[?(@.b).c", "unclosed array expect ]"),
            (".a!", ""),
            ("!", "unrecognized character in action: U+0021 '!'"),
            (".a \"b", "unterminated quoted string"),
            ("1.2.3", "cannot parse number 1.2.3"),
        ] {
            let read = JsonPath::parse(path);
            assert_eq!(read.err().unwrap_or_default(), why, "{path}");
        }
    }
}
