//! The `knarr` binary: arguments, wiring, exit codes.
fn main() {}
