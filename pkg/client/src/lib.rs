//! One way to reach the API, in process or over the network, with caches that keep projections.
