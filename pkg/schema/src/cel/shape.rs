// SPDX-License-Identifier: Apache-2.0
//! What data looks like to expressions: the types of fields, how lists compare, and how much there can be of
//! everything, which bounds what a rule may cost.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::types::{Struct, Type};
use crate::crd::structural::{ListType, StructuralSchema};

/// The largest request; what has no declared bound is bounded by it.
pub(super) const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// What a value looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What it is.
    pub kind: ShapeKind,
    /// How many elements, entries or characters it can have.
    pub max_elements: u64,
    /// How few bytes of JSON it can be.
    pub min_bytes: u64,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum ShapeKind {
    /// Anything.
    Dyn,
    /// A flag.
    Bool,
    /// A whole number.
    Int,
    /// A number; whole ones are seen as fractions too.
    Double,
    /// A text.
    String,
    /// Base64.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// Elements.
    List(Arc<Shape>, ListKind),
    /// Values by any key.
    Map(Arc<Shape>),
    /// Known fields.
    Object(Arc<ObjectShape>),
}

/// How lists are compared and joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    Atomic,
    /// As sets.
    Set,
    /// By these keys of their elements.
    Keyed(Vec<String>),
}

/// The fields of an object.
#[derive(Debug)]
pub struct ObjectShape {
    /// What messages call the type.
    pub name: String,
    /// By their escaped names.
    pub fields: BTreeMap<String, FieldShape>,
    ty: OnceLock<Type>,
}

/// A field of an object.
#[derive(Debug)]
pub struct FieldShape {
    /// As it stands in JSON.
    pub name: String,
    /// What it looks like.
    pub shape: Shape,
}

impl Shape {
    /// Anything.
    pub const DYN: Shape = Shape { kind: ShapeKind::Dyn, max_elements: u64::MAX, min_bytes: 1 };
    /// A text of any length.
    pub const STRING: Shape = Shape { kind: ShapeKind::String, max_elements: MAX_REQUEST_BYTES - 2, min_bytes: 2 };

    const fn simple(kind: ShapeKind, min_bytes: u64) -> Self {
        Self { kind, max_elements: 0, min_bytes }
    }

    /// An object with these fields, by their names in JSON, which expressions write escaped.
    #[must_use]
    pub fn object(name: &str, fields: Vec<(String, Shape)>, min_bytes: u64) -> Self {
        let fields = fields.into_iter().filter_map(|(name, shape)| Some((escape(&name)?, FieldShape { name, shape })));
        Self::with_fields(name, fields.collect(), min_bytes)
    }

    /// An object that the server makes for expressions: they write the names of its fields as they are.
    #[must_use]
    pub fn unescaped_object(name: &str, fields: Vec<(&str, Shape)>) -> Self {
        let field = |(name, shape): (&str, Shape)| (name.to_owned(), FieldShape { name: name.to_owned(), shape });
        Self::with_fields(name, fields.into_iter().map(field).collect(), 2)
    }

    fn with_fields(name: &str, fields: BTreeMap<String, FieldShape>, min_bytes: u64) -> Self {
        let object = ObjectShape { name: name.to_owned(), fields, ty: OnceLock::new() };
        Self { kind: ShapeKind::Object(Arc::new(object)), max_elements: 0, min_bytes }
    }

    /// What a list's elements or a map's values look like.
    #[must_use]
    pub fn element(&self) -> &Shape {
        match &self.kind {
            ShapeKind::List(element, _) | ShapeKind::Map(element) => element,
            _ => &Self::DYN,
        }
    }

    /// What the field of this escaped name looks like.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Shape> {
        match &self.kind {
            ShapeKind::Object(object) => object.field(name).map(|field| &field.shape),
            _ => None,
        }
    }

    /// The same, with its objects called after `name`, by which upstream tells the types of one rule from those of
    /// another.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        let kind = match &self.kind {
            ShapeKind::List(element, kind) => {
                ShapeKind::List(Arc::new(element.renamed(&format!("{name}.@idx"))), kind.clone())
            }
            ShapeKind::Map(element) => ShapeKind::Map(Arc::new(element.renamed(&format!("{name}.@elem")))),
            ShapeKind::Object(object) => {
                let field = |(escaped, field): (&String, &FieldShape)| {
                    let shape = field.shape.renamed(&format!("{name}.{escaped}"));
                    (escaped.clone(), FieldShape { name: field.name.clone(), shape })
                };
                let fields = object.fields.iter().map(field).collect();
                ShapeKind::Object(Arc::new(ObjectShape { name: name.to_owned(), fields, ty: OnceLock::new() }))
            }
            plain => plain.clone(),
        };
        Self { kind, max_elements: self.max_elements, min_bytes: self.min_bytes }
    }

    /// The type of such values in expressions.
    #[must_use]
    pub fn ty(&self) -> Type {
        match &self.kind {
            ShapeKind::Dyn => Type::Dyn,
            ShapeKind::Bool => Type::Bool,
            ShapeKind::Int => Type::Int,
            ShapeKind::Double => Type::Double,
            ShapeKind::String => Type::String,
            ShapeKind::Bytes => Type::Bytes,
            ShapeKind::Duration => Type::Duration,
            ShapeKind::Timestamp => Type::Timestamp,
            ShapeKind::List(element, _) => Type::list(element.ty()),
            ShapeKind::Map(element) => Type::map(Type::String, element.ty()),
            ShapeKind::Object(object) => object.ty.get_or_init(|| struct_type(object)).clone(),
        }
    }

    /// The shape of what a CRD's schema describes, and nothing where expressions cannot see it.
    /// `root` is for resources, embedded ones too: their type and name are always there.
    #[must_use]
    pub fn of_schema(schema: &StructuralSchema, root: bool, name: &str) -> Option<Self> {
        if schema.int_or_string {
            let max_elements = max_length(schema).map_or(MAX_REQUEST_BYTES - 2, |max| max.saturating_mul(4));
            return Some(Self { kind: ShapeKind::Dyn, max_elements, min_bytes: 1 });
        }
        match schema.ty.as_str() {
            "array" => list(schema, name),
            "object" => object(schema, root, name),
            "string" => Some(string(schema)),
            "boolean" => Some(Self::simple(ShapeKind::Bool, 4)),
            "number" => Some(Self::simple(ShapeKind::Double, 1)),
            "integer" => Some(Self::simple(ShapeKind::Int, 1)),
            _ => None,
        }
    }
}

