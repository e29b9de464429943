// SPDX-License-Identifier: Apache-2.0

//! Compression: of a state alone, and of a state as the difference from a newer one.
//!
//! The newer state is the dictionary: what both have in common costs a few bytes. Nearly every
//! state is small and goes through LZ4, which costs a tenth of zstd's time; what LZ4's window does
//! not span goes through zstd.

use std::cell::RefCell;

use lz4_flex::block;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

/// States of fewer bytes go through LZ4: it refers back by 16 bits, to the dictionary too.
const LZ4_BYTES: usize = 64 << 10;
/// Large objects are few: the quickest level that still halves them.
const LEVEL: i32 = 1;
/// No stored state is larger; a damaged length must not make us allocate.
const MAX_STATE_BYTES: usize = 64 << 20;
/// What is packed begins with the length of the state.
const LENGTH_BYTES: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// How bytes are packed. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// Not at all: it would not have made them fewer.
    Plain = 0,
    Zstd = 1,
    Lz4 = 2,
}

impl Codec {
    /// The codec that was stored under this number.
    pub(crate) const fn from_stored(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            2 => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Hands `state`, packed, to `take`: as the difference from `newer`, or alone where that is empty.
/// The bytes lie in a buffer of the thread, so that a small state costs no allocation: `take` must
/// not pack.
pub(crate) fn pack<T>(state: &[u8], newer: &[u8], take: impl FnOnce(Codec, &[u8]) -> T) -> T {
    if state.len().max(newer.len()) >= LZ4_BYTES {
        let packed = zstd(state, newer);
        return if packed.len() < state.len() { take(Codec::Zstd, &packed) } else { take(Codec::Plain, state) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let packed = lz4(state, newer, scratch);
        if packed.len() < state.len() { take(Codec::Lz4, packed) } else { take(Codec::Plain, state) }
    })
}

/// Undoes [`pack`]; `None` where the bytes are damaged or `newer` is another state.
pub(crate) fn unpack(codec: Codec, packed: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
    if codec == Codec::Plain {
        return Some(packed.to_vec());
    }
    let (length, body) = packed.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let limit = if codec == Codec::Lz4 { LZ4_BYTES } else { MAX_STATE_BYTES };
    if length > limit {
        return None;
    }
    let mut out;
    let written = if codec == Codec::Lz4 {
        out = vec![0; length];
        block::decompress_into_with_dict(body, &mut out, newer).ok()?
    } else {
        out = Vec::with_capacity(length);
        DECOMPRESS.with_borrow_mut(|context| context.decompress_using_dict(&mut out, body, newer)).ok()?
    };
    (written == length).then_some(out)
}

fn lz4<'a>(state: &[u8], newer: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let most = LENGTH_BYTES + block::get_maximum_output_size(state.len());
    if scratch.len() < most {
        scratch.resize(most, 0);
    }
    scratch[..LENGTH_BYTES].copy_from_slice(&length_of(state));
    let written = block::compress_into_with_dict(state, &mut scratch[LENGTH_BYTES..], newer)
        .expect("the buffer has the size that LZ4 asks for");
    &scratch[..LENGTH_BYTES + written]
}

fn zstd(state: &[u8], newer: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(compress_bound(state.len()));
    COMPRESS
        .with_borrow_mut(|context| context.compress_using_dict(&mut body, state, newer, LEVEL))
        .expect("the buffer has the size that zstd asks for");
    [&length_of(state)[..], &body].concat()
}

fn length_of(state: &[u8]) -> [u8; LENGTH_BYTES] {
    u32::try_from(state.len()).expect("a state is below 4 GiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(state: &[u8], newer: &[u8]) -> (Codec, Vec<u8>) {
        pack(state, newer, |codec, packed| (codec, packed.to_vec()))
    }

    /// Bytes that do not compress.
    fn noise(words: u32) -> Vec<u8> {
        (0..words).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn a_state_comes_back_from_its_delta(
            state in proptest::collection::vec(0..4_u8, 0..4096),
            newer in proptest::collection::vec(0..4_u8, 0..4096),
        ) {
            let (codec, packed) = packed(&state, &newer);
            prop_assert_eq!(unpack(codec, &packed, &newer), Some(state));
        }

        #[test]
        fn damage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), length in 0..300_u32) {
            for codec in [Codec::Zstd, Codec::Lz4] {
                let _ = unpack(codec, &[&length.to_le_bytes()[..], &bytes].concat(), b"a newer state");
            }
        }
    }

    #[test]
    fn a_small_change_makes_a_small_delta_and_the_size_tells_the_codec() {
        for (words, codec) in [(200, Codec::Lz4), (16_383, Codec::Lz4), (16_384, Codec::Zstd), (20_000, Codec::Zstd)] {
            let old = noise(words);
            let mut new = old.clone();
            new[500] ^= 0xff;
            let (used, delta) = packed(&old, &new);
            assert_eq!(used, codec, "{words}");
            assert!(delta.len() < 40 + old.len() / 200, "{words}: {}", delta.len());
            assert_eq!(unpack(used, &delta, &new), Some(old));
        }
    }

    #[test]
    fn what_does_not_shrink_is_kept_plain() {
        for state in [Vec::new(), noise(10), noise(40_000)] {
            assert_eq!(packed(&state, b""), (Codec::Plain, state));
        }
    }

    #[test]
    fn damage_is_noticed_or_harmless() {
        for state in [&b"hello hello hello hello hello hello"[..], &[b'x'; LZ4_BYTES]] {
            let (codec, packed) = packed(state, b"");
            assert_ne!(codec, Codec::Plain);
            assert_eq!(unpack(codec, &packed[..3], b""), None);
            assert_eq!(unpack(codec, &packed[..packed.len() - 1], b""), None);
            assert_eq!(unpack(codec, &[0xff; 8], b""), None);
        }
    }
}
