// SPDX-License-Identifier: Apache-2.0

//! Indexes of a job's pods written as intervals, such as `1,3-5` (validateIndexesFormat).

/// One interval, both ends included.
fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<_> = text.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| {
        let number: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    let first = index(ends[0])?;
    let Some(end) = ends.get(1) else { return Ok((first, first)) };
    let last = index(end)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// How many indexes there are.
///
/// # Errors
/// Why the text is none.
pub fn count(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut before: Option<i64> = None;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

/// The first index that is in both.
pub fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut at, mut other) = (0, 0);
    while let (Some(done), Some(lost)) = (completed.get(at), failed.get(other)) {
        if done.0 <= lost.1 && lost.0 <= done.1 {
            return Some(done.0.max(lost.0));
        }
        if done.0 <= lost.0 {
            at += 1;
        } else {
            other += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_rise() {
        assert_eq!(count("", 3), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        for (text, why) in [
            ("1,0", "non-increasing order, previous: 1, current: 0"),
            ("3-2", "non-increasing order, previous: 3, current: 2"),
            ("5", "too large index: \"5\""),
            ("x", "cannot convert string to integer for index: \"x\""),
        ] {
            assert_eq!(count(text, 5), Err(why.to_owned()), "{text}");
        }
        assert_eq!(overlap("0,2-4", "1,3", 5), Some(3));
        assert_eq!(overlap("0,2", "1,3", 5), None);
    }
}
