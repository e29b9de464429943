// SPDX-License-Identifier: Apache-2.0
//! What keeps a node's name with its machine: a password that the machine makes for itself.
//!
//! A join token lets any machine be any node. So the first one of a name keeps a password in its data
//! dir and writes the password's hash on its Node; from then on a machine without that password does not
//! get a certificate of that name. Deleting the Node gives the name free.

use crate::PkiError;
use crate::join_token::new_secret;

/// The annotation of a Node that holds the hash of its password.
pub const ANNOTATION: &str = "knarr.dev/node-password-hash";

/// A new password.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> Result<String, PkiError> {
    new_secret()
}

/// The hash of a password. It has enough bits of chance not to need salt or many rounds.
#[must_use]
pub fn hash(password: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, password.as_bytes()))
}

/// Whether the Node with this annotation belongs to a machine that does not have `password`.
#[must_use]
pub fn is_taken(annotation: Option<&str>, password: &str) -> bool {
    annotation.is_some_and(|known| !known.is_empty() && known != hash(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_who_knows_its_password() {
        let (mine, other) = (generate().unwrap(), generate().unwrap());
        let known = hash(&mine);
        assert!(!known.contains(&mine) && mine != other);
        for (annotation, password, taken) in [
            (Some(known.as_str()), mine.as_str(), false),
            (Some(&known), &other, true),
            (Some(&known), "", true),
            (None, "", false),
            (Some(""), &other, false),
        ] {
            assert_eq!(is_taken(annotation, password), taken, "{annotation:?}");
        }
    }
}
