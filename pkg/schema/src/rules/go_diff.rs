// SPDX-License-Identifier: Apache-2.0

//! What changed between two values as upstream's messages show it: a unified diff of its own structs,
//! printed as JSON with Go's names of their fields.

use knarr_types::tree::Value;

use super::go_print;
use crate::builtin_types::find;

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

/// The lines of both texts, what both have as long as it can be; in a change the old ones come first.
fn compare<'l>(old: &'l [String], new: &'l [String]) -> Vec<Line<'l>> {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let back = old[front..].iter().rev().zip(new[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[front..old.len() - back], &new[front..new.len() - back]);
    let mut lines: Vec<Line<'l>> = old[..front].iter().map(|line| Line::Same(line)).collect();
    lines.extend(middle(a, b));
    lines.extend(old[old.len() - back..].iter().map(|line| Line::Same(line)));
    lines
}

fn middle<'l>(a: &'l [String], b: &'l [String]) -> Vec<Line<'l>> {
    let width = b.len() + 1;
    if a.len().saturating_mul(width) > MAX_CELLS {
        return a.iter().map(|line| Line::Gone(line)).chain(b.iter().map(|line| Line::New(line))).collect();
    }
    // How many lines both share from here on.
    let mut shared = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            shared[i * width + j] = if a[i] == b[j] {
                shared[(i + 1) * width + j + 1] + 1
            } else {
                shared[(i + 1) * width + j].max(shared[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let (mut lines, mut added) = (Vec::new(), Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.append(&mut added);
            lines.push(Line::Same(&a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || shared[(i + 1) * width + j] >= shared[i * width + j + 1]) {
            lines.push(Line::Gone(&a[i]));
            i += 1;
        } else {
            added.push(Line::New(&b[j]));
            j += 1;
        }
    }
    lines.append(&mut added);
    lines
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
}
