//! Certificates, keys and tokens: what proves who somebody is.
