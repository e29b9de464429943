// SPDX-License-Identifier: Apache-2.0

//! Descriptors whose readiness the runtime waits for.
//!
//! The one `unsafe` of this crate: tokio asks its callers to promise that a descriptor stays what it is
//! while it is registered. An [`OwnedFd`] that is moved in, and never taken out, keeps that promise.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor for as long as the result lives.
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the result and open until that is dropped; nothing replaces it.
    unsafe { Ok(AsyncFd::register(descriptor)?) }
}
