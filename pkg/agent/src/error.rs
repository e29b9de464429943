// SPDX-License-Identifier: Apache-2.0
//! What can go wrong on a node so that the agent itself cannot go on.

use std::path::PathBuf;

/// Why the agent stopped, or refused to start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A file or folder of the node could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another agent holds the data dir.
    #[error("data dir {} is used by another agent{}; give this one its own with --data-dir", data_dir.display(), id(*process))]
    InUse {
        /// Which one.
        data_dir: PathBuf,
        /// The other agent's process.
        process: Option<u32>,
    },
    /// What is to be taken down still runs.
    #[error(
        "knarr still runs with the data dir {}{}: stop it first, with SIGTERM or its service manager, then take its node down",
        data_dir.display(),
        id(*process)
    )]
    StillRuns {
        /// Which one.
        data_dir: PathBuf,
        /// The process.
        process: Option<u32>,
    },
    /// The token cannot be parsed, or lacks what is needed to trust the server.
    #[error("{0}")]
    Token(String),
    /// The server's CA is not the one that the token names.
    #[error(
        "the CA of {server} has the hash {actual}, the token expects {expected}: this token belongs to another cluster"
    )]
    WrongCa {
        /// The server asked.
        server: String,
        /// Hash of the CA that it gave.
        actual: String,
        /// Hash in the token.
        expected: String,
    },
    /// The server refused the join call.
    #[error("{server} refused to let node {node} join: {message}")]
    Refused {
        /// The server asked.
        server: String,
        /// The node's name.
        node: String,
        /// The server's words.
        message: String,
    },
    /// The server could not be reached or answered nonsense.
    #[error("cannot talk to {server}: {message}")]
    Server {
        /// The server asked.
        server: String,
        /// What happened.
        message: String,
    },
    /// A key or certificate could not be made or read.
    #[error("certificate of the node: {0}")]
    Certificate(String),
    /// A setting has a value that cannot be used.
    #[error("{setting}: {message}")]
    Setting {
        /// The flag.
        setting: &'static str,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// The pod network could not be prepared.
    #[error("network of the node: {0}")]
    Network(String),
    /// The image store or the container runtime could not be prepared.
    #[error("container runtime: {0}")]
    Runtime(String),
}

/// A process as messages name it.
fn id(process: Option<u32>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}

impl AgentError {
    /// For `map_err` on file operations: says what was tried on which path.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
