// SPDX-License-Identifier: Apache-2.0
//! Times as Go reads and prints them: `metav1.Time` and `metav1.MicroTime`.

use jiff::Timestamp;

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// RFC 3339 to the second in UTC, or what Go says about the text.
///
/// # Errors
/// Where it is not RFC 3339.
pub fn canonical_time(text: &str) -> Result<String, String> {
    let time = parse(text, LAYOUT)?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339 to the microsecond in UTC, or what Go says about the text.
///
/// # Errors
/// Where it is not RFC 3339 with six digits behind the seconds.
pub(crate) fn canonical_micro_time(text: &str) -> Result<String, String> {
    let time = parse(text, MICRO_LAYOUT)?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    // The usual form needs no second look.
    let usual = text.len() == if layout == LAYOUT { 20 } else { 27 } && text.ends_with('Z') && text.is_ascii();
    if usual
        && text.as_bytes()[10] == b'T'
        && let Ok(time) = text.parse()
    {
        return Ok(time);
    }
    walk(text, layout).map_err(|fault| match fault {
        Fault::Cannot { rest, element } => {
            format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
        }
        Fault::Range(what) => format!("parsing time {text:?}: {what} out of range"),
        Fault::Extra(rest) => format!("parsing time {text:?}: extra text: {rest:?}"),
    })
}

enum Fault<'a> {
    Cannot { rest: &'a str, element: &'static str },
    Range(&'static str),
    Extra(&'a str),
}

/// Reads the text element by element, as `time.Parse` does.
fn walk<'a>(text: &'a str, layout: &str) -> Result<Timestamp, Fault<'a>> {
    let mut rest = text;
    let year = number(&mut rest, 4, "2006")?;
    literal(&mut rest, "-")?;
    let month = number(&mut rest, 2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(Fault::Range("month"));
    }
    literal(&mut rest, "-")?;
    let day = number(&mut rest, 2, "02")?;
    literal(&mut rest, "T")?;
    let hour = in_range(number(&mut rest, 2, "15")?, 24, "hour")?;
    literal(&mut rest, ":")?;
    let minute = in_range(number(&mut rest, 2, "04")?, 60, "minute")?;
    literal(&mut rest, ":")?;
    let second = in_range(number(&mut rest, 2, "05")?, 60, "second")?;
    let nanosecond = fraction(&mut rest, layout == MICRO_LAYOUT)?;
    let offset = zone(&mut rest)?;
    if !rest.is_empty() {
        return Err(Fault::Extra(rest));
    }
    // Every part is of at most four digits, so the casts keep it.
    #[allow(clippy::cast_possible_truncation, reason = "checked above")]
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).map_err(|_| Fault::Range("day"))?;
    #[allow(clippy::cast_possible_truncation, reason = "checked above")]
    let time = date.at(hour as i8, minute as i8, second as i8, nanosecond);
    let utc = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| Fault::Range("year"))?.timestamp();
    utc.checked_sub(jiff::SignedDuration::from_secs(offset)).map_err(|_| Fault::Range("year"))
}

fn number<'a>(rest: &mut &'a str, digits: usize, element: &'static str) -> Result<i64, Fault<'a>> {
    let cannot = Fault::Cannot { rest, element };
    let Some(head) = rest.get(..digits).filter(|head| head.bytes().all(|b| b.is_ascii_digit())) else {
        return Err(cannot);
    };
    let value = head.parse().map_err(|_| cannot)?;
    *rest = &rest[digits..];
    Ok(value)
}

fn literal<'a>(rest: &mut &'a str, element: &'static str) -> Result<(), Fault<'a>> {
    *rest = rest.strip_prefix(element).ok_or(Fault::Cannot { rest, element })?;
    Ok(())
}

fn in_range<'a>(value: i64, end: i64, what: &'static str) -> Result<i64, Fault<'a>> {
    if value < end { Ok(value) } else { Err(Fault::Range(what)) }
}

/// The fraction of a second in nanoseconds: six digits where they are asked for, else as many as come.
fn fraction<'a>(rest: &mut &'a str, six: bool) -> Result<i32, Fault<'a>> {
    let digits = rest.strip_prefix(['.', ',']).map_or("", |tail| {
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        &tail[..end]
    });
    if six && digits.len() != 6 {
        return Err(Fault::Cannot { rest, element: ".000000" });
    }
    if digits.is_empty() {
        return Ok(0);
    }
    *rest = &rest[1 + digits.len()..];
    let nanos: String = digits.chars().chain("000000000".chars()).take(9).collect();
    Ok(nanos.parse().unwrap_or(0))
}

/// Seconds east of UTC.
fn zone<'a>(rest: &mut &'a str) -> Result<i64, Fault<'a>> {
    if let Some(tail) = rest.strip_prefix('Z') {
        *rest = tail;
        return Ok(0);
    }
    let cannot = || Fault::Cannot { rest, element: "Z07:00" };
    let head = rest.get(..6).ok_or_else(cannot)?;
    let sign = match head.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Err(cannot()),
    };
    let (hours, minutes) = head[1..].split_once(':').ok_or_else(cannot)?;
    let part = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let (hours, minutes) = (part(hours).ok_or_else(cannot)?, part(minutes).ok_or_else(cannot)?);
    if hours > 24 {
        return Err(Fault::Range("time zone offset hour"));
    }
    if minutes >= 60 {
        return Err(Fault::Range("time zone offset minute"));
    }
    *rest = &rest[6..];
    Ok(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_their_fraction_and_their_zone() {
        for (text, want) in [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.999Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(canonical_time(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(
            canonical_micro_time("2024-01-02T03:04:05.000100-01:00").as_deref(),
            Ok("2024-01-02T04:04:05.000100Z")
        );
    }

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (text, want) in [
            ("not a time", "as \"2006-01-02T15:04:05Z07:00\": cannot parse \"not a time\" as \"2006\""),
            ("2024-01-01", "as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""),
            ("2024-01-01 00:00:00Z", "as \"2006-01-02T15:04:05Z07:00\": cannot parse \" 00:00:00Z\" as \"T\""),
            ("2024-13-01T00:00:00Z", ": month out of range"),
            ("2024-02-30T00:00:00Z", ": day out of range"),
            ("2024-02-01T00:00:00", "as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\""),
            ("2024-02-01T00:00:00Zx", ": extra text: \"x\""),
        ] {
            let got = canonical_time(text).unwrap_err();
            let separator = if want.starts_with(':') { "" } else { " " };
            assert_eq!(got, format!("parsing time {text:?}{separator}{want}"));
        }
        let got = canonical_micro_time("2024-01-01T00:00:00Z").unwrap_err();
        assert!(got.ends_with("as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\""), "{got}");
    }
}
