// SPDX-License-Identifier: Apache-2.0
//! Container logs: CRI lines on disk, as `kubectl logs` asks for them.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; P marks a part of a longer line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

const CHUNK: usize = 64 << 10;

/// Which part of a log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Only what is not older.
    pub since: Option<Timestamp>,
    /// Each line with its time.
    pub timestamps: bool,
    /// `Stdout` or `Stderr` alone.
    pub stream: Option<String>,
}

/// One CRI line, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time as written.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the text ends here, or goes on in the next line.
    pub whole: bool,
    /// The text without its line end.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line without its line end apart.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = std::str::from_utf8(parts.next()?).ok()?;
        let tag = parts.next()?;
        Some(Self { time, stream, whole: tag.first() == Some(&b'F'), text: parts.next().unwrap_or_default() })
    }
}

/// Turns CRI lines into what the client reads, as they come.
pub struct Printer {
    wanted: Wanted,
    line: Vec<u8>,
    /// The text before was a part: this one goes on and gets no time.
    in_line: bool,
}

impl Printer {
    /// A printer of what is `wanted`; the tail is where reading begins, not the printer's business.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, line: Vec::new(), in_line: false }
    }

    /// Takes bytes of the file, in any pieces; appends to `out` what they print.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                self.line.pop();
                let line = std::mem::take(&mut self.line);
                self.print(&line, out);
                self.line = line;
                self.line.clear();
            }
        }
    }

    fn print(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = Line::parse(line) else { return };
        let other = self.wanted.stream.as_deref().is_some_and(|stream| !stream.eq_ignore_ascii_case(line.stream));
        let old = || self.wanted.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|at| at < since));
        if other || old() {
            return;
        }
        if self.wanted.timestamps && !self.in_line {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.whole {
            out.push(b'\n');
        }
        self.in_line = !line.whole;
    }
}

/// The file of a run's log.
#[must_use]
pub fn file(log_dir: &Path, container: &str, run: u32) -> PathBuf {
    log_dir.join(container).join(format!("{run}.log"))
}

/// The files of a run's log, the oldest first: `N.log.4` to `N.log.1`, then `N.log`.
#[must_use]
pub fn files(newest: &Path) -> Vec<PathBuf> {
    let older = |age: usize| PathBuf::from(format!("{}.{age}", newest.display()));
    let mut all: Vec<PathBuf> = (1..).map(older).take_while(|path| path.exists()).collect();
    all.reverse();
    all.push(newest.to_owned());
    all
}

/// Where the last `lines` whole lines of the file begin, and how many there are from there.
///
/// # Errors
/// When the file cannot be read.
pub fn tail_offset(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut position = end;
    let mut chunk = vec![0; CHUNK];
    while position > 0 {
        let size = usize::try_from(position).unwrap_or(CHUNK).min(CHUNK);
        position -= size as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut chunk[..size])?;
        for index in (0..size).rev() {
            let at = position + index as u64;
            if chunk[index] != b'\n' || at + 1 == end {
                continue;
            }
            // A line begins after this line end.
            found += 1;
            if found == lines {
                return Ok((at + 1, found));
            }
        }
    }
    Ok((0, found + usize::from(end > 0)))
}

/// The last lines of a log as text, for termination messages: at most `lines` and `bytes`.
#[must_use]
pub fn last_text(path: &Path, lines: usize, bytes: usize) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let (offset, _) = tail_offset(&mut file, lines)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)?;
        let mut out = Vec::new();
        Printer::new(Wanted::default()).push(&raw, &mut out);
        Ok(out)
    };
    let text = read().unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(bytes)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n\
                       2026-01-01T00:00:01Z stderr P tw\n\
                       2026-01-01T00:00:02Z stderr F o\n\
                       2026-01-01T00:00:03Z stdout F three\n";

    fn printed(wanted: Wanted, pieces: usize) -> String {
        let mut printer = Printer::new(wanted);
        let mut out = Vec::new();
        for piece in LOG.as_bytes().chunks(pieces) {
            printer.push(piece, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_printed_however_they_arrive() {
        for pieces in [1, 7, 1000] {
            assert_eq!(printed(Wanted::default(), pieces), "one\ntwo\nthree\n");
        }
        let since = Some("2026-01-01T00:00:02.5Z".parse().unwrap());
        assert_eq!(printed(Wanted { since, ..Wanted::default() }, 9), "three\n");
        let timed = printed(Wanted { timestamps: true, ..Wanted::default() }, 9);
        assert!(timed.contains("2026-01-01T00:00:01Z two\n2026-01-01T00:00:03Z three\n"), "{timed}");
        assert_eq!(printed(Wanted { stream: Some("Stderr".to_owned()), ..Wanted::default() }, 9), "two\n");
    }

    #[test]
    fn the_tail_begins_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let text = |lines| last_text(&path, lines, 1000);
        assert_eq!(text(1), "three\n");
        assert_eq!(text(2), "o\nthree\n");
        assert_eq!(text(10), "one\ntwo\nthree\n");
        assert_eq!(text(0), "");
        assert_eq!(last_text(&path, 10, 4), "ree\n");
    }
}
