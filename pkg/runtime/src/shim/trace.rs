// SPDX-License-Identifier: Apache-2.0

//! What libcontainer says when it fails: its errors name the step, its messages the cause.
//!
//! The messages come from processes that are half a container: they go to the shim's log through a
//! descriptor that stays open on the way, and from there into the answer to the agent.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The most of a failure's messages that an answer carries, in bytes.
const CAUSE_BYTES_MAX: usize = 1024;

/// Writes errors as lines to the shim's log.
struct Log(File);

/// Sends libcontainer's error messages to the file.
pub fn start(log: &Path) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(log)?;
    tracing::subscriber::set_global_default(Log(file)).map_err(io::Error::other)
}

/// The log's length, to find later what came after.
pub fn mark(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |m| m.len())
}

/// What was written since the mark, the first cause first, in one line.
pub fn since(log: &Path, mark: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(mark))?;
        let mut bytes = Vec::new();
        file.take(CAUSE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default().lines().collect::<Vec<_>>().join("; ")
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        let _a_full_disk_loses_it = (&self.0).write_all(line.0.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = if field.name() == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        let _strings_take_all = text;
    }
}
