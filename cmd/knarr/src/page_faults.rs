// SPDX-License-Identifier: Apache-2.0
//! Code that comes into memory a page at a time, as it is run.
//!
//! At each fault the kernel maps what the page cache has of 64 KiB around: of a program whose idle work is spread over
//! its code that is three times what runs. Where userfaultfd (2) watches a mapping for writes, the kernel must see each
//! page by itself, so it maps one. Nothing is ever written there and nobody is told of anything: only the side effect
//! is wanted.

#![allow(unsafe_code, reason = "userfaultfd is told of addresses; it is only asked to watch, never to change them")]

use std::os::fd::OwnedFd;

use rustix::io;
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

/// Only faults of programs, not of the kernel: what everybody may ask for.
const USER_MODE_ONLY: u32 = 1;
/// The one version of the interface.
const VERSION: u64 = 0xAA;
/// Writes go on without anybody having to answer; with it, any mapping may be watched (Linux 6.7).
const WRITES_GO_ON: u64 = 1 << 15;
/// What is watched for: writes to pages that are protected, of which there are none.
const WRITES: u64 = 1 << 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    version: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

const API: rustix::ioctl::Opcode = opcode::read_write::<Api>(0xAA, 0x3F);
const REGISTER: rustix::ioctl::Opcode = opcode::read_write::<Register>(0xAA, 0x00);

/// Lets the kernel map single pages in these ranges (addresses and lengths of whole mappings) for as long as the
/// descriptor is open.
///
/// # Errors
/// When the kernel has no such thing or does not allow it; nothing is changed then.
pub fn map_single_pages(ranges: &[(usize, usize)]) -> io::Result<OwnedFd> {
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(USER_MODE_ONLY);
    // SAFETY: with the one feature and mode that are asked for below, faults are resolved by the kernel as ever.
    let watcher = unsafe { userfaultfd(flags)? };
    let mut api = Api { version: VERSION, features: WRITES_GO_ON, ioctls: 0 };
    // SAFETY: UFFDIO_API takes and gives a `struct uffdio_api`.
    unsafe { ioctl(&watcher, Updater::<API, _>::new(&mut api))? };
    for (start, length) in ranges {
        let mut register = Register { start: *start as u64, length: *length as u64, mode: WRITES, ioctls: 0 };
        // SAFETY: UFFDIO_REGISTER takes and gives a `struct uffdio_register`; it changes no content of memory.
        unsafe { ioctl(&watcher, Updater::<REGISTER, _>::new(&mut register))? };
    }
    Ok(watcher)
}
