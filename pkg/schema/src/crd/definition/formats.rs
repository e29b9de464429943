// SPDX-License-Identifier: Apache-2.0
//! Formats that a schema asks for and nobody looks at.

use std::collections::BTreeSet;

use knarr_types::Object;

use crate::crd::structural::StructuralSchema;
use crate::crd::validate::is_known_format;

/// A warning for each unknown format of a definition's schemas.
pub(super) fn warnings(definition: &Object) -> Vec<String> {
    let mut found = BTreeSet::new();
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        collect(&StructuralSchema::parse(&version["schema"]["openAPIV3Schema"]), &mut found);
    }
    found.into_iter().map(|format| format!("unrecognized format {format:?}")).collect()
}

fn collect(schema: &StructuralSchema, found: &mut BTreeSet<String>) {
    if !schema.format.is_empty() && !is_known_format(schema) {
        found.insert(schema.format.clone());
    }
    let checks = &schema.checks;
    let parts = checks.all_of.iter().chain(&checks.any_of).chain(&checks.one_of).chain(checks.not.as_deref());
    let below = schema.properties.values().chain(schema.items.as_deref()).chain(schema.additional.schema());
    below.chain(parts).for_each(|schema| collect(schema, found));
}
