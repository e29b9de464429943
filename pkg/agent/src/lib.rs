//! The node: it joins, runs its pods, and reports.
