// SPDX-License-Identifier: Apache-2.0
//! A page of `describe`: titles and values in columns, laid out as kubectl does it.

use std::collections::BTreeMap;
use std::fmt::Display;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use knarr_types::labels::LAST_APPLIED;

/// An annotation that is longer stands below its key; a line of it that is longer is cut.
const ANNOTATION_MAX: usize = 140;
/// Between the columns.
const PADDING: usize = 2;

/// Text that is being written; a tab ends a cell.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A page that begins with an object's name, and its namespace where it has one.
    pub fn of(meta: &ObjectMeta) -> Self {
        let mut page = Self::default();
        page.field(0, "Name", meta.name.as_deref().unwrap_or_default());
        page.some(0, "Namespace", meta.namespace.as_ref());
        page
    }

    /// A line at a depth of two blanks each.
    pub fn line(&mut self, depth: usize, text: impl Display) {
        // A terminal must not be told what to do by what an object holds.
        self.0.push_str(&format!("{}{text}\n", "  ".repeat(depth)).replace('\u{1b}', "^["));
    }

    /// A title and its value.
    pub fn field(&mut self, depth: usize, title: &str, value: impl Display) {
        self.line(depth, format_args!("{title}:\t{value}"));
    }

    /// The same, left out without a value.
    pub fn some(&mut self, depth: usize, title: &str, value: Option<&(impl Display + ?Sized)>) {
        if let Some(value) = value.map(ToString::to_string).filter(|text| !text.is_empty()) {
            self.field(depth, title, value);
        }
    }

    /// A title with lines beside it, the first one on its own; none is `<none>`.
    pub fn list(&mut self, title: &str, lines: &[String]) {
        self.field(0, title, lines.first().map_or("<none>", String::as_str));
        for line in lines.iter().skip(1) {
            self.line(0, format_args!("\t{line}"));
        }
    }

    /// Labels, one a line.
    pub fn labels(&mut self, title: &str, labels: Option<&BTreeMap<String, String>>) {
        let lines: Vec<_> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        self.list(title, &lines);
    }

    /// An object's labels and annotations.
    pub fn labels_and_annotations(&mut self, meta: &ObjectMeta) {
        self.labels("Labels", meta.labels.as_ref());
        self.annotations("Annotations", meta.annotations.as_ref());
    }

    /// Pairs in one line, all of them; none is `<none>`.
    pub fn pairs(&mut self, title: &str, pairs: Option<&BTreeMap<String, String>>) {
        self.pairs_at(0, title, pairs);
    }

    /// The same at a depth.
    pub fn pairs_at(&mut self, depth: usize, title: &str, pairs: Option<&BTreeMap<String, String>>) {
        let all: Vec<_> = pairs.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        self.field(depth, title, if all.is_empty() { "<none>".to_owned() } else { all.join(",") });
    }

    /// Annotations, less the one in which `apply` remembers; long ones below their key.
    pub fn annotations(&mut self, title: &str, annotations: Option<&BTreeMap<String, String>>) {
        let mut lines = Vec::new();
        for (key, value) in annotations.into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED) {
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.len() + key.len() + 2 > ANNOTATION_MAX || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|line| format!("  {}", shorten(line, ANNOTATION_MAX - 2))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        self.list(title, &lines);
    }

    /// Headings over rules as long as they are.
    pub fn headings(&mut self, depth: usize, titles: &[&str]) {
        self.line(depth, titles.join("\t"));
        self.line(depth, titles.iter().map(|title| "-".repeat(title.len())).collect::<Vec<_>>().join("\t"));
    }

    /// The text as it is, with a tab behind each cell.
    pub fn unaligned(self) -> String {
        self.0
    }

    /// The text, its columns aligned.
    pub fn finish(self) -> String {
        align(&self.0)
    }
}

fn shorten(text: &str, length: usize) -> String {
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > length) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Aligns cells as Go's text/tabwriter: a column is a run of lines that have a cell there, as wide as the widest.
fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    // What ends with a tab is a cell; what follows the last one is not.
    let mut widths: Vec<Vec<usize>> = lines
        .iter()
        .map(|line| line[..line.len() - 1].iter().map(|cell| cell.chars().count() + PADDING).collect())
        .collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or_default();
    for column in 0..columns {
        for run in widths.chunk_by_mut(|one, next| one.len() > column && next.len() > column) {
            let widest = run.iter().filter_map(|cells| cells.get(column)).max().copied().unwrap_or_default();
            run.iter_mut().filter_map(|cells| cells.get_mut(column)).for_each(|width| *width = widest);
        }
    }
    let aligned = |(cells, widths): (&Vec<&str>, &Vec<usize>)| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.chain(cells.last().map(|rest| (*rest).to_owned())).collect::<String>()
    };
    lines.iter().zip(&widths).map(aligned).collect::<Vec<_>>().join("\n")
}

/// A moment in this host's time zone, as `Mon, 02 Jan 2006 15:04:05 -0700`.
pub(super) fn date(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => time.to_zoned(zone()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        None => "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(),
    }
}

/// A moment in this host's time zone, as Go prints it.
pub(super) fn go_date(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => time.to_zoned(zone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        None => "0001-01-01 00:00:00 +0000 UTC".to_owned(),
    }
}

/// The time zone that `$TZ` names, or that of the host.
fn zone() -> TimeZone {
    let named = std::env::var("TZ").ok().map(|name| name.trim_start_matches(':').to_owned());
    let path = match named.as_deref() {
        None => "/etc/localtime".to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(name) => format!("/usr/share/zoneinfo/{name}"),
    };
    let read = std::fs::read(path).ok().filter(|_| named.as_deref() != Some(""));
    read.and_then(|bytes| TimeZone::tzif("local", &bytes).ok()).unwrap_or(TimeZone::UTC)
}

/// How long ago a moment was: `5m`, or `<unknown>`.
pub(super) fn since(time: Option<Timestamp>) -> String {
    let age = |time: Timestamp| knarr_schema::table::human_duration(Timestamp::now().duration_since(time).as_secs());
    time.map_or_else(|| "<unknown>".to_owned(), age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_a_run_of_lines_with_a_cell_there() {
        let mut page = Page::default();
        page.field(0, "Name", "web");
        page.field(0, "Much longer", "x");
        page.line(0, "Rules:");
        page.line(1, "Host\tPath\tBackends");
        page.line(1, "a.test\t");
        page.line(2, "\t/ \tweb:80");
        let want =
            "Name:         web\nMuch longer:  x\nRules:\n  Host    Path  Backends\n  a.test  \n          /   web:80\n";
        assert_eq!(page.finish(), want);
        assert_eq!(align("a\tb\tc\nlong\t\td\nx\ne\tf"), "a     b  c\nlong     d\nx\ne  f");
    }

    #[test]
    fn long_annotations_stand_below_their_key() {
        let mut page = Page::default();
        let long = "x".repeat(200);
        let all = BTreeMap::from([
            ("a".to_owned(), "b".to_owned()),
            ("long".to_owned(), long),
            (LAST_APPLIED.to_owned(), String::new()),
        ]);
        page.annotations("Annotations", Some(&all));
        let text = page.finish();
        assert!(text.starts_with("Annotations:  a: b\n              long:\n                xxx"), "{text}");
        assert!(text.ends_with(&format!("{}...\n", "x".repeat(138))) && !text.contains(LAST_APPLIED), "{text}");
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        let mut page = Page::default();
        page.field(0, "Message", "\u{1b}[2J");
        assert_eq!(page.finish(), "Message:  ^[[2J\n");
    }
}
