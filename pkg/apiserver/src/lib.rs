//! The HTTP API of the cluster: one pipeline for every request of every kind.
