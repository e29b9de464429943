// SPDX-License-Identifier: Apache-2.0

//! What the maker of a pod should know (`pkg/api/pod/warnings.go`).

use knarr_types::Object;

use super::at::At;
use super::containers;

/// Warnings about a pod.
pub fn pod(pod: &Object) -> Vec<String> {
    let pod = At::root(pod);
    of_template(&pod.get("spec"), &pod.get("metadata"))
}

/// Warnings about a template.
pub fn template(template: &At<'_>) -> Vec<String> {
    of_template(&template.get("spec"), &template.get("metadata"))
}

fn of_template(spec: &At<'_>, _metadata: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        warnings.extend(volume_warning(index, volume));
    }
    for container in containers::all(spec) {
        warnings.extend(duplicate_variables(&container));
    }
    warnings
}

fn volume_warning(index: usize, volume: &At<'_>) -> Option<String> {
    let path = format!("spec.volumes[{index}]");
    if volume.has("gitRepo") {
        return Some(format!("{path}.gitRepo: deprecated in v1.11, and disabled by default in v1.33+"));
    }
    None
}

fn duplicate_variables(container: &At<'_>) -> Vec<String> {
    let variables = container.items("env");
    let mut warnings = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let name = variable.str("name");
        let earlier = variables[..index].iter().rev().find(|other| other.str("name") == name);
        if let Some(earlier) = earlier {
            warnings.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                variable.path
            ));
            let _ = earlier;
        }
    }
    warnings
}
