// SPDX-License-Identifier: Apache-2.0
//! What Prometheus' own clients tell of their process, as `/proc` has it now.

use std::time::{SystemTime, UNIX_EPOCH};

use super::text::Text;

/// Clock ticks a second in `/proc/self/stat`: the kernel's ABI, whatever its own tick is.
const TICKS: f64 = 100.0;
/// The size of a page, where nobody chose a larger one.
const PAGE_BYTES: u64 = 4096;

/// Writes it all; what cannot be read is left out.
pub fn write(text: &mut Text, started: SystemTime) {
    let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, kind, help);
            text.sample(name, "", value);
        }
    };
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let memory = read("statm");
    let pages = |at: usize| memory.split(' ').nth(at)?.trim().parse::<u64>().ok().map(|p| (p * PAGE_BYTES) as f64);
    let limits = read("limits");
    let most = limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    let open = std::fs::read_dir("/proc/self/fd").map(|d| d.count() as f64).ok();
    let since = started.duration_since(UNIX_EPOCH).map(|d| d.as_secs_f64()).ok();
    gauge("process_cpu_seconds_total", "counter", "User and system CPU time in seconds.", cpu_seconds(&read("stat")));
    gauge("process_resident_memory_bytes", "gauge", "Resident memory.", pages(1));
    gauge("process_virtual_memory_bytes", "gauge", "Virtual memory.", pages(0));
    gauge("process_open_fds", "gauge", "Open file descriptors.", open);
    gauge("process_max_fds", "gauge", "Limit of open file descriptors.", most);
    gauge("process_start_time_seconds", "gauge", "Start of the process since 1970 in seconds.", since);
}

/// The user and system time in a `/proc/self/stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name in parentheses may hold anything: count from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u64>().ok();
    Some((ticks(fields.next())? + ticks(fields.next())?) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 5 0 0 0 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn a_process_tells_of_its_memory() {
        let mut text = Text::default();
        write(&mut text, SystemTime::now());
        assert!(text.into_string().contains("\nprocess_resident_memory_bytes "));
    }
}
