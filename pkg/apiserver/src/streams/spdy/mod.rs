// SPDX-License-Identifier: Apache-2.0
//! As much of SPDY/3.1 as Kubernetes' clients speak: streams with headers, and their data.
//! <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>
//!
//! Flow control is left out on purpose: these clients neither keep nor update windows, and a peer
//! that sends faster than it is read is slowed down by the connection itself.

mod connection;
mod frame;
mod headers;

pub use connection::{Connection, Stream, Writer};
