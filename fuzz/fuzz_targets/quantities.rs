// SPDX-License-Identifier: Apache-2.0

//! Quantities from strangers: what can be read is printed as something that means the same, and is counted without overflow.
#![no_main]

use knarr_types::quantity::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let printed = quantity.to_string();
    let again = printed.parse::<Quantity>();
    assert_eq!(again.map(Quantity::nanos).ok(), Some(quantity.nanos()), "{printed}");
    let _ = (quantity.value(), quantity.milli_value(), quantity.is_negative());
    let _ = (quantity.plus(quantity).nanos(), quantity.minus(quantity).nanos());
});
