// SPDX-License-Identifier: Apache-2.0
//! The security context of a container: the pod's and its own, merged; what is refused before a start.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext};
use knarr_runtime::{Capabilities, ContainerConfig, Seccomp, User};

/// Fills in what the security contexts say; `image_user` is the image's USER.
///
/// # Errors
/// The message of a CreateContainerConfigError, where `runAsNonRoot` forbids the user.
pub fn apply(
    config: &mut ContainerConfig,
    pod: &Pod,
    container: &Container,
    image_user: &str,
    seccomp_dir: &Path,
) -> Result<(), String> {
    let none = PodSecurityContext::default();
    let pod_wide = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()).unwrap_or(&none);
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    config.user = user(pod_wide, own, image_user);
    if own.run_as_non_root.or(pod_wide.run_as_non_root) == Some(true) {
        check_non_root(&config.user, pod, container)?;
    }
    config.privileged = own.privileged == Some(true);
    config.read_only_root = own.read_only_root_filesystem == Some(true);
    config.no_new_privileges = own.allow_privilege_escalation == Some(false) && !config.privileged;
    config.unmasked_proc = own.proc_mount.as_deref() == Some("Unmasked");
    if let Some(capabilities) = &own.capabilities {
        config.capabilities = Capabilities {
            add: capabilities.add.clone().unwrap_or_default(),
            drop: capabilities.drop.clone().unwrap_or_default(),
        };
    }
    let profile = own.seccomp_profile.as_ref().or(pod_wide.seccomp_profile.as_ref());
    config.seccomp = if config.privileged { Seccomp::Unconfined } else { seccomp(profile, seccomp_dir) };
    Ok(())
}

fn user(pod: &PodSecurityContext, own: &SecurityContext, image_user: &str) -> User {
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let groups = pod.supplemental_groups.iter().flatten().copied().chain(pod.fs_group);
    User {
        uid: number(own.run_as_user.or(pod.run_as_user)),
        gid: number(own.run_as_group.or(pod.run_as_group)),
        image_user: image_user.to_owned(),
        supplemental_groups: groups.filter_map(|group| u32::try_from(group).ok()).collect(),
        strict_groups: pod.supplemental_groups_policy.as_deref() == Some("Strict"),
    }
}

fn check_non_root(user: &User, pod: &Pod, container: &Container) -> Result<(), String> {
    let place = format!(
        "pod: \"{}_{}({})\", container: {}",
        pod.metadata.name.as_deref().unwrap_or_default(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.uid.as_deref().unwrap_or_default(),
        container.name
    );
    if let Some(uid) = user.uid {
        return if uid == 0 { Err(format!("container's runAsUser breaks non-root policy ({place})")) } else { Ok(()) };
    }
    let name = user.image_user.split(':').next().unwrap_or_default();
    match name.parse::<u32>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root ({place})")),
        Ok(_) => Ok(()),
        Err(_) if name.is_empty() => Err(format!("container has runAsNonRoot and image will run as root ({place})")),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root ({place})"
        )),
    }
}

fn seccomp(profile: Option<&SeccompProfile>, dir: &Path) -> Seccomp {
    match profile {
        Some(profile) if profile.type_ == "RuntimeDefault" => Seccomp::RuntimeDefault,
        Some(profile) if profile.type_ == "Localhost" => {
            Seccomp::Localhost(dir.join(profile.localhost_profile.as_deref().unwrap_or_default()))
        }
        _ => Seccomp::Unconfined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(pod: serde_json::Value, own: serde_json::Value, image_user: &str) -> Result<ContainerConfig, String> {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "securityContext": pod}
        }))
        .unwrap();
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "securityContext": own})).unwrap();
        let mut config = ContainerConfig::default();
        apply(&mut config, &pod, &container, image_user, Path::new("/seccomp")).map(|()| config)
    }

    #[test]
    fn the_container_overrides_the_pod() {
        use serde_json::json;
        let config = applied(
            json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}),
            json!({"runAsUser": 5, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true}),
            "",
        )
        .unwrap();
        assert_eq!((config.user.uid, config.user.gid), (Some(5), Some(2)));
        assert_eq!(config.user.supplemental_groups, [4, 3]);
        assert!(config.read_only_root && config.capabilities.drop == ["ALL"]);
    }

    #[test]
    fn non_root_is_checked_by_number() {
        use serde_json::json;
        let cases = [
            (json!({"runAsNonRoot": true}), "", Some("image will run as root")),
            (json!({"runAsNonRoot": true}), "0:5", Some("image will run as root")),
            (json!({"runAsNonRoot": true}), "nginx", Some("non-numeric user (nginx)")),
            (json!({"runAsNonRoot": true}), "101", None),
            (json!({"runAsNonRoot": true, "runAsUser": 0}), "101", Some("breaks non-root policy")),
            (json!({"runAsNonRoot": true, "runAsUser": 7}), "", None),
        ];
        for (own, image_user, refused) in cases {
            let result = applied(json!({}), own.clone(), image_user);
            match refused {
                None => assert!(result.is_ok(), "{own} {image_user}"),
                Some(text) => assert!(result.unwrap_err().contains(text), "{own} {image_user}"),
            }
        }
    }
}
