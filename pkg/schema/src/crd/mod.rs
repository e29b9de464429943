// SPDX-License-Identifier: Apache-2.0
//! CustomResourceDefinitions: their schemas, what is wrong with them, and the kinds made from them.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>
//!
//! A definition becomes one [`crate::Kind`] a served version, with a [`Custom`] that holds its schemas.
//! From there on the engine of built-in kinds works with it; where that asks for a kind's rules, those
//! of this module are the custom kinds'.

mod custom;
pub(crate) mod decode;
pub(crate) mod definition;
pub(crate) mod field_type;
pub mod json_path;
mod kinds;
mod prune;
mod rules;
mod strategy;
pub mod structural;
mod validate;

pub use custom::{Conversion, Custom, Scale, Version};
pub use definition::{Approval, approval};
pub use kinds::{condition, kinds_of};
pub use structural::StructuralSchema;
pub(crate) use validate::fits_format;
