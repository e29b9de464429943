// SPDX-License-Identifier: Apache-2.0
//! Where to look in a value: a name of a map, or a position of a list.

use std::ops;

use super::{Map, NULL, Text, Value};

/// A name or a position.
pub trait Index {
    /// What is there.
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value>;

    /// What is there, to change it.
    fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value>;

    /// What is there, to change it: a map gets the name with `null` where it had none, and `null` becomes a map.
    ///
    /// # Panics
    /// Where the value is no map, or the list is shorter.
    fn of_or_insert<'v>(&self, value: &'v mut Value) -> &'v mut Value;
}

impl Index for str {
    #[inline]
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.as_object()?.get(self)
    }

    fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        value.as_object_mut()?.get_mut(self)
    }

    fn of_or_insert<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        match value {
            Value::Object(map) => map.get_or_insert_null(self),
            other => panic!("cannot access field {self:?} of {other}"),
        }
    }
}

impl Index for usize {
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.as_array()?.get(*self)
    }

    fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        value.as_array_mut()?.get_mut(*self)
    }

    fn of_or_insert<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        match value {
            Value::Array(list) => &mut list[*self],
            other => panic!("cannot access element {self} of {other}"),
        }
    }
}

/// What holds or borrows another index is one.
macro_rules! as_index {
    ($([$($generic:tt)*] $name:ty,)+) => {$(
        impl $($generic)* Index for $name {
            #[inline]
            fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
                (**self).of(value)
            }

            fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
                (**self).of_mut(value)
            }

            fn of_or_insert<'v>(&self, value: &'v mut Value) -> &'v mut Value {
                (**self).of_or_insert(value)
            }
        }
    )+};
}

as_index! {
    [] String,
    [] Text,
    [<T: Index + ?Sized>] &T,
}

/// `null` where nothing is.
impl<I: Index> ops::Index<I> for Value {
    type Output = Value;

    #[inline]
    fn index(&self, index: I) -> &Value {
        index.of(self).unwrap_or(&NULL)
    }
}

impl<I: Index> ops::IndexMut<I> for Value {
    fn index_mut(&mut self, index: I) -> &mut Value {
        index.of_or_insert(self)
    }
}
