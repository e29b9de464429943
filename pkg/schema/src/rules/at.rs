// SPDX-License-Identifier: Apache-2.0

//! A place in an object: a value beside its path, so that rules read as sentences and their
//! messages name the right field. A field that is absent reads as its type's zero value.

use knarr_types::tree::{Value, has_byte};
use knarr_types::{FieldError, FieldPath, Object, Shown};

static NULL: Value = Value::Null;

/// A value (`null` where the field is absent) and its path.
#[derive(Clone, Debug)]
pub struct At<'a> {
    /// What is there.
    pub value: &'a Value,
    /// Where that is, as messages name it.
    pub path: FieldPath,
}

impl<'a> At<'a> {
    /// The whole object.
    pub fn root(object: &'a Object) -> Self {
        Self { value: object, path: FieldPath::root() }
    }

    /// A value under a path of its own.
    pub fn new(value: &'a Value, path: FieldPath) -> Self {
        Self { value, path }
    }

    /// The field at this dotted path below.
    pub fn get(&self, fields: &str) -> At<'a> {
        At { value: self.raw(fields), path: self.path.child(fields) }
    }

    /// The same value under another path: upstream's messages do not always name the field itself.
    pub fn named(&self, path: FieldPath) -> At<'a> {
        At { value: self.value, path }
    }

    /// The value at this dotted path below.
    #[inline]
    pub fn raw(&self, fields: &str) -> &'a Value {
        if has_byte(fields, b'.') { self.far(fields) } else { self.value.get(fields).unwrap_or(&NULL) }
    }

    fn far(&self, fields: &str) -> &'a Value {
        let mut value = self.value;
        // Names are short: a look at each letter is quicker than a search.
        for field in fields.split(['.']) {
            let Some(below) = value.get(field) else { return &NULL };
            value = below;
        }
        value
    }

    /// Something is there.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Something is at this path below.
    pub fn has(&self, fields: &str) -> bool {
        !self.raw(fields).is_null()
    }

    /// The text at this path below, empty where it is absent.
    pub fn str(&self, fields: &str) -> &'a str {
        self.raw(fields).as_str().unwrap_or_default()
    }

    /// This text, empty where it is absent.
    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number at this path below, 0 where it is absent.
    pub fn int(&self, fields: &str) -> i64 {
        self.raw(fields).as_i64().unwrap_or_default()
    }

    /// The number at this path below.
    pub fn opt_int(&self, fields: &str) -> Option<i64> {
        self.raw(fields).as_i64()
    }

    /// The flag at this path below, false where it is absent.
    pub fn flag(&self, fields: &str) -> bool {
        self.raw(fields).as_bool().unwrap_or_default()
    }

    /// The elements of the list at this path below.
    pub fn items(&self, fields: &str) -> Vec<At<'a>> {
        let Some(elements) = self.raw(fields).as_array() else { return Vec::new() };
        let path = self.path.child(fields);
        elements.iter().enumerate().map(|(i, value)| At { value, path: path.index(i) }).collect()
    }

    /// The entries of the map at this path below, in the order of their keys.
    pub fn entries(&self, fields: &str) -> Vec<(&'a str, At<'a>)> {
        self.get(fields).entries_here()
    }

    /// The entries of this map, in the order of their keys.
    pub fn entries_here(&self) -> Vec<(&'a str, At<'a>)> {
        let Some(entries) = self.value.as_object() else { return Vec::new() };
        entries.iter().map(|(key, value)| (key.as_str(), At { value, path: self.path.key(key) })).collect()
    }

    /// The texts of the list at this path below.
    pub fn strings(&self, fields: &str) -> Vec<&'a str> {
        strings(self.raw(fields))
    }

    /// How many elements or entries are at this path below.
    pub fn len(&self, fields: &str) -> usize {
        match self.raw(fields) {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// This value breaks a rule.
    pub fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, self.value.clone(), detail)
    }

    /// This value breaks a rule; the message shows `shown` in its place.
    pub fn invalid_as(&self, shown: impl Into<Shown>, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, shown, detail)
    }

    /// It must be there.
    pub fn required(&self, detail: &str) -> FieldError {
        FieldError::required(&self.path, detail)
    }

    /// It may not be there.
    pub fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(&self.path, detail)
    }

    /// It is none of these.
    pub fn not_supported(&self, valid: &[&str]) -> FieldError {
        let value = if self.value.is_null() { Value::from("") } else { self.value.clone() };
        FieldError::not_supported(&self.path, value, valid)
    }

    /// It is there twice.
    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path, self.text_or_value())
    }

    /// It names what does not exist.
    pub fn not_found(&self) -> FieldError {
        FieldError::not_found(&self.path, self.text_or_value())
    }

    /// This text, which may be absent, breaks these rules.
    pub fn faults(&self, faults: Vec<String>) -> Vec<FieldError> {
        faults.into_iter().map(|fault| FieldError::invalid(&self.path, self.text_or_value(), fault)).collect()
    }

    /// This value as messages show it: an absent text is empty.
    fn text_or_value(&self) -> Value {
        if self.value.is_null() { Value::from("") } else { self.value.clone() }
    }
}

/// The texts of a list.
pub fn strings(list: &Value) -> Vec<&str> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect()
}

/// Upstream's semantic equality: no list is an empty list. An object that is there is not one that is not: in
/// the one form of objects maps are never empty, so it is a struct behind a pointer.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&NULL)))
                && b.iter().all(|(key, value)| a.contains_key(key) || same(&NULL, value))
        }
        (Value::Null, other) | (other, Value::Null) => match other {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        },
        (a, b) => a == b,
    }
}
