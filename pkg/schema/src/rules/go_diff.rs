// SPDX-License-Identifier: Apache-2.0

//! What changed between two values as upstream's messages show it: a unified diff of its own structs,
//! printed as JSON with Go's names of their fields.

use std::collections::HashMap;
use std::ops::Range;

use knarr_types::tree::Value;

use super::{go_names, go_print};
use crate::builtin_types::find;
use crate::field_table::Type;

/// How many lines are shown around a change.
const CONTEXT: usize = 3;
/// Larger changes are shown as a whole.
const MAX_CELLS: usize = 4_000_000;

/// The diff of two values of a published type, from the break before its first line.
#[must_use]
pub fn changes(old: &Value, new: &Value, type_name: &str) -> String {
    let Some(ty) = find(type_name) else { return String::new() };
    let lines = |value: &Value| go_print::indented(value, ty.get()).lines().map(str::to_owned).collect::<Vec<_>>();
    format!("\n{}", unified(&lines(old), &lines(new)))
}

/// The same of the sources of two volumes alone.
#[must_use]
pub fn changes_of_sources(old: &Value, new: &Value) -> String {
    let Some(Type::Struct(shape)) = find("io.k8s.api.core.v1.PersistentVolumeSpec").map(|ty| ty.get()) else {
        return String::new();
    };
    let lines = |value: &Value| {
        go_print::some_fields(value, shape, go_names::VOLUME_SOURCES).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    format!("\n{}", unified(&lines(old), &lines(new)))
}

/// A line that is in both, only in the old text, or only in the new one.
#[derive(Clone, Copy, PartialEq)]
enum Line<'l> {
    Same(&'l str),
    Gone(&'l str),
    New(&'l str),
}

fn unified(old: &[String], new: &[String]) -> String {
    let lines = compare(old, new);
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))).map(|(at, _)| at).collect();
    let mut text = String::new();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        let length = 1 + rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * CONTEXT + 1).count();
        let from = first.saturating_sub(CONTEXT);
        let to = (rest[length - 1] + CONTEXT + 1).min(lines.len());
        hunk(&mut text, &lines, from, to);
        rest = &rest[length..];
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], from: usize, to: usize) {
    let in_old = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
    let in_new = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
    let range = |before: usize, length: usize| match length {
        0 => format!("{before},0"),
        1 => (before + 1).to_string(),
        _ => format!("{},{length}", before + 1),
    };
    let shown = &lines[from..to];
    let old = range(in_old(&lines[..from]), in_old(shown));
    let new = range(in_new(&lines[..from]), in_new(shown));
    text.push_str(&format!("@@ -{old} +{new} @@\n"));
    for line in shown {
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Gone(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push(mark);
        text.push_str(line);
        text.push('\n');
    }
}

/// The lines of both texts; in a change the old ones come first.
fn compare<'l>(old: &'l [String], new: &'l [String]) -> Vec<Line<'l>> {
    let (mut lines, mut at) = (Vec::new(), (0, 0));
    for (i, j, length) in matches(old, new).into_iter().chain([(old.len(), new.len(), 0)]) {
        lines.extend(old[at.0..i].iter().map(|line| Line::Gone(line)));
        lines.extend(new[at.1..j].iter().map(|line| Line::New(line)));
        lines.extend(old[i..i + length].iter().map(|line| Line::Same(line)));
        at = (i + length, j + length);
    }
    lines
}

/// Where each line is in the new text; of a long text without the lines that it has too often.
fn places(new: &[String]) -> HashMap<&str, Vec<usize>> {
    const LONG: usize = 200;
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    if new.len() >= LONG {
        places.retain(|_, at| at.len() <= new.len() / 100 + 1);
    }
    places
}

/// What both texts have, in order: where it begins in each, and how long it is. As Python's `difflib` finds it: the
/// longest run first, then those before and behind it.
fn matches(old: &[String], new: &[String]) -> Vec<(usize, usize, usize)> {
    if old.len().saturating_mul(new.len()) > MAX_CELLS {
        return Vec::new();
    }
    let places = places(new);
    let mut found = Vec::new();
    let mut open = vec![(0..old.len(), 0..new.len())];
    while let Some((a, b)) = open.pop() {
        let (i, j, length) = longest(old, new, &places, &a, &b);
        if length > 0 {
            found.push((i, j, length));
            open.push((a.start..i, b.start..j));
            open.push((i + length..a.end, j + length..b.end));
        }
    }
    found.sort_unstable();
    found
}

/// The longest run that both parts have, of equal ones the first; lines that count for nothing make it longer only.
fn longest(
    old: &[String],
    new: &[String],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> (usize, usize, usize) {
    let (mut i, mut j, mut length) = (a.start, b.start, 0);
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for at in a.clone() {
        let mut now = HashMap::new();
        let there = places.get(&*old[at]).into_iter().flatten();
        for &to in there.filter(|to| b.contains(to)) {
            let run = to.checked_sub(1).and_then(|before| ending.get(&before)).copied().unwrap_or_default() + 1;
            now.insert(to, run);
            if run > length {
                (i, j, length) = (at + 1 - run, to + 1 - run, run);
            }
        }
        ending = now;
    }
    while i > a.start && j > b.start && old[i - 1] == new[j - 1] {
        (i, j, length) = (i - 1, j - 1, length + 1);
    }
    while i + length < a.end && j + length < b.end && old[i + length] == new[j + length] {
        length += 1;
    }
    (i, j, length)
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let claim = |modes: &str, class: &str| json!({"accessModes": [modes], "storageClassName": class});
        let ty = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
        assert_eq!(
            changes(&claim("ReadWriteOnce", ""), &claim("ReadWriteMany", ""), ty),
            "\n@@ -1,6 +1,6 @@\n {\n  \"AccessModes\": [\n-  \"ReadWriteOnce\"\n+  \"ReadWriteMany\"\n  ],\n  \"Selector\": null,\n  \
             \"Resources\": {\n"
        );
        assert_eq!(changes(&claim("a", "b"), &claim("a", "b"), ty), "\n");
    }

    #[test]
    fn what_is_new_stands_behind_what_is_gone() {
        let of = |env: Value| json!({"name": "c", "env": env});
        let text = changes(&of(Value::Null), &of(json!([{"name": "A", "value": "b"}])), "io.k8s.api.core.v1.Container");
        let want = "- \"Env\": null,\n+ \"Env\": [\n+  {\n+   \"Name\": \"A\",\n+   \"Value\": \"b\",\n+   \"ValueFrom\": null\n+  }\n+ ],\n";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn the_longest_run_stays_and_what_is_around_it_changes() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let text = unified(&lines("x a b y a b c d e f g h"), &lines("a b c x y a b"));
        assert_eq!(text, "@@ -1,12 +1,7 @@\n-x\n a\n b\n+c\n+x\n y\n a\n b\n-c\n-d\n-e\n-f\n-g\n-h\n");
        let often = |first: &str| [&[first.to_owned()], &*vec!["null".to_owned(); 300]].concat();
        assert!(matches(&often("a"), &often("b")).is_empty(), "what is there too often says nothing");
        assert_eq!(matches(&often("a"), &often("a")), [(0, 0, 301)]);
    }
}
