// SPDX-License-Identifier: Apache-2.0
//! The program's own code in memory: what only the start ran need not stay mapped.
//!
//! The kernel maps code in pieces of 64 KiB around each page that is run, so a start leaves half of a large
//! program in the resident set. Given back, what the idle process runs comes again, from the page cache.

#![allow(unsafe_code, reason = "madvise takes addresses; these are of code, which the file still has")]

use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// After this the start is over, and what it ran is not run again.
const SETTLED: Duration = Duration::from_secs(3);

/// Gives the code back once the start is over.
pub async fn release_after_start() {
    tokio::time::sleep(SETTLED).await;
    match release() {
        Ok(bytes) => tracing::debug!(bytes, "code is mapped again as it is run"),
        Err(error) => tracing::debug!(%error, "code stays mapped as the start left it"),
    }
}

/// Unmaps the pages of the executable's code until they are run again; gives the size of the mappings.
fn release() -> std::io::Result<usize> {
    let program = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut released = 0;
    for (start, length) in code_of(&maps, &program.to_string_lossy()) {
        // SAFETY: the range is a private mapping of a file that nobody may write, as its r-xp says: what is
        // dropped comes back from the file, byte for byte, when it is run or read again (madvise(2)).
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed)? };
        released += length;
    }
    Ok(released)
}

/// The executable mappings of a file in the text of `/proc/PID/maps` (proc(5)): address and length.
fn code_of(maps: &str, path: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next()?, fields.next()?);
        let own = permissions == "r-xp" && line.ends_with(path);
        let (start, end) = range.split_once('-').filter(|_| own)?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let maps = "\
55d0c0000000-55d0c0b2c000 r--p 00000000 fe:00 57 /bin/knarr
55d0c0b2c000-55d0c3342000 r-xp 00b2c000 fe:00 57 /bin/knarr
55d0c3342000-55d0c34ea000 r--p 03341000 fe:00 57 /bin/knarr
7f0000000000-7f0000100000 r-xp 00000000 fe:00 58 /lib/libc.so.6
";
        assert_eq!(code_of(maps, "/bin/knarr"), [(0x55d0_c0b2_c000, 0x0281_6000)]);
    }

    #[test]
    fn a_program_goes_on_without_its_code() {
        assert!(release().unwrap() > 0);
        assert!(release().unwrap() > 0);
    }
}
