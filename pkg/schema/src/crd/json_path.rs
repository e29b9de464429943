// SPDX-License-Identifier: Apache-2.0
//! The simple JSON paths of a CRD: printer columns, selectable fields, replicas.
//!
//! `.spec.names[0]['a.b'].x[?(@.type=="Ready")].status`; a path that leads nowhere has no value.

use serde_json::Value;

/// A path, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    /// All elements or values.
    All,
    /// Those whose value at the path compares so with the text.
    Where(JsonPath, bool, String),
}

impl JsonPath {
    /// Reads a path; a leading `$` or dot and enclosing braces may be there or not.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let end = bracket_end(inside).ok_or_else(|| format!("unterminated array in {text:?}"))?;
                steps.push(bracket(&inside[..end])?);
                rest = &inside[end + 1..];
                continue;
            }
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let end = field.char_indices().find(|(i, c)| ends_field(field, *i, *c)).map_or(field.len(), |(i, _)| i);
            match &field[..end] {
                "" if field.starts_with('[') || field.is_empty() => {}
                "" => return Err(format!("recursive descent is not supported in {text:?}")),
                "*" => steps.push(Step::All),
                name => steps.push(Step::Field(name.replace("\\.", "."))),
            }
            rest = &field[end..];
        }
        Ok(Self(steps))
    }

    /// All values that the path leads to.
    #[must_use]
    pub fn find_all<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }

    /// The first value that the path leads to.
    #[must_use]
    pub fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.find_all(root).into_iter().next()
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.as_object().and_then(|fields| fields.get(name)).into_iter().collect(),
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let last = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { last + index } else { *index };
                usize::try_from(index).ok().and_then(|i| items.get(i)).into_iter().collect()
            }
            Self::All => children(value),
            Self::Where(path, equal, wanted) => {
                let holds = |item: &&Value| path.find(item).is_some_and(|found| (printed(found) == *wanted) == *equal);
                children(value).into_iter().filter(holds).collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// Text without quotes, all else as JSON.
#[must_use]
pub fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn ends_field(text: &str, at: usize, c: char) -> bool {
    c == '[' || (c == '.' && !text[..at].ends_with('\\'))
}

/// Where the bracket closes, with quoted text and inner brackets skipped.
fn bracket_end(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    text.char_indices().find_map(|(i, c)| {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
        None
    })
}

/// What is in brackets: an index, a quoted name, all, or a filter by one field.
fn bracket(inside: &str) -> Result<Step, String> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, true, right),
            (None, Some((left, right))) => (left, false, right),
            (None, None) => return Err(format!("the filter {filter:?} compares nothing")),
        };
        let path = left.trim().strip_prefix('@').ok_or_else(|| format!("the filter {filter:?} must begin with @"))?;
        return Ok(Step::Where(JsonPath::parse(path)?, equal, unquoted(right.trim()).to_owned()));
    }
    if inside == "*" {
        return Ok(Step::All);
    }
    if let Ok(index) = inside.parse() {
        return Ok(Step::Index(index));
    }
    if inside.starts_with(['\'', '"']) {
        return Ok(Step::Field(unquoted(inside).to_owned()));
    }
    Err(format!("invalid array index {inside}"))
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_followed() {
        let object = json!({"spec": {"a.b": 1, "list": ["x", {"y": 2}]}, "status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.list[0]", Some(json!("x"))),
            (".spec.list[-1].y", Some(json!(2))),
            (".spec['a.b']", Some(json!(1))),
            (".spec.a\\.b", Some(json!(1))),
            ("{.status.conditions[?(@.type==\"Ready\")].status}", Some(json!("True"))),
            (".status.conditions[?(@.type!='Ready')].status", Some(json!("False"))),
            (".status.conditions[*].status", Some(json!("False"))),
            (".status.conditions[?(@.type=='None')].status", None),
            (".spec.none", None),
            (".spec.list[9]", None),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().find(&object).cloned(), want, "{path}");
        }
        for wrong in ["..", "[", ".a[x]", ".a[?(1)]"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
