// SPDX-License-Identifier: Apache-2.0
//! x
/// x
#[derive(Default)]
pub struct Metrics;
impl Metrics {
    /// x
    pub fn observe(&self, _v: &str, _r: &str, _c: u16, _d: std::time::Duration) {}
}
