// SPDX-License-Identifier: Apache-2.0
//! The program's own code in memory: what only the start ran, or work that is done, need not stay mapped.
//!
//! The kernel maps code in pieces of 64 KiB around each page that is run, so a start leaves half of a large
//! program in the resident set. Given back, what the idle process runs comes again, from the page cache.

#![allow(unsafe_code, reason = "madvise takes addresses; these are of code, which the file still has")]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::mm::{Advice, madvise};

use crate::heap::Heaps;
use crate::page_faults::map_single_pages;
use crate::rest::Work;

/// After this the start is over, and what it ran is not run again.
const SETTLED: Duration = Duration::from_secs(3);
/// From so many bytes of files in memory on it is worth it.
const WORTH: u64 = 16 << 20;

/// Gives code and free memory back once the start is over, and each time that work has come to rest.
pub async fn release_at_rest(work: Arc<Work>, heaps: Arc<Heaps>) {
    tokio::time::sleep(SETTLED).await;
    // Not before: a start touches most pages around those that it runs.
    let _mapped_so_while_it_runs = single_pages();
    give_back();
    heaps.collect();
    loop {
        work.rested(processor_time).await;
        heaps.collect();
        if mapped_bytes() > WORTH {
            give_back();
        }
    }
}

fn single_pages() -> Option<OwnedFd> {
    let mapped = own_text().and_then(|text| Ok(map_single_pages(&text)?));
    mapped.inspect_err(|error| tracing::debug!(%error, "code is mapped with what is around it")).ok()
}

/// What of files is in the process's memory, the program's own first of all (proc(5)).
fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// What the process has used so far, all threads together.
fn processor_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let of = |time: nix::sys::time::TimeVal| {
        let micros = u32::try_from(time.tv_usec()).unwrap_or(0);
        Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), micros * 1000)
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn give_back() {
    match release() {
        Ok(bytes) => tracing::debug!(bytes, "code is mapped again as it is run"),
        Err(error) => tracing::debug!(%error, "code stays mapped as it was run"),
    }
}

/// Unmaps the pages of the executable's code and constants until they are needed again; gives the size of the
/// mappings.
fn release() -> std::io::Result<usize> {
    let mut released = 0;
    for (start, length) in own_text()? {
        // SAFETY: the range is a private mapping of a file that nobody may write, nor could since the program was
        // linked: code (r-xp), or the segment of constants that begins the file (see `text_of`). What is dropped
        // comes back from the file, byte for byte, when it is run or read again (madvise(2)).
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed)? };
        released += length;
    }
    Ok(released)
}

/// Where this program's code and constants are.
fn own_text() -> std::io::Result<Vec<(usize, usize)>> {
    let program = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok(text_of(&maps, &program.to_string_lossy()))
}

/// The mappings of a file's code and constants in the text of `/proc/PID/maps` (proc(5)): address and length. Of those
/// that are only read just the first one of the file: others were written when the program was loaded, and then
/// protected.
fn text_of(maps: &str, path: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let is_text = permissions == "r-xp" || (permissions == "r--p" && offset.bytes().all(|digit| digit == b'0'));
        let (start, end) = range.split_once('-').filter(|_| is_text && line.ends_with(path))?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_is_given_back() {
        let maps = "\
55d0c0000000-55d0c0b2c000 r--p 00000000 fe:00 57 /bin/knarr
55d0c0b2c000-55d0c3342000 r-xp 00b2c000 fe:00 57 /bin/knarr
55d0c3342000-55d0c34ea000 r--p 03341000 fe:00 57 /bin/knarr
7f0000000000-7f0000100000 r-xp 00000000 fe:00 58 /lib/libc.so.6
";
        let constants_and_code = [(0x55d0_c000_0000, 0x00b2_c000), (0x55d0_c0b2_c000, 0x0281_6000)];
        assert_eq!(text_of(maps, "/bin/knarr"), constants_and_code);
    }

    #[test]
    fn a_program_goes_on_without_its_code() {
        assert!(mapped_bytes() > 0 && processor_time() > Duration::ZERO);
        assert!(release().unwrap() > 0);
        let _watcher = single_pages();
        assert!(release().unwrap() > 0);
    }
}
