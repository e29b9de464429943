// SPDX-License-Identifier: Apache-2.0

//! What a group uses, read from its files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::status::ContainerStats;

/// From v1, given the group's folder for a controller.
pub(super) fn v1(dir: impl Fn(&str) -> Option<PathBuf>) -> ContainerStats {
    let number = |controller: &str, file: &str| {
        dir(controller).and_then(|d| read(&d, file)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let memory = dir("memory").and_then(|d| read(&d, "memory.stat")).unwrap_or_default();
    let memory_bytes = number("memory", "memory.usage_in_bytes");
    let inactive = field(&memory, "total_inactive_file").unwrap_or(0);
    ContainerStats {
        cpu_ns: number("cpuacct", "cpuacct.usage"),
        memory_bytes,
        working_set_bytes: memory_bytes.saturating_sub(inactive),
        rss_bytes: field(&memory, "total_rss").unwrap_or(0),
        pids: number("pids", "pids.current"),
    }
}

/// From v2.
pub(super) fn v2(dir: &Path) -> ContainerStats {
    let number = |file: &str| read(dir, file).and_then(|t| t.trim().parse::<u64>().ok()).unwrap_or(0);
    let memory = read(dir, "memory.stat").unwrap_or_default();
    let cpu = read(dir, "cpu.stat").unwrap_or_default();
    let memory_bytes = number("memory.current");
    let inactive = field(&memory, "inactive_file").unwrap_or(0);
    ContainerStats {
        cpu_ns: field(&cpu, "usage_usec").unwrap_or(0) * 1000,
        memory_bytes,
        working_set_bytes: memory_bytes.saturating_sub(inactive),
        rss_bytes: field(&memory, "anon").unwrap_or(0),
        pids: number("pids.current"),
    }
}

fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// The number after `name` in a file of `name number` lines.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "none"), None);
    }
}