impl ObjectShape {
    /// The field of this name, which is escaped; a reserved word need not be.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldShape> {
        self.fields.get(name).or_else(|| self.fields.get(&unescaped(name)?))
    }
}

/// What a reserved word is called among fields, where it is written as it is.
pub(super) fn unescaped(name: &str) -> Option<String> {
    RESERVED.contains(&name).then(|| format!("__{name}__"))
}

fn struct_type(object: &ObjectShape) -> Type {
    let fields = object.fields.iter().map(|(name, field)| (name.clone(), field.shape.ty())).collect();
    Type::Struct(Arc::new(Struct { name: object.name.clone(), fields: Some(fields) }))
}

/// A bound of the schema; one below nothing is nothing.
fn bound(declared: Option<i64>) -> Option<u64> {
    declared.map(|n| u64::try_from(n).unwrap_or_default())
}

fn max_length(schema: &StructuralSchema) -> Option<u64> {
    bound(schema.checks.max_length)
}

fn list(schema: &StructuralSchema, name: &str) -> Option<Shape> {
    let items = schema.items.as_deref()?;
    let element = Shape::of_schema(items, items.embedded_resource, &format!("{name}.@idx"))?;
    let max_elements = bound(schema.checks.max_items).unwrap_or((MAX_REQUEST_BYTES - 2) / (element.min_bytes + 1));
    let kind = match schema.list_type {
        ListType::Set => ListKind::Set,
        ListType::Map => ListKind::Keyed(schema.list_map_keys.clone()),
        ListType::Unset | ListType::Atomic => ListKind::Atomic,
    };
    Some(Shape { kind: ShapeKind::List(Arc::new(element), kind), max_elements, min_bytes: 2 })
}

fn object(schema: &StructuralSchema, root: bool, name: &str) -> Option<Shape> {
    if let Some(values) = schema.additional.schema() {
        let element = Shape::of_schema(values, values.embedded_resource, &format!("{name}.@elem"))?;
        let by_size = (MAX_REQUEST_BYTES - 2) / (element.min_bytes + 6);
        let max_elements = bound(schema.checks.max_properties).unwrap_or(by_size);
        return Some(Shape { kind: ShapeKind::Map(Arc::new(element)), max_elements, min_bytes: 2 });
    }
    let mut min_bytes = 2;
    let mut fields: Vec<(String, Shape)> = Vec::new();
    for (field, of) in &schema.properties {
        if root && matches!(field.as_str(), "kind" | "apiVersion" | "metadata") {
            continue;
        }
        let Some(shape) = Shape::of_schema(of, of.embedded_resource, &format!("{name}.{field}")) else { continue };
        if schema.checks.required.contains(field) && of.default.is_none() {
            min_bytes += field.len() as u64 + shape.min_bytes + 4;
        }
        fields.push((field.clone(), shape));
    }
    if root {
        let texts = ["name", "generateName"].map(|field| (field.to_owned(), Shape::STRING));
        fields.push(("metadata".to_owned(), Shape::object(&format!("{name}.metadata"), texts.into(), 2)));
        fields.extend(["kind", "apiVersion"].map(|field| (field.to_owned(), Shape::STRING)));
    }
    Some(Shape::object(name, fields, min_bytes))
}

fn string(schema: &StructuralSchema) -> Shape {
    let timed = |kind, min_bytes, max_elements| Shape { kind, max_elements, min_bytes };
    match schema.format.as_str() {
        "byte" => {
            let max_elements = max_length(schema).unwrap_or(MAX_REQUEST_BYTES - 2);
            Shape { kind: ShapeKind::Bytes, max_elements, min_bytes: 2 }
        }
        "duration" => timed(ShapeKind::Duration, 3, 32),
        "date" => timed(ShapeKind::Timestamp, 12, 12),
        "date-time" => timed(ShapeKind::Timestamp, 21, 32),
        _ => {
            let longest = schema.checks.values.iter().filter_map(knarr_types::tree::Value::as_str).map(str::len).max();
            let max_elements = match (max_length(schema), longest) {
                (Some(max), _) => max.saturating_mul(4),
                (None, Some(longest)) => longest as u64,
                (None, None) => MAX_REQUEST_BYTES - 2,
            };
            Shape { max_elements, ..Shape::STRING }
        }
    }
}

/// Words of the language that no field can be called.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A property's name as expressions write it, and nothing where they cannot.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    let starts_well = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || "_-./".contains(c));
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c)) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, escaped) in [
            ("a", "a"),
            ("a-b", "a__dash__b"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("a__b", "a__underscores__b"),
            ("in", "__in__"),
            ("namespace", "__namespace__"),
            ("_x", "_x"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped), "{name}");
        }
        for name in ["", "1a", "a b", "ä", "$a"] {
            assert_eq!(escape(name), None, "{name}");
        }
    }
}
