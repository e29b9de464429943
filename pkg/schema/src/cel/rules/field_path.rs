// SPDX-License-Identifier: Apache-2.0
//! `fieldPath` of a rule: `.spec.a`, `['a-b'].c`.

use std::sync::LazyLock;

use crate::crd::StructuralSchema;
use crate::crd::structural::Additional;

/// What free values look like.
static UNKNOWN: LazyLock<StructuralSchema> = LazyLock::new(StructuralSchema::default);

/// The path as errors name it, below the rule's node.
///
/// # Errors
/// Where it is no path, or none of the schema.
pub(super) fn normalize(path: &str, schema: &StructuralSchema) -> Result<String, String> {
    walk(path, schema, true).map(|(normal, _)| normal)
}

/// The path as errors name it, and the schema that it leads to. With `brackets` names may stand in them.
///
/// # Errors
/// Where it is no path, or none of the schema.
pub(crate) fn walk<'s>(
    path: &str,
    schema: &'s StructuralSchema,
    brackets: bool,
) -> Result<(String, &'s StructuralSchema), String> {
    let mut at = schema;
    let mut made = String::new();
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token.as_str() {
            "." => tokens.next().ok_or_else(end)?,
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                match tokens.next().ok_or_else(end)?.as_str() {
                    "]" => unescape(inner)?,
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        at = step(at, &name, &mut made)?;
    }
    Ok((made, at))
}

fn step<'s>(at: &'s StructuralSchema, name: &str, made: &mut String) -> Result<&'s StructuralSchema, String> {
    let missing = || "does not refer to a valid field".to_owned();
    let values = match &at.additional {
        Additional::Schema(values) => Some(&**values),
        // Whatever is there, nothing is known of it.
        Additional::Allowed(_) => Some(&*UNKNOWN),
        Additional::Unset => None,
    };
    if let Some(values) = values.filter(|_| at.properties.is_empty()) {
        made.push_str(&format!("[{name}]"));
        return Ok(values);
    }
    let next = at.properties.get(name).ok_or_else(missing)?;
    if !made.is_empty() {
        made.push('.');
    }
    made.push_str(name);
    Ok(next)
}

/// Delimiters, quoted texts, and what is between them.
fn tokens(path: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in path.chars() {
        let open = tokens.last_mut();
        match (c, open) {
            ('\'', Some(open)) if quoted && !escaped => {
                open.push(c);
                quoted = false;
                tokens.push(String::new());
            }
            ('\'', Some(open)) if !quoted && open.is_empty() => {
                open.push(c);
                quoted = true;
            }
            ('.' | '[' | ']', _) if !quoted => tokens.extend([c.to_string(), String::new()]),
            (c, Some(open)) => open.push(c),
            (_, None) => {}
        }
        escaped = c == '\\' && !escaped;
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

fn unescape(text: &str) -> Result<String, String> {
    let mut made = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            made.push(c);
            continue;
        }
        made.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\'' | '\\')) => c,
            other => {
                return Err(format!("invalid string literal: invalid escape char \\{}", other.unwrap_or_default()));
            }
        });
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_fields_of_the_schema() {
        let schema = StructuralSchema::parse(&knarr_types::tree::json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b-c": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "string"}},
        }}));
        for (path, normal) in [(".a", "a"), (".a.b-c", "a.b-c"), ("['a']['b-c']", "a.b-c"), (".m['k.x']", "m[k.x]")] {
            assert_eq!(normalize(path, &schema).as_deref(), Ok(normal), "{path}");
        }
        for path in ["a", ".x", ".a.", ".a[0]", "['a'", ".a['b\\x']"] {
            assert!(normalize(path, &schema).is_err(), "{path}");
        }
    }
}
