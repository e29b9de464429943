// SPDX-License-Identifier: Apache-2.0
//! Amounts of resources: `100m`, `1.5Gi`, `2e3`.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How an amount was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1k`, `100m`.
    Decimal,
    /// `1Ki`.
    Binary,
    /// `1e3`.
    Exponent,
}

/// An amount, exact to a billionth; what is smaller is rounded up. One in powers of 1024 is at most 2^63 - 1.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Text that is no amount. `Display` gives upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// It has characters that an amount cannot have.
    Format,
    /// Its unit is unknown.
    Suffix,
    /// There is no number.
    Number,
}

const NANO: i128 = 1_000_000_000;
const BINARY_MAX: i128 = i64::MAX as i128 * NANO;
/// The most that is told apart: far more than upstream's own sums bear.
const MAX: i128 = 10_i128.pow(36);
/// Units by powers of 1000, from a billionth up.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Units by powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// Whether the text is an amount in its one form, as far as that is seen at once: up to three digits and a unit.
    #[must_use]
    pub fn is_plain(text: &str) -> bool {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = text.len() - unit.len();
        matches!(unit, "" | "m" | "k" | "M" | "G" | "Ki" | "Mi" | "Gi")
            && (text == "0" || ((1..=3).contains(&digits) && !text.starts_with('0')))
    }

    /// So many units.
    #[must_use]
    pub fn from_value(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANO, format: Format::Decimal }
    }

    /// So many bytes, written in powers of 1024.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Self {
        Self { nanos: (i128::from(bytes) * NANO).min(BINARY_MAX), format: Format::Binary }
    }

    /// In units, rounded away from zero.
    #[must_use]
    pub fn value(self) -> i64 {
        saturated(divide_up(self.nanos, NANO))
    }

    /// In thousandths of a unit, rounded away from zero.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        saturated(divide_up(self.nanos, NANO / 1000))
    }

    /// The next amount that is a number of thousandths, away from zero.
    #[must_use]
    pub fn in_thousandths(self) -> Self {
        Self { nanos: divide_up(self.nanos, NANO / 1000) * (NANO / 1000), ..self }
    }

    /// In billionths of a unit, exact.
    #[must_use]
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, written as this one is (or as the other, where this one is zero).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }

    /// The difference, written as this one is (or as the other, where this one is zero).
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { nanos: -other.nanos, ..other })
    }
}

fn divide_up(nanos: i128, by: i128) -> i128 {
    let rest = if nanos % by == 0 { 0 } else { nanos.signum() };
    nanos / by + rest
}

fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    /// By amount, however it is written.
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let whole = leading(unsigned, |c| c.is_ascii_digit());
        let mut rest = &unsigned[whole.len()..];
        let fraction = rest.strip_prefix('.').map_or("", |tail| leading(tail, |c| c.is_ascii_digit()));
        if rest.starts_with('.') {
            rest = &rest[1 + fraction.len()..];
        }
        let (scale, format) = unit(rest)?;
        if whole.is_empty() && fraction.is_empty() {
            return Err(QuantityError::Number);
        }
        let magnitude = scale.apply(whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let magnitude = if format == Format::Binary { magnitude.min(BINARY_MAX) } else { magnitude };
        let format = if format == Format::Binary && magnitude < NANO { Format::Decimal } else { format };
        Ok(Self { nanos: if text.starts_with('-') { -magnitude } else { magnitude }, format })
    }
}

/// What a unit multiplies by.
enum Scale {
    Ten(i32),
    Two(u32),
}

impl Scale {
    /// Digits in front of and behind the point, in billionths, rounded up and capped.
    fn apply(&self, whole: &str, fraction: &str) -> i128 {
        // Digits past this many cannot change the result other than by rounding it up.
        const KEPT: usize = 30;
        if whole.len() > KEPT {
            return MAX;
        }
        let dropped = fraction.len() > KEPT - whole.len().min(KEPT);
        let fraction = &fraction[..fraction.len().min(KEPT - whole.len())];
        let digits = whole.bytes().chain(fraction.bytes()).fold(0, |n: u128, digit| n * 10 + u128::from(digit - b'0'));
        let places = i32::try_from(fraction.len()).unwrap_or(0);
        let (digits, exponent) = match self {
            Self::Ten(exponent) => (Some(digits), exponent.saturating_sub(places).saturating_add(9)),
            Self::Two(bits) => (digits.checked_mul(1 << bits), 9 - places),
        };
        let Some(digits) = digits else { return MAX };
        let power = |exponent: i32| 10_u128.checked_pow(exponent.unsigned_abs());
        let nanos = if digits == 0 {
            Some(0)
        } else if exponent >= 0 {
            power(exponent).and_then(|power| digits.checked_mul(power))
        } else {
            Some(power(exponent).map_or(1, |power| digits.div_ceil(power)))
        };
        let nanos = nanos.and_then(|nanos| i128::try_from(nanos).ok()).unwrap_or(MAX);
        (nanos + i128::from(dropped && nanos == 0)).min(MAX)
    }
}

