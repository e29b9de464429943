// SPDX-License-Identifier: Apache-2.0
//! The simple JSON paths of a CRD: printer columns, selectable fields, replicas.
//!
//! `.spec.names[0]['a.b'].x[?(@.type=="Ready")].status`; a path that leads nowhere has no value.

use knarr_types::tree::Value;

/// A path, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    /// All elements or values.
    All,
    /// Those from the first index to before the second, by that step.
    Slice(Option<i64>, Option<i64>, i64),
    /// Those that have a value at the path, which compares so with the text.
    Where(JsonPath, Option<(Compare, String)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Compare {
    /// Numbers by what they are worth, all else as text.
    fn holds(self, value: &Value, wanted: &str) -> bool {
        let order = match (value.as_f64(), wanted.parse::<f64>()) {
            (Some(value), Ok(wanted)) => value.partial_cmp(&wanted),
            _ => Some(printed(value).as_str().cmp(wanted)),
        };
        order.is_some_and(|order| match self {
            Self::Equal => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        })
    }
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
            Self::Slice(from, to, step) => sliced(value, *from, *to, *step),
            Self::Where(path, compare) => {
                let holds = |item: &&Value| {
                    let found = path.find(item);
                    found.is_some_and(|found| compare.as_ref().is_none_or(|(by, wanted)| by.holds(found, wanted)))
                };
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().filter(holds).collect()
            }
        }
    }
}

/// Elements of a list; bounds below zero count from its end.
fn sliced(value: &Value, from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |bound: i64| if bound < 0 { bound + count } else { bound }.clamp(0, count);
    let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(count)));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    (from..to).step_by(step).filter_map(|at| items.get(usize::try_from(at).ok()?)).collect()
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
        return filtered(filter);
    }
    if inside == "*" {
        return Ok(Step::All);
    }
    if let Ok(index) = inside.parse() {
        return Ok(Step::Index(index));
    }
    if let Some((from, rest)) = inside.split_once(':').filter(|_| !inside.starts_with(['\'', '"'])) {
        let (to, step) = rest.split_once(':').unwrap_or((rest, "1"));
        let bound = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("invalid array index {inside}")),
        };
        return Ok(Step::Slice(bound(from)?, bound(to)?, bound(step)?.unwrap_or(1)));
    }
    if inside.starts_with(['\'', '"']) {
        return Ok(Step::Field(unquoted(inside).to_owned()));
    }
    Err(format!("invalid array index {inside}"))
}

/// `@.type=="Ready"`, `@.count>=2`, `@.name`
fn filtered(filter: &str) -> Result<Step, String> {
    const SIGNS: [(&str, Compare); 6] = [
        ("==", Compare::Equal),
        ("!=", Compare::Different),
        ("<=", Compare::AtMost),
        (">=", Compare::AtLeast),
        ("<", Compare::Less),
        (">", Compare::Greater),
    ];
    let compared = SIGNS.iter().find_map(|(sign, by)| filter.split_once(sign).map(|(l, r)| (l, *by, r)));
    let (left, compare) = match compared {
        Some((left, by, right)) => (left, Some((by, unquoted(right.trim()).to_owned()))),
        None => (filter, None),
    };
    let path = left.trim().strip_prefix('@').ok_or_else(|| format!("the filter {filter:?} must begin with @"))?;
    Ok(Step::Where(JsonPath::parse(path)?, compare))
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn paths_are_followed() {
        let object = json!({"spec": {"a.b": 1, "list": ["x", {"y": 2}], "counts": [{"n": 1}, {"n": 10}]}, "status": {"conditions": [
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
            (".status.conditions[?(@.status)].type", Some(json!("Other"))),
            (".spec.counts[?(@.n>=2)].n", Some(json!(10))),
            (".spec.list[1:].y", Some(json!(2))),
            (".spec.list[0:1]", Some(json!("x"))),
            (".spec.list[-1:].y", Some(json!(2))),
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
