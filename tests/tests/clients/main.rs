// SPDX-License-Identifier: Apache-2.0
//! Clients that others made, against the real server with a node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod helm;
mod kubectls;
mod openapi;
mod rust;
mod scripts;