fn leading(text: &str, wanted: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !wanted(c)).unwrap_or(text.len())]
}

fn unit(suffix: &str) -> Result<(Scale, Format), QuantityError> {
    let letters = leading(suffix, |c| "eEinumkKMGTP".contains(c));
    let rest = suffix[letters.len()..].strip_prefix(['+', '-']).unwrap_or(&suffix[letters.len()..]);
    if !rest.bytes().all(|b| b.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    if let Some(at) = DECIMAL.iter().position(|unit| *unit == suffix) {
        let exponent = i32::try_from(at).unwrap_or(0) * 3 - 9;
        return Ok((Scale::Ten(exponent), Format::Decimal));
    }
    if let Some(at) = BINARY.iter().position(|unit| *unit == suffix) {
        return Ok((Scale::Two(u32::try_from(at).unwrap_or(0) * 10), Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|text| text.parse().ok());
    exponent.map(|exponent| (Scale::Ten(exponent), Format::Exponent)).ok_or(QuantityError::Suffix)
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest unit without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let binary = self.format == Format::Binary && self.nanos % NANO == 0 && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let (number, power) = reduce(self.nanos / NANO, 1024, BINARY.len() - 1);
            return write!(f, "{number}{}", BINARY[power]);
        }
        let (number, power) = reduce(self.nanos, 1000, DECIMAL.len() - 1);
        match (self.format, power) {
            (Format::Exponent, 3) => write!(f, "{number}"),
            (Format::Exponent, _) => write!(f, "{number}e{}", i64::try_from(power).unwrap_or(0) * 3 - 9),
            _ => write!(f, "{number}{}", DECIMAL[power]),
        }
    }
}

/// Divides by the base as often as it goes without a rest.
fn reduce(mut number: i128, base: i128, most: usize) -> (i128, usize) {
    let mut power = 0;
    while power < most && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

impl std::error::Error for QuantityError {}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            Self::Suffix => "unable to parse quantity's suffix",
            Self::Number => "unable to parse numeric part of quantity",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_have_one_form() {
        for (text, want) in [
            ("0", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1500m", "1500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("0.5Gi", "512Mi"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1e2", "100"),
            ("12e5", "1200e3"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("+3", "3"),
            ("-1Ki", "-1Ki"),
            ("100E", "100E"),
            ("8Ei", "9223372036854775807"),
            ("0001", "1"),
            ("1.000000000001", "1000000001n"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_in_its_one_form(text in "[-+]?[0-9]{0,4}(\\.[0-9])?[mkKMGi]{0,2}") {
            if Quantity::is_plain(&text) {
                let amount: Quantity = text.parse().unwrap();
                prop_assert_eq!(amount.to_string(), text.clone());
                prop_assert_eq!(amount.in_thousandths().to_string(), text);
            }
        }
    }

    #[test]
    fn other_text_is_refused_in_upstreams_words() {
        for (text, want) in [
            ("", QuantityError::Format),
            ("abc", QuantityError::Format),
            ("1.2.3", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("1Gib", QuantityError::Format),
            ("much", QuantityError::Format),
            ("1mm", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("M", QuantityError::Number),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(want), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!((of("1.1").value(), of("1.1").milli_value()), (2, 1100));
        assert_eq!((of("1n").value(), of("-1500m").value()), (1, -2));
        assert_eq!(of("1Gi").plus(of("1Gi")).to_string(), "2Gi");
        assert_eq!(of("1Gi").minus(of("1Gi")).to_string(), "0");
        assert_eq!(of("1000m"), of("1"));
        assert_eq!(Quantity::from_bytes(8 << 30).to_string(), "8Gi");
    }
}
