//! Black-box tests: the real binary, real clients, hosts made of network namespaces.
