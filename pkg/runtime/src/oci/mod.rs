//! The OCI runtime: one shim process a pod, containers through libcontainer.

pub mod client;
pub mod stream;
