// SPDX-License-Identifier: Apache-2.0

//! Encryption of single values: AES-256-GCM with a key of its own for each value, derived (HKDF)
//! from the key ring's key and a random salt; the name of the value is authenticated with it, so
//! that values cannot be swapped.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::Prk;
use aws_lc_rs::rand;

/// The bytes from which a value's key is derived; they precede the ciphertext.
pub(crate) const SALT_BYTES: usize = 16;
/// The authentication tag that follows it.
pub(crate) const TAG_BYTES: usize = 16;

/// Encrypts `out[from..]` in place: puts the salt before it and the tag after it.
pub(crate) fn seal(key: &Prk, bound_to: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).expect("the system gives randomness");
    out.extend_from_slice(&salt);
    let start = out.len();
    out.extend_from_slice(plain);
    let tag = derive(key, &salt)
        .seal_in_place_separate_tag(nonce(), Aad::from(bound_to), &mut out[start..])
        .expect("a value is far below the cipher's limit of 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// Decrypts what [`seal`] made; `None` where it was changed, moved, or sealed with another key.
pub(crate) fn open(key: &Prk, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, cipher) = sealed.split_first_chunk::<SALT_BYTES>()?;
    let mut buffer = cipher.to_vec();
    let plain = derive(key, salt).open_in_place(nonce(), Aad::from(bound_to), &mut buffer).ok()?.len();
    buffer.truncate(plain);
    Some(buffer)
}

/// A key seals one value only, so one nonce is enough.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn derive(key: &Prk, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    let info: [&[u8]; 1] = [salt];
    let okm = key.expand(&info, &AES_256_GCM).expect("the length is that of the cipher's key");
    LessSafeKey::new(UnboundKey::from(okm))
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
        assert_eq!(sealed.len(), SALT_BYTES + 6 + TAG_BYTES);
        assert_eq!(open(key, b"o//pods/default/a", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(open(key, b"o//pods/default/b", &sealed), None);
        assert_eq!(open(KeyRing::generate().primary().1, b"o//pods/default/a", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(key, b"o//pods/default/a", &changed), None, "byte {at}");
        }
    }
}
