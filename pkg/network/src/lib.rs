//! Links, addresses, routes and the one nftables ruleset of a node.
