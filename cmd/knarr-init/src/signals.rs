// SPDX-License-Identifier: Apache-2.0

//! Signals of a first process: the kernel gives it none that it did not ask for.
#![allow(unsafe_code)] // the standard library has no signals

use std::process::ExitCode;

/// Ends the process with code 0 at SIGTERM and SIGINT.
pub fn end_on_request() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler calls nothing but `_exit`, which may be called at any moment.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: ends the process at once; nothing of it runs after.
    unsafe { libc::_exit(0) }
}

/// Takes leave of children that others left behind, for ever.
pub fn reap_for_ever() -> ExitCode {
    // SAFETY: an empty set of signals, then one with SIGCHLD in it; blocked, so that none is lost
    // between looking for children and waiting for more.
    let children = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    };
    loop {
        // SAFETY: reaps a dead child, without asking how it ended; `sigwait` only writes the
        // number of the signal.
        unsafe {
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
            let mut signal = 0;
            libc::sigwait(&children, &mut signal);
        }
    }
}
