// SPDX-License-Identifier: Apache-2.0

//! Who may use an image that is here: whoever has shown what its registry let in.
//!
//! As the kubelet does it (`imagePullCredentialsVerificationPolicy`, by default `NeverVerifyPreloadedImages`): a pod does not
//! get at a private image only because another pod on its node has pulled it. Others ask the registry, with what they have.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::credentials::{Credentials, Keyring};
use crate::digest;
use crate::reference::Reference;

/// By the repository that an image was pulled from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access(BTreeMap<String, Admitted>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Admitted {
    /// The registry asked for nothing, or for what the node itself has.
    #[serde(default)]
    anyone: bool,
    /// Sums of the credentials of pods that it took.
    #[serde(default)]
    credentials: BTreeSet<String>,
}

impl Access {
    /// After a pull of the image with this id; `shown` are the pod's credentials, if it was those that were taken.
    pub fn after_pull(id: &str, reference: &Reference, shown: Option<&Credentials>) -> Access {
        let admitted = match shown {
            None => Admitted { anyone: true, ..Admitted::default() },
            Some(credentials) => Admitted { credentials: BTreeSet::from([sum(id, credentials)]), anyone: false },
        };
        Access(BTreeMap::from([(reference.name(), admitted)]))
    }

    /// Adds what was known before.
    pub fn merge(&mut self, older: Access) {
        for (repository, mut admitted) in older.0 {
            let here = self.0.entry(repository).or_default();
            here.anyone |= admitted.anyone;
            here.credentials.append(&mut admitted.credentials);
        }
    }

    /// Whether a pod with these credentials may use the image with this id under this name; without a name, by its id.
    pub fn admits(&self, id: &str, name: Option<&Reference>, keyring: &Keyring) -> bool {
        self.0.iter().filter(|(repository, _)| name.is_none_or(|name| name.name() == **repository)).any(
            |(repository, admitted)| {
                let known = |credentials: &Credentials| admitted.credentials.contains(&sum(id, credentials));
                let mine = || repository.parse().map(|repository| keyring.matching(&repository)).unwrap_or_default();
                admitted.anyone || mine().iter().any(known)
            },
        )
    }
}

/// The id makes it another one for each image.
fn sum(id: &str, credentials: &Credentials) -> String {
    digest::of(&match credentials {
        Credentials::Basic(user, password) => [id, "basic", user, password].join("\0").into_bytes(),
        Credentials::Bearer(token) => [id, "bearer", token].join("\0").into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:1";

    fn ring(user: &str) -> Keyring {
        let mut ring = Keyring::default();
        ring.add("r.io", Credentials::Basic(user.to_owned(), "p".to_owned()));
        ring
    }

    #[test]
    fn who_was_let_in_is_let_in_again() {
        let name: Reference = "r.io/team/app:1".parse().unwrap();
        let other: Reference = "r.io/other/app:1".parse().unwrap();
        let anna = Credentials::Basic("anna".to_owned(), "p".to_owned());
        let mut access = Access::after_pull(ID, &name, Some(&anna));
        assert!(access.admits(ID, Some(&name), &ring("anna")) && access.admits(ID, None, &ring("anna")));
        assert!(!access.admits(ID, Some(&name), &ring("bob")) && !access.admits(ID, None, &Keyring::default()));
        assert!(!access.admits(ID, Some(&other), &ring("anna")), "another repository has rules of its own");
        let stored = serde_json::to_string(&access).unwrap();
        assert!(!stored.contains("anna"), "{stored}");

        access.merge(Access::after_pull(ID, &other, None));
        assert!(access.admits(ID, Some(&other), &Keyring::default()));
        assert!(!access.admits(ID, Some(&name), &ring("bob")) && access.admits(ID, Some(&name), &ring("anna")));
    }
}
