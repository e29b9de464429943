// SPDX-License-Identifier: Apache-2.0

//! Volumes that show several sources as one tree of files (validateProjectedVolumeSource). Sources behind
//! switches that are off are gone before anyone looks.

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::volumes::{downward_file, key_to_path, local_unreserved_path, mode, require};

/// The paths that sources have taken so far.
#[derive(Default)]
struct Taken(Vec<String>);

impl Taken {
    /// Takes a path; `shown` is what the message names where it is taken already.
    fn take(&mut self, path: &str, shown: &str, volume: &At<'_>) -> Option<FieldError> {
        if self.0.iter().any(|other| other == path) {
            return Some(volume.invalid_as(shown, "conflicting duplicate paths"));
        }
        self.0.push(path.to_owned());
        None
    }
}

/// What is wrong with a projected volume.
pub fn projected(volume: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = mode(&volume.get("defaultMode")).into_iter().collect();
    let mut taken = Taken::default();
    for source in volume.items("sources") {
        let mut given = 0;
        for kind in ["secret", "configMap", "downwardAPI", "serviceAccountToken"] {
            let projection = source.get(kind);
            if !projection.is_set() {
                continue;
            }
            given += 1;
            errors.extend(match kind {
                "secret" | "configMap" => keys(&projection, volume, &mut taken),
                "downwardAPI" => downward(&projection, volume, &mut taken),
                _ => token(&projection, volume),
            });
        }
        if given > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
    errors
}

fn keys(map: &At<'_>, volume: &At<'_>, taken: &mut Taken) -> ErrorList {
    let mut errors = require(map, &["name"]);
    for item in map.items("items") {
        errors.extend(key_to_path(&item));
        if !item.str("path").is_empty() {
            errors.extend(taken.take(item.str("path"), map.str("name"), volume));
        }
    }
    errors
}

fn downward(downward: &At<'_>, volume: &At<'_>, taken: &mut Taken) -> ErrorList {
    let mut errors = ErrorList::new();
    for item in downward.items("items") {
        errors.extend(downward_file(&item.named(downward.path.clone())));
        if !item.str("path").is_empty() {
            errors.extend(taken.take(item.str("path"), item.str("path"), volume));
        }
    }
    errors
}

fn token(token: &At<'_>, volume: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let seconds = token.get("expirationSeconds");
    match seconds.value.as_i64() {
        Some(number) if number < 600 => errors.push(seconds.invalid("may not specify a duration less than 10 minutes")),
        Some(number) if number > 1 << 32 => {
            errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
        _ => {}
    }
    let path = token.get("path").named(volume.path.child("path"));
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        errors.extend(local_unreserved_path(&path));
    }
    errors
}
