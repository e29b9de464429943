// SPDX-License-Identifier: Apache-2.0

//! Log files of containers, in CRI's format, with rotation.
//!
//! `2026-01-02T03:04:05.000000006Z stdout F the line`: `F` ends a line, `P` is a part of one that
//! goes on. `N.log` is the file being written; `N.log.1` to `N.log.4` are older, 1 the youngest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::clock;

/// The longest piece of a line in one entry, in bytes.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// A file is rotated before it grows over this, in bytes.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Files kept, the one being written included.
const FILES_MAX: u32 = 5;

/// One container's log file.
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// Opens, or continues, a log file.
    pub fn open(path: PathBuf) -> io::Result<LogFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(LogFile { path, file: Some(file), bytes, bytes_max: FILE_BYTES_MAX })
    }

    /// Writes whole entries. What cannot be written is lost: a full disk must not stop a container.
    fn write(&mut self, entries: &[u8]) {
        if self.bytes + entries.len() as u64 > self.bytes_max && self.bytes > 0 {
            self.rotate();
        }
        if let Some(file) = &mut self.file
            && file.write_all(entries).is_ok()
        {
            self.bytes += entries.len() as u64;
        }
    }

    fn rotate(&mut self) {
        for n in (1..FILES_MAX - 1).rev() {
            let _not_there_yet = fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1));
        }
        if fs::rename(&self.path, numbered(&self.path, 1)).is_ok()
            && let Ok(file) = append_to(&self.path)
        {
            self.file = Some(file);
            self.bytes = 0;
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Cuts one stream of a container into entries.
pub struct LineCutter {
    stream: &'static str,
    /// The start of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl LineCutter {
    /// A cutter for `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> LineCutter {
        LineCutter { stream, rest: Vec::new() }
    }

    /// Takes what was read now and writes the entries that are whole.
    pub fn feed(&mut self, data: &[u8], log: &mut LogFile) {
        let stamp = clock::rfc3339_nanos(clock::now_ns());
        let mut out = Vec::with_capacity(data.len() + 64);
        for chunk in data.split_inclusive(|b| *b == b'\n') {
            self.rest.extend_from_slice(chunk);
            self.cut(&stamp, &mut out);
        }
        if !out.is_empty() {
            log.write(&out);
        }
        self.rest.shrink_to(PIECE_BYTES_MAX);
    }

    /// Writes what is left when the stream ends: a part, as no line end came.
    pub fn finish(&mut self, log: &mut LogFile) {
        if !self.rest.is_empty() {
            let mut out = Vec::new();
            let line = std::mem::take(&mut self.rest);
            entry(&clock::rfc3339_nanos(clock::now_ns()), self.stream, 'P', &line, &mut out);
            log.write(&out);
        }
    }

    fn cut(&mut self, stamp: &str, out: &mut Vec<u8>) {
        while self.rest.len() > PIECE_BYTES_MAX && self.rest.get(PIECE_BYTES_MAX) != Some(&b'\n') {
            entry(stamp, self.stream, 'P', &self.rest[..PIECE_BYTES_MAX], out);
            self.rest.drain(..PIECE_BYTES_MAX);
        }
        if let Some(line) = self.rest.strip_suffix(b"\n") {
            entry(stamp, self.stream, 'F', line, out);
            self.rest.clear();
        }
    }
}

fn entry(stamp: &str, stream: &str, tag: char, line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{stamp} {stream} {tag} ").as_bytes());
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> (PathBuf, LogFile) {
        let dir = std::env::temp_dir().join(format!("knarr-logs-{}-{name}", std::process::id()));
        let log = LogFile::open(dir.join("0.log")).unwrap();
        (dir, log)
    }

    fn lines(dir: &Path, file: &str) -> Vec<String> {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_cut_where_they_end_and_where_they_are_too_long() {
        let (dir, mut log) = scratch("cut");
        let mut cutter = LineCutter::new("stdout");
        cutter.feed(b"one\ntw", &mut log);
        cutter.feed(b"o\n\n", &mut log);
        let long = vec![b'x'; PIECE_BYTES_MAX + 1];
        cutter.feed(&long, &mut log);
        cutter.feed(b"\nexact", &mut log);
        cutter.finish(&mut log);
        let exact = [vec![b'y'; PIECE_BYTES_MAX], b"\n".to_vec()].concat();
        cutter.feed(&exact, &mut log);
        let seen = lines(&dir, "0.log");
        let x = "x".repeat(PIECE_BYTES_MAX);
        let y = "y".repeat(PIECE_BYTES_MAX);
        let want = [
            "stdout F one".to_owned(),
            "stdout F two".to_owned(),
            "stdout F ".to_owned(),
            format!("stdout P {x}"),
            "stdout F x".to_owned(),
            "stdout P exact".to_owned(),
            format!("stdout F {y}"),
        ];
        assert_eq!(seen, want);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let (dir, mut log) = scratch("rotate");
        log.bytes_max = 60;
        let mut cutter = LineCutter::new("stderr");
        for n in 0..8 {
            cutter.feed(format!("line {n}\n").as_bytes(), &mut log);
        }
        assert_eq!(lines(&dir, "0.log"), ["stderr F line 7"]);
        assert_eq!(lines(&dir, "0.log.1"), ["stderr F line 6"]);
        assert_eq!(lines(&dir, "0.log.4"), ["stderr F line 3"]);
        assert!(!dir.join("0.log.5").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
