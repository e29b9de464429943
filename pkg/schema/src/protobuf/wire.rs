// SPDX-License-Identifier: Apache-2.0
//! The lowest layer of protobuf: varints, tags, and bytes with their length in front.
//! <https://protobuf.dev/programming-guides/encoding/>

use super::decode::Fault;

/// How a value lies in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    /// Begins a group; none is used, so it can only be skipped.
    Group,
    EndGroup,
    Fixed32,
    /// There is no such type.
    Illegal(u8),
}

impl WireType {
    const fn of(tag: u64) -> Self {
        match tag & 7 {
            0 => Self::Varint,
            1 => Self::Fixed64,
            2 => Self::Bytes,
            3 => Self::Group,
            4 => Self::EndGroup,
            5 => Self::Fixed32,
            other => Self::Illegal(other as u8),
        }
    }

    /// As it stands in a tag.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Bytes => 2,
            Self::Group => 3,
            Self::EndGroup => 4,
            Self::Fixed32 => 5,
            Self::Illegal(other) => other,
        }
    }
}

/// Reads from a message's bytes.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number of that message and how its value lies.
    pub(crate) fn tag(&mut self, message: &str) -> Result<(u32, WireType), Fault> {
        let (number, wire, tag) = self.any_tag()?;
        if wire == WireType::EndGroup {
            return Err(Fault::EndGroup { message: message.to_owned() });
        }
        match u32::try_from(number) {
            Ok(1..) => Ok((number.unsigned_abs(), wire)),
            _ => Err(Fault::IllegalTag { message: message.to_owned(), number, tag }),
        }
    }

    /// The next entry's number within a map: whatever it is.
    #[allow(clippy::cast_possible_truncation, reason = "as Go reads it")]
    pub(crate) fn any_tag(&mut self) -> Result<(i32, WireType, u64), Fault> {
        let tag = self.varint()?;
        Ok(((tag >> 3) as i32, WireType::of(tag), tag))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { Fault::Eof } else { Fault::Overflow })
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Length)?;
        if i64::try_from(length).is_err() {
            return Err(Fault::Length);
        }
        self.take(length)
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Fault> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Fault::Eof)?;
        self.0 = rest;
        Ok(head)
    }

    /// Passes over a value that nobody wants.
    pub(crate) fn skip(&mut self, wire: WireType) -> Result<(), Fault> {
        // Groups may lie in groups, so what is open is counted.
        let mut wire = wire;
        let mut open = 0_u32;
        loop {
            match wire {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.take(8)?),
                WireType::Bytes => drop(self.bytes()?),
                WireType::Fixed32 => drop(self.take(4)?),
                WireType::Group => open += 1,
                WireType::EndGroup => open = open.checked_sub(1).ok_or(Fault::Group)?,
                WireType::Illegal(wire) => return Err(Fault::IllegalWire(wire)),
            }
            if open == 0 {
                return Ok(());
            }
            wire = self.any_tag()?.1;
        }
    }
}

/// Writes a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a number and that its value is a varint, 8 bytes, or bytes with their length.
pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire: WireType) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire.number()));
}

/// Writes a whole number; negative ones take ten bytes.
#[allow(clippy::cast_sign_loss, reason = "a negative number is written as its two's complement")]
pub(crate) fn put_integer(out: &mut Vec<u8>, number: u32, value: i64) {
    put_tag(out, number, WireType::Varint);
    put_varint(out, value as u64);
}

/// Writes bytes with their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, WireType::Bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes what `fill` writes, with its length in front.
pub(crate) fn put_nested<T>(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    put_tag(out, number, WireType::Bytes);
    // Most messages are short: one byte is left for the length, and room made where that is too little.
    out.push(0);
    let start = out.len();
    let result = fill(out);
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, length as u64);
        out.splice(start - 1..start, prefix);
    }
    result
}

/// How many bytes a varint takes.
pub(crate) const fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
