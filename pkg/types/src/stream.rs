// SPDX-License-Identifier: Apache-2.0
//! The framing of exec and attach between node and server: `[channel][length, big endian][payload]`.
//!
//! Channels are numbered as in Kubernetes' own WebSocket protocols, and so is the final Status:
//! <https://kubernetes.io/docs/reference/using-api/websockets/>.

use crate::tree::json;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Standard input, from the client.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Error output.
pub const STDERR: u8 = 2;
/// The final Status.
pub const STATUS: u8 = 3;
/// A new size of the terminal.
pub const RESIZE: u8 = 4;
/// The end of the channel that the payload's byte names.
pub const CLOSE: u8 = 255;

/// No client sends longer frames; one that says so is broken.
pub(crate) const FRAME_MAX: usize = 32 << 20;

/// A frame that nobody would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is too long")]
pub struct FrameTooLong(pub usize);

/// One frame.
#[must_use]
pub fn encode(channel: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + payload.len());
    frame.put_u8(channel);
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    frame.put_slice(payload);
    frame.freeze()
}

/// Takes frames out of bytes as they arrive.
#[derive(Debug, Default)]
pub struct Decoder(BytesMut);

impl Decoder {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// [`FrameTooLong`], after which nothing that follows makes sense.
    #[allow(clippy::should_implement_trait, reason = "an error ends it, and `None` does not")]
    pub fn next(&mut self) -> Result<Option<(u8, Bytes)>, FrameTooLong> {
        let Some(header) = self.0.get(..5) else { return Ok(None) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > FRAME_MAX {
            return Err(FrameTooLong(length));
        }
        if self.0.len() < 5 + length {
            return Ok(None);
        }
        let channel = self.0.get_u8();
        self.0.advance(4);
        Ok(Some((channel, self.0.split_to(length).freeze())))
    }
}

/// The final Status of a command, as kubectl reads its exit code from.
#[must_use]
pub fn exit_status(code: i32) -> Bytes {
    let status = if code == 0 {
        json!({"metadata": {}, "status": "Success"})
    } else {
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })
    };
    encode(STATUS, status.to_string().as_bytes())
}

/// The final Status of a command that could not be run.
#[must_use]
pub fn failure(message: &str) -> Bytes {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {message}"),
    });
    encode(STATUS, status.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..10),
            cut in 1usize..20,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(channel, payload)| encode(*channel, payload)).collect();
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some((channel, payload)) = decoder.next().unwrap() {
                    out.push((channel, payload.to_vec()));
                }
            }
            prop_assert_eq!(out, frames);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 255, 255, 255, 255]);
        assert!(decoder.next().is_err());
    }
}
