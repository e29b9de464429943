// SPDX-License-Identifier: Apache-2.0

//! What agent and shim say to each other, on the socket in the pod's folder.
//!
//! A message is a length (u32, big endian) and JSON. One connection carries one request and its
//! answer; `Exec` and `Attach` answer with descriptors beside the message and later, on the same
//! connection, with the exit; `Watch` answers with exits for as long as it is open. Requests and
//! fields are only ever added: a shim may be older than the agent that talks to it, and answers
//! [`Response::Failed`] to what it does not know.

use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, ExecConfig};
use crate::status::{Exit, PodStatus};

/// Version of the protocol, for messages.
pub const VERSION: u32 = 1;
/// The longest message that either side accepts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What the agent asks. Containers are named by their run (`NAME-ATTEMPT`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Everything about the pod.
    Status,
    /// Prepare a container.
    Create { name: String, attempt: u32, config: Box<ContainerConfig> },
    /// Start it.
    Start { run: String },
    /// Send its first process a signal.
    Signal { run: String, signal: i32 },
    /// Kill what is left of it and forget it.
    Remove { run: String },
    /// Run one more process in it.
    Exec { run: String, config: Box<ExecConfig> },
    /// Join its streams.
    Attach {
        run: String,
        /// Whether its input is wanted too.
        #[serde(default)]
        stdin: bool,
    },
    /// Tell every exit from now on.
    Watch,
    /// Kill all containers and end.
    Shutdown,
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Done,
    /// To `Status`.
    Status { version: u32, status: Box<PodStatus> },
    /// To `Start`.
    Started { pid: i32 },
    /// To `Exec` and `Attach`: what the descriptors beside this message are, in their order.
    Streams { streams: Vec<StreamKind> },
    /// Of a container (to `Watch`, `Attach`) or of the process of an `Exec`.
    Exited { run: String, exit: Exit },
    /// It did not work.
    Failed { kind: Failure, message: String },
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// The writing end of its input.
    Stdin,
    /// The reading end of its output.
    Stdout,
    /// The reading end of its error output.
    Stderr,
    /// Its terminal.
    Terminal,
}

/// Failures that the agent tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No such container.
    NotFound,
    /// It does not run.
    NotRunning,
    /// Its command is not there or is no program.
    CannotExecute,
    /// The request makes no sense.
    Invalid,
    /// Anything else.
    #[serde(other)]
    Other,
}
