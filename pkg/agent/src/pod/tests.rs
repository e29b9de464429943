//! Pods played by hand and by chance.
