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
    #[error(
        "cannot reach the server{}: {reason}; is it running, and does the kubeconfig name its address?",
        after_a_blank(server)
    )]
    Unreachable {
        /// Its URL, once it is known.
        server: String,
        /// Why.
        reason: String,
    },
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

fn after_a_blank(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!(" {word}") }
}

impl CtlError {
    /// The server did not answer, or not to the end.
    pub(crate) fn unreachable(error: &dyn std::error::Error) -> Self {
        Self::Unreachable { server: String::new(), reason: knarr_types::with_causes(error) }
    }

    /// The same error, of this server.
    pub(crate) fn of(self, server: &str) -> Self {
        match self {
            Self::Unreachable { reason, .. } => Self::Unreachable { server: server.to_owned(), reason },
            other => other,
        }
    }

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
            other => Self::unreachable(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_named_with_the_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = CtlError::from(kube::Error::Service(Box::new(std::io::Error::other(refused))));
        let text = error.of("https://10.0.0.1:6443/").line();
        assert!(text.starts_with("error: cannot reach the server https://10.0.0.1:6443/: "), "{text}");
        assert!(text.contains("connection refused; is it running"), "{text}");
        assert_eq!(CtlError::usage("no").of("https://a").line(), "error: no");
    }
}
