// SPDX-License-Identifier: Apache-2.0

//! Compression: of a state alone, and of a state as the difference from a newer one.
//!
//! zstd with the newer state as its dictionary is the delta: what both have in common costs a few
//! bytes.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

/// Objects are small and written often: the quickest level that still halves them.
const LEVEL: i32 = 1;
/// No stored state is larger; a damaged length must not make us allocate.
const MAX_STATE_BYTES: usize = 64 << 20;

thread_local! {
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// `state` as the difference from `newer`; an empty `newer` compresses it alone.
pub(crate) fn compress(state: &[u8], newer: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + compress_bound(state.len()));
    let length = u32::try_from(state.len()).expect("a state is below 4 GiB");
    let body = COMPRESS
        .with_borrow_mut(|context| {
            let mut body = Vec::with_capacity(compress_bound(state.len()));
            context.compress_using_dict(&mut body, state, newer, LEVEL).map(|_| body)
        })
        .expect("the buffer has the size that zstd asks for");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Undoes [`compress`]; `None` where the bytes are damaged or `newer` is another state.
pub(crate) fn decompress(packed: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
    let (length, body) = packed.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_STATE_BYTES {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    DECOMPRESS.with_borrow_mut(|context| context.decompress_using_dict(&mut out, body, newer)).ok()?;
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_state_comes_back_from_its_delta(
            state in proptest::collection::vec(any::<u8>(), 0..4096),
            newer in proptest::collection::vec(any::<u8>(), 0..4096),
        ) {
            prop_assert_eq!(decompress(&compress(&state, &newer), &newer), Some(state));
        }
    }

    #[test]
    fn a_small_change_makes_a_small_delta() {
        let old: Vec<u8> = (0..4000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut new = old.clone();
        new[5000] ^= 0xff;
        assert!(compress(&old, &new).len() < 100);
    }

    #[test]
    fn damage_is_noticed_or_harmless() {
        let packed = compress(b"hello hello hello", b"");
        assert_eq!(decompress(&packed[..3], b""), None);
        assert_eq!(decompress(&packed[..packed.len() - 1], b""), None);
        assert_eq!(decompress(&[0xff; 8], b""), None);
    }
}
