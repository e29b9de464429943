// SPDX-License-Identifier: Apache-2.0
//! What a schema does not know leaves the object; what it has defaults for comes in.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning>

use knarr_types::tree::{Map, Value};

use super::structural::{Additional, StructuralSchema};

/// Fields that every resource has, whatever its schema says.
const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what the schema of a whole object does not know; gives the paths of what went, sorted. Its
/// `apiVersion`, `kind` and `metadata` stay as they are.
pub fn prune(object: &mut Value, schema: &StructuralSchema) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(object, Some(schema), true);
    pruner.gone.sort();
    pruner.gone
}

/// Removes what the schema of a value in an object, or of a resource in it, does not know.
pub(crate) fn prune_value(value: &mut Value, schema: &StructuralSchema, resource: bool) {
    Pruner { path: "value".into(), gone: Vec::new() }.value(value, Some(schema), resource);
}

#[derive(Default)]
struct Pruner {
    path: String,
    gone: Vec<String>,
}

impl Pruner {
    fn value(&mut self, value: &mut Value, schema: Option<&StructuralSchema>, resource: bool) {
        let keeps = schema.is_some_and(|s| s.preserve_unknown_fields);
        match value {
            Value::Object(fields) => self.fields(fields, schema, resource, keeps),
            Value::Array(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                if schema.is_none() && keeps {
                    return;
                }
                for (i, item) in items.iter_mut().enumerate() {
                    let mark = self.path.len();
                    self.path.push_str(&format!("[{i}]"));
                    // Below free values the elements are free too.
                    if keeps && !schema.is_some_and(|s| s.preserve_unknown_fields) {
                        self.kept(item, schema);
                    } else {
                        self.value(item, schema, schema.is_some_and(|s| s.embedded_resource));
                    }
                    self.path.truncate(mark);
                }
            }
            _ => {}
        }
    }

    /// An element of a list that keeps what it does not know: only known fields are looked into.
    fn kept(&mut self, item: &mut Value, schema: Option<&StructuralSchema>) {
        let Value::Object(fields) = item else { return };
        self.fields(fields, schema, schema.is_some_and(|s| s.embedded_resource), true);
    }

    fn fields(&mut self, fields: &mut Map, schema: Option<&StructuralSchema>, resource: bool, keeps: bool) {
        let root = self.path.is_empty();
        fields.retain(|name, value| {
            let meta = META_FIELDS.contains(&name.as_str());
            if resource && meta {
                return true;
            }
            let known = schema.and_then(|s| s.field(name));
            // What is not allowed stays as well: it is refused, not forgotten.
            let open = schema.is_some_and(|s| !matches!(s.additional, Additional::Unset));
            if known.is_none() && !open {
                if keeps {
                    return true;
                }
                if !(meta && root) {
                    self.gone.push(join(&self.path, name));
                }
                return false;
            }
            let mark = self.path.len();
            self.path = join(&self.path, name);
            self.value(value, known, known.is_some_and(|s| s.embedded_resource));
            self.path.truncate(mark);
            true
        });
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Removes nulls that the schema does not take and has no default for.
pub fn drop_nulls(value: &mut Value, schema: Option<&StructuralSchema>) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let schema = schema.and_then(|s| s.field(name));
            if value.is_null() && schema.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            drop_nulls(value, schema);
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls(item, schema));
        }
        _ => {}
    }
}

/// Fills in the defaults of the schema, also for nulls that it does not take.
pub fn default(value: &mut Value, schema: &StructuralSchema) {
    let refused = |value: &Value, schema: &StructuralSchema| value.is_null() && !schema.nullable;
    match value {
        Value::Object(fields) => {
            for (name, schema) in &schema.properties {
                let Some(default) = &schema.default else { continue };
                if fields.get(name).is_none_or(|value| refused(value, schema)) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields {
                let Some(known) = schema.field(name) else { continue };
                if refused(value, known)
                    && let Some(default) = &known.default
                {
                    *value = default.clone();
                }
                default(value, known);
            }
        }
        Value::Array(items) => {
            let Some(known) = &schema.items else { return };
            for item in items {
                if refused(item, known)
                    && let Some(default) = &known.default
                {
                    *item = default.clone();
                }
                default(item, known);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn unknown_fields_go_where_nothing_keeps_them() {
        let schema = StructuralSchema::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"typed": {"type": "object", "properties": {"k": {"type": "string"}}}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"q": {"type": "string"}}}},
                "open": {"type": "object", "additionalProperties": true},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
            }}}}),
        );
        let mut object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "more": 1, "spec": {
            "free": {"x": [{"y": 1}], "typed": {"k": "v", "gone": 1}}, "list": [{"c": "x", "gone": 1}, "text"],
            "map": {"any": {"q": "x", "gone": 1}}, "open": {"x": 1, "y": {"gone": 1}},
            "pod": {"kind": "Pod", "metadata": {"x": 1}, "gone": 1}, "gone": 1}});
        let gone = prune(&mut object, &schema);
        let want = [
            "more",
            "spec.free.typed.gone",
            "spec.gone",
            "spec.list[0].gone",
            "spec.map.any.gone",
            "spec.open.y.gone",
            "spec.pod.gone",
        ];
        assert_eq!(gone, want);
        assert_eq!(
            object["spec"],
            json!({"free": {"x": [{"y": 1}], "typed": {"k": "v"}}, "list": [{"c": "x"}, "text"], "map": {"any": {"q": "x"}},
                "open": {"x": 1, "y": {}}, "pod": {"kind": "Pod", "metadata": {"x": 1}}})
        );
        assert_eq!(object["metadata"], json!({"name": "a"}));
    }

    #[test]
    fn nulls_give_way_to_defaults_or_go() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "x"}, "b": {"type": "string", "nullable": true, "default": "x"},
            "c": {"type": "string", "nullable": true}, "d": {"type": "string"},
            "o": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": true}}},
            "l": {"type": "array", "items": {"type": "integer", "default": 7}}}}));
        let mut object = json!({"a": null, "b": null, "c": null, "d": null, "l": [null, 1]});
        drop_nulls(&mut object, Some(&schema));
        default(&mut object, &schema);
        assert_eq!(object, json!({"a": "x", "b": null, "c": null, "o": {"on": true}, "l": [7, 1]}));
    }
}
