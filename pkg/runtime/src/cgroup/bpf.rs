// SPDX-License-Identifier: Apache-2.0

//! The two system calls that put a program before a group's devices; no library has them.
#![allow(unsafe_code)] // `bpf` takes addresses; each is of something that outlives the call

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::devices::Instruction;

const LOAD: libc::c_long = 5;
const ATTACH: libc::c_long = 8;
/// Programs that judge the use of devices, and the place in a group where they are asked.
const DEVICE_PROGRAM: u32 = 15;
const DEVICE_PLACE: u32 = 6;
/// Beside programs of others: all must agree.
const BESIDE_OTHERS: u32 = 2;

/// The beginning of `union bpf_attr` as a load reads it; the kernel takes what is not there for zeros.
#[repr(C)]
struct LoadArguments {
    kind: u32,
    instructions: u32,
    program: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

/// The same as an attachment reads it.
#[repr(C)]
struct AttachArguments {
    group: i32,
    program: i32,
    place: u32,
    flags: u32,
}

/// Has the kernel ask the program about devices for all in the group and below it, until the group is removed.
pub(super) fn guard_devices(group: &Path, program: &[Instruction]) -> io::Result<()> {
    let group = File::open(group)?;
    let arguments = LoadArguments {
        kind: DEVICE_PROGRAM,
        instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        program: program.as_ptr().addr() as u64,
        licence: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
    };
    let loaded = bpf(LOAD, &arguments)?;
    // SAFETY: the kernel gave this descriptor just now, to nobody else.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let arguments = AttachArguments {
        group: group.as_raw_fd(),
        program: loaded.as_raw_fd(),
        place: DEVICE_PLACE,
        flags: BESIDE_OTHERS,
    };
    bpf(ATTACH, &arguments).map(drop)
}

fn bpf<Arguments>(command: libc::c_long, arguments: &Arguments) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of` bytes of the arguments, and copies what they point to, during the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *arguments, size_of::<Arguments>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}
