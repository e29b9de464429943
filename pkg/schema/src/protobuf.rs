// SPDX-License-Identifier: Apache-2.0
//! Built-in kinds as protobuf: `application/vnd.kubernetes.protobuf`.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources>
//!
//! What an object holds is said by its [`Message`], made of the same rows as its field table. An object
//! travels in an envelope: four bytes of magic, then a message with its apiVersion, its kind and its bytes.

mod decode;
mod encode;
mod envelope;
mod message;
pub(crate) mod wire;

pub use decode::{Fault, read};
pub use encode::{put_json, put_tree};
pub use envelope::{Envelope, ListFrame, open, seal, watch_frame};
pub use message::Message;

#[cfg(test)]
mod tests;
