// SPDX-License-Identifier: Apache-2.0

//! Encryption of single values: XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>), which is AES-256-GCM
//! with a key of its own for each value, derived from the key ring's key and a random nonce; the
//! name of the value is authenticated with it, so that values cannot be swapped.
//!
//! The derivation takes two blocks of AES, where HKDF takes eight of SHA-256.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::rand;

/// Length of the key that a [`ValueKey`] is made of.
pub(crate) const KEY_BYTES: usize = 32;
/// The random bytes that precede the ciphertext: half for the value's key, half for its cipher.
pub(crate) const NONCE_BYTES: usize = 24;
/// The authentication tag that follows it.
pub(crate) const TAG_BYTES: usize = 16;

const BLOCK_BYTES: usize = 16;
/// How much of the nonce goes into the value's key.
const DERIVING_BYTES: usize = 12;

/// A key from which the keys of values are derived.
pub(crate) struct ValueKey {
    cipher: EncryptingKey,
    /// The first subkey of CMAC, which masks what is derived from.
    mask: [u8; BLOCK_BYTES],
}

impl ValueKey {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let cipher = UnboundCipherKey::new(&AES_256, key).and_then(EncryptingKey::ecb);
        let cipher = cipher.expect("the key has the cipher's length");
        let mut mask = [0; BLOCK_BYTES];
        cipher.encrypt(&mut mask).expect("it is one block");
        let doubled = u128::from_be_bytes(mask) << 1;
        let carry = if mask[0] >> 7 == 1 { 0b1000_0111 } else { 0 };
        Self { cipher, mask: (doubled ^ carry).to_be_bytes() }
    }

    fn derive(&self, nonce: &[u8; NONCE_BYTES]) -> (LessSafeKey, Nonce) {
        let mut key = [0; KEY_BYTES];
        for (at, block) in (1..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
            block[..4].copy_from_slice(&[0, at, b'X', 0]);
            block[4..].copy_from_slice(&nonce[..DERIVING_BYTES]);
            block.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        self.cipher.encrypt(&mut key).expect("it is two blocks");
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length");
        let nonce = Nonce::try_assume_unique_for_key(&nonce[DERIVING_BYTES..]).expect("the other half is as long");
        (LessSafeKey::new(key), nonce)
    }
}

/// Encrypts `plain` to the end of `out`: puts the nonce before it and the tag after it.
pub(crate) fn seal(key: &ValueKey, bound_to: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE_BYTES];
    rand::fill(&mut nonce).expect("the system gives randomness");
    seal_with(key, &nonce, bound_to, plain, out);
}

fn seal_with(key: &ValueKey, nonce: &[u8; NONCE_BYTES], bound_to: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let (key, nonce) = key.derive(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(bound_to), &mut out[start..])
        .expect("a value is far below the cipher's limit of 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// Decrypts what [`seal`] made; `None` where it was changed, moved, or sealed with another key.
pub(crate) fn open(key: &ValueKey, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, cipher) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut buffer = cipher.to_vec();
    let (key, nonce) = key.derive(nonce);
    let plain = key.open_in_place(nonce, Aad::from(bound_to), &mut buffer).ok()?.len();
    buffer.truncate(plain);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::KeyRing;

    #[test]
    fn what_was_sealed_opens_only_in_its_place() {
        let ring = KeyRing::generate();
        let (_, key) = ring.primary();
        let mut sealed = Vec::new();
        seal(key, b"o//pods/default/a", b"secret", &mut sealed);
        assert_eq!(sealed.len(), NONCE_BYTES + 6 + TAG_BYTES);
        assert_eq!(open(key, b"o//pods/default/a", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(open(key, b"o//pods/default/b", &sealed), None);
        assert_eq!(open(KeyRing::generate().primary().1, b"o//pods/default/a", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(key, b"o//pods/default/a", &changed), None, "byte {at}");
        }
    }

    /// The two examples of the specification; the second key's mask carries.
    #[test]
    fn the_cipher_is_the_published_one() {
        for (byte, bound_to, sealed) in [
            (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ] {
            let key = ValueKey::new(&[byte; KEY_BYTES]);
            let mut out = Vec::new();
            seal_with(&key, b"ABCDEFGHIJKLMNOPQRSTUVWX", bound_to.as_bytes(), b"XAES-256-GCM", &mut out);
            assert_eq!(hex::encode(&out[NONCE_BYTES..]), sealed);
        }
    }
}
