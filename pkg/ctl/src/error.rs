// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, said to the person who typed the command.

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CtlError {
    /// The server refused, in its words.
    #[error("Error from server{}: {message}", reason_in_brackets(reason))]
    Server {
        /// `NotFound`, `Conflict`, ...
        reason: String,
        /// The server's message.
        message: String,
    },
    /// The server could not be reached or did not answer.
    #[error("cannot reach the server: {0}; is it running, and does the kubeconfig name its address?")]
    Unreachable(String),
    /// There is no way to a server.
    #[error(transparent)]
    Connect(#[from] knarr_client::connect::ConnectError),
    /// The command makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file or stream failed.
    #[error("{what}: {source}")]
    Io {
        /// Which one.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Standard output was closed: there is nobody to tell.
    #[error("output closed")]
    OutputClosed,
}

/// Some refusals have no reason beside their message.
fn reason_in_brackets(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

impl CtlError {
    /// An error of the command line.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A failure of `what`.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The line that the person reads: the server's words as they are, ours marked as an error.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Server { .. } => self.to_string(),
            _ => format!("error: {self}"),
        }
    }

    /// Whether the server said that the object is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Server { reason, .. } if reason == "NotFound")
    }
}

impl From<kube::Error> for CtlError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server { reason: status.reason.clone(), message: status.message.clone() },
            other => Self::Unreachable(other.to_string()),
        }
    }
}
