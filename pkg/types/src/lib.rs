//! The vocabulary of the cluster: kinds, keys, revisions, selectors, quantities and Status errors.
