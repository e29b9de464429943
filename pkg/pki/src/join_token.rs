// SPDX-License-Identifier: Apache-2.0
//! Tokens with which nodes join: a secret, and the hash of the CA that they must meet.

use std::fmt;
use std::str::FromStr;

use crate::{PkiError, certificate};

/// What a full token begins with.
const PREFIX: &str = "K10";
/// The user of the server's own token.
pub(crate) const NODE_USER: &str = "node";

/// `K10<hash>::<user>:<secret>`, or the secret alone. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the CA's certificate, hexadecimal; `None` for a secret alone.
    pub authority_hash: Option<String>,
    /// Who joins; `node`.
    pub user: String,
    /// What only members know.
    pub secret: String,
}

impl JoinToken {
    /// The full token for a secret and the CA of its cluster.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where `authority` is not a PEM certificate.
    pub fn new(secret: &str, authority: &str) -> Result<Self, PkiError> {
        let authority_hash = Some(certificate::hash(authority)?);
        Ok(Self { authority_hash, user: NODE_USER.into(), secret: secret.into() })
    }

    /// Checks that the server that was met has the CA that the token names.
    ///
    /// # Errors
    /// [`PkiError::OtherAuthority`] where it has another.
    pub fn check_authority(&self, authority: &str) -> Result<(), PkiError> {
        let actual = certificate::hash(authority)?;
        match &self.authority_hash {
            Some(expected) if *expected != actual => {
                Err(PkiError::OtherAuthority { expected: expected.clone(), actual })
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix(PREFIX).filter(|rest| rest.contains("::")) else {
            let plain = !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains("::");
            let token = Self { authority_hash: None, user: NODE_USER.into(), secret: text.to_owned() };
            return if plain { Ok(token) } else { Err(PkiError::Token) };
        };
        let (hash, credentials) = rest.split_once("::").ok_or(PkiError::Token)?;
        let (user, secret) = credentials.split_once(':').ok_or(PkiError::Token)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash || user.is_empty() || secret.is_empty() {
            return Err(PkiError::Token);
        }
        Ok(Self { authority_hash: Some(hash.to_lowercase()), user: user.into(), secret: secret.into() })
    }
}

impl fmt::Display for JoinToken {
    /// The form for files; it has the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.authority_hash {
            Some(hash) => write!(f, "{PREFIX}{hash}::{}:{}", self.user, self.secret),
            None => f.write_str(&self.secret),
        }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("authority_hash", &self.authority_hash).finish_non_exhaustive()
    }
}

/// A new secret of 128 random bits.
///
/// # Errors
/// [`PkiError::Malformed`] when the system gives no random bytes.
pub fn new_secret() -> Result<String, PkiError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| PkiError::malformed("the system's source of random bytes", "it failed"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_or_are_refused() {
        let hash = "a".repeat(64);
        let full = format!("K10{hash}::node:s3cret");
        let token: JoinToken = full.parse().unwrap();
        assert_eq!((token.secret.as_str(), token.to_string()), ("s3cret", full));
        let plain: JoinToken = " s3cret\n".parse().unwrap();
        assert_eq!((plain.authority_hash, plain.secret.as_str()), (None, "s3cret"));
        for bad in ["", "K10abc::node:x", "a b", &format!("K10{hash}::node:"), &format!("K10{hash}::x")] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_secret_is_not_shown_by_debug() {
        let token: JoinToken = "s3cret".parse().unwrap();
        assert!(!format!("{token:?}").contains("s3cret"));
        assert_eq!(new_secret().unwrap().len(), 32);
    }
}
