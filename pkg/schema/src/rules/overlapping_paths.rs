// SPDX-License-Identifier: Apache-2.0

//! Files of a volume that hide or need each other (warningsForOverlappingVirtualPaths).

use super::at::At;

/// A path and, in a projected volume, which source it is of.
struct Placed {
    path: String,
    source: String,
}

impl Placed {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    fn shown(&self) -> String {
        if self.source.is_empty() { format!("{:?}", self.path) } else { format!("{:?} ({})", self.path, self.source) }
    }

    /// One is the other, or below it.
    fn overlaps(&self, other: &Self) -> bool {
        let is_in = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let (a, b) = (&self.path, &other.path);
        !a.is_empty() && !b.is_empty() && (is_in(a, b) || is_in(b, a))
    }
}

/// Warnings about the volumes of a pod.
pub fn of_volumes(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for volume in spec.items("volumes") {
        let name = volume.str("name");
        for (field, kind, named) in
            [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")]
        {
            let source = volume.get(field);
            if source.len("items") < 2 {
                continue;
            }
            let what = if named.is_empty() { kind.to_owned() } else { format!("{kind} {:?}", source.str(named)) };
            let told = overlaps(&items(&source, ""));
            warnings.extend(told.iter().map(|told| format!("volume {name:?} ({what}): overlapping paths: {told}")));
        }
        if volume.has("projected") {
            warnings.extend(projected(&volume, name));
        }
    }
    warnings
}

fn items(source: &At<'_>, shown: &str) -> Vec<Placed> {
    source.items("items").iter().map(|item| Placed::new(item.str("path"), shown)).collect()
}

fn projected(volume: &At<'_>, name: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut all: Vec<Placed> = Vec::new();
    for source in volume.items("projected.sources") {
        if source.value.as_object().is_none_or(|kinds| kinds.values().all(knarr_types::tree::Value::is_null)) {
            warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
            continue;
        }
        let of = |field: &str, kind: &str| {
            let map = source.get(field);
            map.has("items").then(|| items(&map, &format!("{kind} {:?}", map.str("name"))))
        };
        let downward = || {
            let downward = source.get("downwardAPI");
            downward.has("items").then(|| items(&downward, "DownwardAPI"))
        };
        let token = || {
            let path = source.get("serviceAccountToken.path");
            source.has("serviceAccountToken").then(|| vec![Placed::new(path.text(), "ServiceAccountToken")])
        };
        let given = of("configMap", "ConfigMap").or_else(|| of("secret", "Secret")).or_else(downward).or_else(token);
        for placed in given.unwrap_or_default() {
            for other in all.iter().filter(|other| placed.overlaps(other)) {
                let told = format!("{} with {}", placed.shown(), other.shown());
                warnings.push(format!("volume {name:?} (Projected): overlapping paths: {told}"));
            }
            all.push(placed);
        }
    }
    warnings
}

/// Each path that overlaps an earlier one, with that.
fn overlaps(paths: &[Placed]) -> Vec<String> {
    let mut told = Vec::new();
    for (index, placed) in paths.iter().enumerate() {
        let earlier = paths[..index].iter().filter(|other| placed.overlaps(other));
        told.extend(earlier.map(|other| format!("{} with {}", placed.shown(), other.shown())));
    }
    told
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_path_and_what_is_below_it_overlap() {
        let item = |path: &str| json!({"key": "k", "path": path});
        let spec = json!({"volumes": [
            {"name": "a", "configMap": {"name": "m", "items": [item("x"), item("x/y"), item("xz")]}},
            {"name": "b", "projected": {"sources": [
                {"secret": {"name": "s", "items": [item("p")]}}, {"serviceAccountToken": {"path": "p"}}, {}]}}]});
        assert_eq!(
            of_volumes(&At::root(&spec)),
            [
                "volume \"a\" (ConfigMap \"m\"): overlapping paths: \"x/y\" with \"x\"",
                "volume \"b\" (Projected): overlapping paths: \"p\" (ServiceAccountToken) with \"p\" (Secret \"s\")",
                "volume \"b\" (Projected) has no sources provided",
            ]
        );
    }
}
