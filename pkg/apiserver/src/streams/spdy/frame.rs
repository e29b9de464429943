// SPDX-License-Identifier: Apache-2.0
//! Frames: eight bytes that say what follows, and that.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What starts a control frame: the control bit, and version 3.
const CONTROL: u16 = 0x8003;
/// The flag of a frame after which its sender says nothing more in the stream.
pub const FIN: u8 = 1;
/// No control frame of these clients is longer.
pub const CONTROL_MAX: usize = 64 << 10;
/// Data frames carry 24 bits of length; larger pieces than this are sent in several.
pub const DATA_MAX: usize = 1 << 20;
/// The status of a stream that is not taken.
pub const REFUSED_STREAM: u32 = 3;
/// The status of a stream that its maker no longer wants.
pub const CANCEL: u32 = 5;

/// The peer does not speak SPDY/3.1, or breaks its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The kinds of control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens a stream.
    SynStream,
    /// Accepts one.
    SynReply,
    /// Ends one before its time.
    RstStream,
    /// Asks for an echo.
    Ping,
    /// Says that no more streams are taken.
    GoAway,
    /// Adds headers to a stream.
    Headers,
    /// What this server does not care for: settings, windows, and what it does not know.
    Other,
}

/// What follows in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Data of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// Whether these are the last.
        is_last: bool,
        /// Bytes that follow.
        length: usize,
    },
    /// A control frame.
    Control {
        /// Which.
        kind: Kind,
        /// Its flags.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
}

impl Head {
    /// Reads the first eight bytes of a frame.
    ///
    /// # Errors
    /// [`Malformed`] for another version, and for control frames longer than [`CONTROL_MAX`].
    pub fn parse(bytes: [u8; 8]) -> Result<Self, Malformed> {
        let [a, b, c, d, flags, high, middle, low] = bytes;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if a & 0x80 == 0 {
            return Ok(Self::Data { stream: u32::from_be_bytes([a, b, c, d]), is_last: flags & FIN != 0, length });
        }
        if u16::from_be_bytes([a, b]) != CONTROL {
            return Err(Malformed("the peer speaks another version of SPDY"));
        }
        if length > CONTROL_MAX {
            return Err(Malformed("a control frame is too long"));
        }
        let kind = match u16::from_be_bytes([c, d]) {
            1 => Kind::SynStream,
            2 => Kind::SynReply,
            3 => Kind::RstStream,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::Headers,
            _ => Kind::Other,
        };
        Ok(Self::Control { kind, flags, length })
    }
}

/// Data of a stream, at most [`DATA_MAX`] bytes.
#[must_use]
pub fn data(stream: u32, bytes: &[u8], is_last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_u32(stream & 0x7fff_ffff);
    put_length(&mut frame, u8::from(is_last), bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

/// Accepts a stream; `block` are its headers.
#[must_use]
pub fn syn_reply(stream: u32, block: &[u8]) -> Bytes {
    control(2, &[&stream.to_be_bytes(), block])
}

/// Ends a stream.
#[must_use]
pub fn rst_stream(stream: u32, status: u32) -> Bytes {
    control(3, &[&stream.to_be_bytes(), &status.to_be_bytes()])
}

/// An echo.
#[must_use]
pub fn ping(id: u32) -> Bytes {
    control(6, &[&id.to_be_bytes()])
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|p| p.len()).sum();
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(CONTROL);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    frame.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or_default() & 0x00ff_ffff);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(frame: &Bytes) -> Head {
        Head::parse(frame[..8].try_into().unwrap()).unwrap()
    }

    #[test]
    fn frames_say_what_follows() {
        assert_eq!(head(&data(5, b"abc", true)), Head::Data { stream: 5, is_last: true, length: 3 });
        for (frame, kind, length) in [
            (syn_reply(1, b"block"), Kind::SynReply, 9),
            (rst_stream(1, CANCEL), Kind::RstStream, 8),
            (ping(1), Kind::Ping, 4),
        ] {
            assert_eq!(head(&frame), Head::Control { kind, flags: 0, length });
            assert_eq!(frame.len(), 8 + length);
        }
    }

    #[test]
    fn other_versions_and_long_frames_are_refused() {
        assert!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]).is_err());
        assert!(Head::parse([0x80, 3, 0, 1, 0, 0xff, 0, 0]).is_err());
        assert_eq!(Head::parse(*b"GET / HT"), Ok(Head::Data { stream: 0x4745_5420, is_last: true, length: 0x20_4854 }));
    }
}
