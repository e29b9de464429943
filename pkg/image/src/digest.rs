// SPDX-License-Identifier: Apache-2.0

//! Content and its digest: readers that compute what passes through them.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// `sha256:...` of bytes.
pub fn of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The hexadecimal part of a digest that may name a file: `sha256:` and 64 digits.
pub fn hex_part(digest: &str) -> Result<&str, Error> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| Error::Malformed {
            what: format!("digest {digest:?}"),
            reason: "want sha256: and 64 hexadecimal digits".to_owned(),
        })
}

/// Fails unless the digests are equal.
pub fn verify(what: impl Into<String>, want: &str, got: &str) -> Result<(), Error> {
    if want == got {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: what.into(), want: want.to_owned(), got: got.to_owned() })
}

/// A reader that computes the digest and the length of what is read through it.
pub struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// Reads what is left and gives digest and length of all.
    pub fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((format!("sha256:{}", hex::encode(self.hash.finalize())), self.bytes))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_covers_what_was_not_read() {
        let mut reader = Hashing::new(&b"hello world"[..]);
        let mut some = [0; 3];
        reader.read_exact(&mut some).unwrap();
        assert_eq!(reader.finish().unwrap(), (of(b"hello world"), 11));
    }

    #[test]
    fn only_plain_digests_name_files() {
        assert!(hex_part(&of(b"")).is_ok());
        for bad in ["", "sha256:", "sha256:../../etc", "sha512:00", &of(b"").to_uppercase()] {
            assert!(hex_part(bad).is_err(), "{bad}");
        }
    }
}
