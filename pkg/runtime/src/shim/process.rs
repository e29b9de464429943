// SPDX-License-Identifier: Apache-2.0

//! The calls that Rust's libraries offer only as unsafe: forking, filters, signals.
//!
//! They are sound here because the shim has one thread: a fork copies all of the program, and no
//! other thread can be in the middle of something.
#![allow(unsafe_code)] // fork, seccomp and signal dispositions have no safe form

use std::io;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid};

/// Forks; `None` in the child.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the shim is single-threaded, so the child may do whatever the parent could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Closes every descriptor from 3 on, whatever the caller left open.
pub fn close_inherited() {
    // SAFETY: called first thing in `main`, before the shim opened any descriptor of its own.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Ignores signals.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    for signal in signals {
        // SAFETY: to ignore runs no code of ours.
        unsafe { nix::sys::signal::signal(*signal, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Puts every signal back to what a fresh program expects: nothing blocked, nothing ignored.
pub fn reset_signals() -> io::Result<()> {
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Installs one filter of system calls for this process and all that it becomes.
pub fn install_filter(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies the program during the call; seccompiler's instruction has the
    // layout of the kernel's.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives memory that was freed back to the kernel.
pub fn trim_memory() {
    // SAFETY: touches only the allocator's own free lists.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
