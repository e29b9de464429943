//! The trait of a pod runtime, with the OCI runtime behind it.
