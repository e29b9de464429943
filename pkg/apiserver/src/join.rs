// SPDX-License-Identifier: Apache-2.0
//! x
/// x
pub struct Joining;
