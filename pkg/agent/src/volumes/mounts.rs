// SPDX-License-Identifier: Apache-2.0
//! Mounts that the node itself makes: memory volumes and sub paths; and taking them away.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

/// Mounts memory at `path`, limited to `size` bytes.
pub fn tmpfs(path: &Path, size: Option<i64>) -> Result<(), String> {
    let options = size.map_or_else(String::new, |size| format!("size={size}"));
    let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .map_err(|error| format!("mount tmpfs on {}: {error}", path.display()))
}

/// Whether something is mounted at exactly `path`.
pub fn is_mount(path: &Path) -> bool {
    mount_points().iter().any(|point| point == path)
}

/// Unmounts everything at or below `path`, the deepest first.
///
/// # Errors
/// The mount that would not go.
pub fn unmount_below(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut points: Vec<PathBuf> = mount_points().into_iter().filter(|point| point.starts_with(path)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in &points {
        unmount_one(point)?;
    }
    Ok(points)
}

/// Unmounts one mount; what still uses it keeps it until it lets go.
///
/// # Errors
/// The kernel's answer.
pub fn unmount_one(point: &Path) -> Result<(), String> {
    match rustix::mount::unmount(point, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(format!("unmount {}: {error}", point.display())),
    }
}

fn mount_points() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point))).collect()
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let code = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                bytes = &rest[3..];
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert!(is_mount(Path::new("/proc")));
        assert!(!is_mount(Path::new("/proc/self")));
    }
}
