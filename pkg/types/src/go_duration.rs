// SPDX-License-Identifier: Apache-2.0
//! Durations as Go writes them: `1h30m`, `0.5s`, `-100ms`.
//! <https://pkg.go.dev/time#ParseDuration>

/// The nanoseconds of a duration.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, size) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if size == "0" {
        return Ok(0);
    }
    if size.is_empty() {
        return Err(invalid());
    }
    let (mut rest, mut sum) = (size, 0.0);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(number_length(rest));
        let value: f64 = match number {
            "" | "." => return Err(invalid()),
            number => number.parse().map_err(|_| invalid())?,
        };
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let nanos = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        sum += value * nanos;
        rest = behind;
    }
    if sum >= i64::MAX as f64 {
        return Err(invalid());
    }
    let nanos = sum as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// How many characters of a number with at most one point a text begins with.
fn number_length(text: &str) -> usize {
    let mut point = false;
    let goes_on = |c: &char| c.is_ascii_digit() || (*c == '.' && !std::mem::replace(&mut point, true));
    text.chars().take_while(goes_on).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("1m30s", Ok(90_000_000_000)),
            ("0.5s", Ok(500_000_000)),
            ("100ms", Ok(100_000_000)),
            (".5us", Ok(500)),
            ("0", Ok(0)),
            ("-1s", Ok(-1_000_000_000)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("x", Err("time: invalid duration \"x\"")),
            ("s", Err("time: invalid duration \"s\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("1m5", Err("time: missing unit in duration \"1m5\"")),
            ("1.2.3s", Err("time: missing unit in duration \"1.2.3s\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            ("99999999h", Err("time: invalid duration \"99999999h\"")),
        ] {
            assert_eq!(parse(text), want.map_err(str::to_owned), "{text}");
        }
    }
}
