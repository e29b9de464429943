//! DNS and ingress of a node, answered from the last snapshot.
