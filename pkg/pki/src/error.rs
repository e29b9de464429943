// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with keys, certificates and tokens.

/// Why something could not be proven, read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate, key or request makes no sense.
    #[error("{what} is not usable: {reason}")]
    Malformed {
        /// What it is.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A token is not of the form it should be.
    #[error(
        "the token is not K10<hash of the CA>::<user>:<secret>, nor a secret alone: copy it whole from the server's agent-token"
    )]
    Token,
    /// A token is for another cluster.
    #[error(
        "the token is for another cluster: it names a CA with hash {expected}, the server's has {actual}; \
         copy the token of this server"
    )]
    OtherAuthority {
        /// As the token has it.
        expected: String,
        /// As the server's CA has it.
        actual: String,
    },
    /// A service-account token does not hold.
    #[error("invalid bearer token: {0}")]
    ServiceAccountToken(String),
}

impl PkiError {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }
}
