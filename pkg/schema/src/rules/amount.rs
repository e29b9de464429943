//! Resource amounts as rules compare them: the seam to the quantity parser.

use std::cmp::Ordering;

/// A quantity such as `500m` or `2Gi`, in thousand-millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

const NANO: i128 = 1_000_000_000;

impl Amount {
    /// The amount that a text stands for.
    pub fn parse(text: &str) -> Option<Self> {
        let digits_end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let (numerator, denominator) = scale(suffix)?;
        let (sign, number) = match number.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut nano: i128 = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(NANO)? };
        for (place, digit) in fraction.chars().take(9).enumerate() {
            nano += i128::from(digit.to_digit(10)?) * NANO / 10_i128.pow(u32::try_from(place).ok()? + 1);
        }
        Some(Self(sign * nano.checked_mul(numerator)? / denominator))
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
        self.0 / (NANO / 1000) % 1000 == 0
    }

    /// A whole number of `unit`s.
    pub fn is_multiple_of(self, unit: Self) -> bool {
        unit.0 > 0 && self.0 % unit.0 == 0
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { Some((1, factor)) } else { Some((factor, 1)) }
        }
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
        assert!(!Amount::parse("1500m").is_some_and(Amount::is_whole));
    }
}
