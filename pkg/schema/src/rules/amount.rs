// SPDX-License-Identifier: Apache-2.0

//! Resource amounts as rules compare them.

use std::cmp::Ordering;

use knarr_types::Quantity;

/// A quantity such as `500m` or `2Gi`, in thousand-millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

const NANO: i128 = 1_000_000_000;

impl Amount {
    /// The amount that a text stands for.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Quantity>().ok().map(|quantity| Self(quantity.nanos()))
    }

    /// Less than nothing.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// No part of one, to the thousandth.
    pub fn is_whole(self) -> bool {
        // As upstream counts thousandths: rounded up, in 64 bits.
        let (thousandth, rest) = (NANO / 1000, self.0 % (NANO / 1000));
        let milli = self.0 / thousandth + if rest == 0 { 0 } else { self.0.signum() };
        u64::try_from(milli & i128::from(u64::MAX)).is_ok_and(|low| low.cast_signed() % 1000 == 0)
    }

    /// In whole units, rounded away from zero.
    pub fn rounded(self) -> i64 {
        let whole = self.0 / NANO;
        let up = if self.0 % NANO == 0 { 0 } else { self.0.signum() };
        i64::try_from(whole + up).unwrap_or(i64::MAX)
    }

    /// A whole number of `unit`s.
    pub fn is_multiple_of(self, unit: Self) -> bool {
        unit.0 > 0 && self.0 % unit.0 == 0
    }
}

/// How two quantities compare; texts that are none compare as equal.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (Amount::parse(a), Amount::parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_compare_across_suffixes() {
        for (a, b) in [("1", "1000m"), ("1Ki", "1024"), ("1.5", "1500m"), ("1e3", "1k"), ("-1", "-1000m")] {
            assert_eq!(Amount::parse(a), Amount::parse(b), "{a} {b}");
        }
        assert_eq!(Amount::parse("1x"), None);
        for (text, whole) in [("1500m", false), ("1n", false), ("2k", true), ("12345678901234567890", false)] {
            assert_eq!(Amount::parse(text).map(Amount::is_whole), Some(whole), "{text}");
        }
    }
}
