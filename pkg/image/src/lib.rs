//! Container images: pulled, verified, unpacked, kept and pruned.
