// SPDX-License-Identifier: Apache-2.0
//! x
/// x
#[derive(Default)]
pub struct Tunnels;
