// SPDX-License-Identifier: Apache-2.0
//! CustomResourceDefinitions: their schemas, what is wrong with them, and the kinds made from them.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

pub mod structural;

pub use structural::StructuralSchema;
