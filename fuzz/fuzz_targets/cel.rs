// SPDX-License-Identifier: Apache-2.0

//! Expressions from strangers: whatever they say, they are refused or computed within their cost.
#![no_main]

use knarr_schema::cel::{Activation, Environment, Shape, ShapeKind, Type, Value};
use libfuzzer_sys::fuzz_target;

struct Object(knarr_types::tree::Value, Shape);

impl<'a> Activation<'a> for &'a Object {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        (name == "self").then(|| Value::from_json(&self.0, &self.1))
    }
}

fuzz_target!(|source: &str| {
    let shape = Shape { kind: ShapeKind::Dyn, max_elements: 10, min_bytes: 1 };
    let object = Object(knarr_types::tree::json!({"a": 1, "b": ["x", "y"], "c": {"d": "1Gi", "e": 1.5}}), shape);
    if let Ok(program) = Environment::new(vec![("self", Type::Dyn)]).compile(source) {
        let (_, _cost) = program.run(&&object, 100_000);
        let _estimated = program.max_cost(&object.1);
    }
});
