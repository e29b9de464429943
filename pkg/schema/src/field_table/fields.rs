// SPDX-License-Identifier: Apache-2.0
//! The fields of a struct, found by name without a look at each name.

use std::ops::Deref;

use knarr_types::tree::{front, is_same_behind_front};

use super::{Emission, Field};

/// Fields sorted by name. Every pass through an object looks its fields up, so the first bytes of
/// their names lie side by side: most lookups touch one name.
#[derive(Debug, Default)]
pub struct Fields {
    list: Box<[Field]>,
    /// [`front`] of each name.
    fronts: Box<[u64]>,
    /// Those that are written even where they were not set.
    always: Box<[usize]>,
}

impl Fields {
    /// Where the field of that name is.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        let wanted = front(name);
        self.named(self.fronts.partition_point(|front| *front < wanted), wanted, name)
    }

    /// Where the fields of names are that come in order: what is before the last one is not looked at again.
    pub fn positions(&self) -> impl FnMut(&str) -> Option<usize> + '_ {
        let mut start = 0;
        move |name| {
            let wanted = front(name);
            start += self.fronts[start..].iter().take_while(|front| **front < wanted).count();
            self.named(start, wanted, name)
        }
    }

    /// Where the field of that name and front is, if `start` is where that front would be.
    fn named(&self, start: usize, wanted: u64, name: &str) -> Option<usize> {
        let alike = self.fronts[start..].iter().take_while(|front| **front == wanted);
        alike.zip(start..).map(|(_, at)| at).find(|at| is_same_behind_front(&self.list[*at].name, name))
    }

    /// The fields that are written even where they were not set.
    pub fn always(&self) -> impl Iterator<Item = &Field> {
        self.always.iter().map(|at| &self.list[*at])
    }
}

impl From<Vec<Field>> for Fields {
    fn from(mut list: Vec<Field>) -> Self {
        list.sort_by(|a, b| a.name.cmp(&b.name));
        let written = |field: &Field| matches!(field.emission, Emission::Always | Emission::Null);
        Self {
            fronts: list.iter().map(|field| front(&field.name)).collect(),
            always: list.iter().enumerate().filter(|(_, field)| written(field)).map(|(at, _)| at).collect(),
            list: list.into(),
        }
    }
}

impl Deref for Fields {
    type Target = [Field];

    fn deref(&self) -> &[Field] {
        &self.list
    }
}

impl<'f> IntoIterator for &'f Fields {
    type Item = &'f Field;
    type IntoIter = std::slice::Iter<'f, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::field_table::{Type, TypeRef};

    fn field(name: &str) -> Field {
        Field::optional(name, TypeRef::of(Type::String))
    }

    proptest! {
        #[test]
        fn exactly_the_names_that_are_there_are_found(
            names in prop::collection::btree_set("(metadata)?[a-c\0é]{0,9}", 0..40),
            other in "(metadata)?[a-c\0é]{0,9}",
        ) {
            let fields = Fields::from(names.iter().rev().map(|name| field(name)).collect::<Vec<_>>());
            let mut in_order = fields.positions();
            for (at, name) in names.iter().enumerate() {
                prop_assert_eq!(fields.position(name), Some(at));
                prop_assert_eq!(in_order(name), Some(at));
            }
            let mut in_order = fields.positions();
            prop_assert_eq!(in_order(&other).is_some(), names.contains(&other));
            prop_assert!(names.iter().filter(|name| **name >= other).all(|name| in_order(name).is_some()));
            prop_assert_eq!(fields.position(&other).is_some(), names.contains(&other));
        }
    }
}
