// SPDX-License-Identifier: Apache-2.0

//! Kernel parameters of the calling thread's network namespace.

use crate::Error;

/// Writes a parameter by its dotted name.
pub(crate) fn set(name: &str, value: &str) -> Result<(), Error> {
    // In a name with slashes, dots belong to an element (as sysctl(8) has it).
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    write(&path, value)
}

/// Writes a parameter of a link; its name may have dots.
pub(crate) fn set_link(family: &str, link: &str, name: &str, value: &str) -> Result<(), Error> {
    write(&format!("net/{family}/conf/{link}/{name}"), value)
}

/// Whether the kernel has IPv6.
pub(crate) fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

fn write(path: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{path}");
    let same = std::fs::read_to_string(&path).is_ok_and(|old| old.split_whitespace().eq(value.split_whitespace()));
    if same {
        return Ok(()); // also where /proc/sys is read-only but right
    }
    std::fs::write(&path, value).map_err(Error::file("set", path))
}
