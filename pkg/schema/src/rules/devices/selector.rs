// SPDX-License-Identifier: Apache-2.0
//! Expressions that select devices: what they see, what they give, what they may cost
//! (`staging/src/k8s.io/dynamic-resource-allocation/cel`).

use std::sync::LazyLock;

use knarr_types::{ErrorList, FieldError};

use super::super::at::At;
use crate::cel::{Bounds, Environment, Struct, Type};

/// Bytes of an expression that selects devices.
const EXPRESSION_BYTES: usize = 10 * 1024;
/// What an expression may be estimated to cost.
const MOST_COST: u64 = 1_000_000;

/// What is wrong with an expression that selects devices.
pub fn selector(selector: &At<'_>, stored: bool) -> ErrorList {
    let cel = selector.get("cel");
    if !cel.is_set() {
        return vec![cel.required("")];
    }
    let text = cel.get("expression");
    if stored {
        return ErrorList::new();
    }
    if text.text().len() > EXPRESSION_BYTES {
        return vec![FieldError::too_long(&text.path, EXPRESSION_BYTES)];
    }
    match DEVICE.compile(text.text()) {
        Err(why) => vec![text.invalid_as(text.text(), format!("compilation failed: {why}"))],
        Ok(program) if matches!(program.output(), Type::Bool | Type::Dyn) => {
            let dear = program.max_cost(&Device) > MOST_COST;
            let fault = dear.then(|| FieldError::forbidden(&text.path, "too complex, exceeds cost limit"));
            fault.into_iter().collect()
        }
        Ok(program) => {
            let detail = format!("must evaluate to bool or the unknown type, not {}", program.output());
            vec![text.invalid_as(text.text(), detail)]
        }
    }
}

/// What expressions see of a device.
static DEVICE: LazyLock<Environment> = LazyLock::new(|| {
    let by_domain = |value: Type| {
        let by_id = Type::Map(Type::String.into(), value.into());
        Type::Map(Type::String.into(), by_id.into())
    };
    let fields = [
        ("driver", Type::String),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, ty)| (name.to_owned(), ty)).into_iter().collect();
    let device = Struct { name: "kubernetes.DRADevice".to_owned(), fields: Some(fields) };
    Environment::new(vec![("device", Type::Struct(device.into()))])
});

/// How large a device can be.
struct Device;

impl Bounds for Device {
    fn most(&self, path: &[String]) -> Option<u64> {
        /// Domains, and names in one; characters of a domain, of a name, and of a value.
        const ENTRIES: u64 = 32;
        const DOMAIN: u64 = 63;
        const NAME: u64 = 32;
        const VALUE: u64 = 64;
        let steps: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        match steps.as_slice() {
            [] | ["allowMultipleAllocations"] | ["capacity", "@values", "@values"] => Some(0),
            ["driver"] | ["attributes" | "capacity", "@keys"] => Some(DOMAIN),
            ["attributes" | "capacity"] | ["attributes" | "capacity", "@values"] => Some(ENTRIES),
            ["attributes" | "capacity", "@values", "@keys"] => Some(NAME),
            // By their own names too.
            ["attributes", "@values", _] => Some(VALUE),
            _ => None,
        }
    }
}
