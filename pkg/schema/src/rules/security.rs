// SPDX-License-Identifier: Apache-2.0

//! Security contexts of pods and containers.

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::go_print;
use super::names;
use super::volumes::local_descending_path;

const SYSCTL_MESSAGE: &str = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// What is wrong with a pod's security context and what depends on it.
pub fn pod(spec: &At<'_>) -> ErrorList {
    let context = spec.get("securityContext");
    let mut errors = ErrorList::new();
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(id(&context.get(field)));
    }
    for group in context.items("supplementalGroups") {
        errors.extend(id(&group));
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(context.get("shareProcessNamespace").invalid_as(true, message));
    }
    errors.extend(sysctls(spec, &context));
    errors.extend(one_of(&context.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]));
    errors.extend(seccomp(&context.get("seccompProfile")));
    errors.extend(windows_options(&context.get("windowsOptions")));
    errors.extend(app_armor(&context.get("appArmorProfile")));
    errors.extend(one_of(&context.get("supplementalGroupsPolicy"), &["Merge", "Strict"]));
    errors.extend(one_of(&context.get("seLinuxChangePolicy"), &["Recursive"]));
    errors
}

/// What is wrong with a container's security context.
pub fn container(context: &At<'_>, host_users: bool) -> ErrorList {
    if !context.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    for field in ["runAsUser", "runAsGroup"] {
        errors.extend(id(&context.get(field)));
    }
    let proc_mount = context.get("procMount");
    errors.extend(one_of(&proc_mount, &["Default", "Unmasked"]));
    if host_users && proc_mount.text() == "Unmasked" {
        errors.push(proc_mount.invalid("`hostUsers` must be false to use `Unmasked`"));
    }
    errors.extend(seccomp(&context.get("seccompProfile")));
    errors.extend(escalation(context));
    errors.extend(windows_options(&context.get("windowsOptions")));
    errors.extend(app_armor(&context.get("appArmorProfile")));
    errors
}

fn escalation(context: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if context.raw("allowPrivilegeEscalation").as_bool() != Some(false) {
        return errors;
    }
    let refuse = |what: &str| {
        let shown = shown_context(context);
        context.invalid_as(shown, format!("cannot set `allowPrivilegeEscalation` to false and {what}"))
    };
    if context.flag("privileged") {
        errors.push(refuse("`privileged` to true"));
    }
    if context.strings("capabilities.add").contains(&"CAP_SYS_ADMIN") {
        errors.push(refuse("`capabilities.Add` CAP_SYS_ADMIN"));
    }
    errors
}

fn shown_context(context: &At<'_>) -> knarr_types::Shown {
    go_print::of_type(context.value, "io.k8s.api.core.v1.SecurityContext")
}

fn id(id: &At<'_>) -> ErrorList {
    match id.value.as_i64() {
        Some(number) => id.faults(names::user_or_group_id(number)),
        None => ErrorList::new(),
    }
}

/// Where something is set it must be one of these.
pub fn one_of(value: &At<'_>, valid: &[&str]) -> Option<FieldError> {
    (value.is_set() && !valid.contains(&value.text())).then(|| value.not_supported(valid))
}

fn sysctls(spec: &At<'_>, context: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for sysctl in context.items("sysctls") {
        let name_at = sysctl.get("name");
        let name = name_at.text().replace('/', ".");
        if name.is_empty() {
            errors.push(name_at.required(""));
        } else if name_at.text().len() > 253 || !is_sysctl(name_at.text()) {
            errors.push(name_at.invalid(SYSCTL_MESSAGE));
        } else if seen.contains(&name_at.text()) {
            errors.push(name_at.duplicate());
        }
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
        for (host, isolated) in [("hostNetwork", name.starts_with("net.")), ("hostIPC", ipc || name == "kernel.sem")] {
            if isolated && spec.flag(host) {
                errors.push(name_at.invalid(format!("may not be specified when '{host}' is true")));
            }
        }
        seen.push(name_at.text());
    }
    errors
}

fn is_sysctl(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let outer = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.split(['.', '/']).all(|part| {
        part.bytes().all(inner) && part.bytes().next().is_some_and(outer) && part.bytes().last().is_some_and(outer)
    })
}

fn seccomp(profile: &At<'_>) -> ErrorList {
    if !profile.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    let kind = profile.get("type");
    match kind.text() {
        "" => errors.push(kind.required("type is required when seccompProfile is set")),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        _ => errors.push(kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"])),
    }
    let local = profile.get("localhostProfile");
    if kind.text() != "Localhost" {
        if local.is_set() {
            let shown =
                go_print::structure(profile.value, &[("Type", "type$"), ("LocalhostProfile", "localhostProfile")]);
            errors.push(local.invalid_as(shown, "can only be set when seccomp type is Localhost"));
        }
    } else if local.is_set() {
        errors.extend(local_descending_path(&local));
    } else {
        errors.push(local.required("must be set when seccomp type is Localhost"));
    }
    errors
}

fn app_armor(profile: &At<'_>) -> ErrorList {
    if !profile.is_set() {
        return ErrorList::new();
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    let required = || local.required("must be set when AppArmor type is Localhost");
    let error = match kind.text() {
        "Localhost" if !local.is_set() => Some(required()),
        "Localhost" => return local_app_armor(&local),
        "RuntimeDefault" | "Unconfined" => {
            local.is_set().then(|| local.invalid("can only be set when AppArmor type is Localhost"))
        }
        "" => Some(kind.required("type is required when appArmorProfile is set")),
        _ => Some(kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"])),
    };
    error.into_iter().collect()
}

fn local_app_armor(profile: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if profile.text().trim() != profile.text() {
        errors.push(profile.invalid("must not be padded with whitespace"));
    } else if profile.text().is_empty() {
        errors.push(profile.required("must be set when AppArmor type is Localhost"));
    }
    if profile.text().len() > 4095 {
        errors.push(FieldError::too_long(&profile.path, 4095));
    }
    errors
}

fn windows_options(options: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec_name = options.get("gmsaCredentialSpecName");
    if spec_name.is_set() {
        errors.extend(spec_name.faults(names::dns1123_subdomain(spec_name.text())));
    }
    let spec = options.get("gmsaCredentialSpec");
    if spec.is_set() && spec.text().is_empty() {
        errors.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
    } else if spec.text().len() > 64 * 1024 {
        errors.push(spec.invalid("gmsaCredentialSpec size must be under 64 KiB"));
    }
    let user = options.get("runAsUserName");
    if !user.is_set() {
        return errors;
    }
    let parts: Vec<_> = user.text().split('\\').collect();
    if user.text().is_empty() {
        errors.push(user.invalid("runAsUserName cannot be an empty string"));
    } else if user.text().chars().any(char::is_control) {
        errors.push(user.invalid("runAsUserName cannot contain control characters"));
    } else if parts.len() > 2 {
        errors.push(user.invalid("runAsUserName cannot contain more than one backslash"));
    } else {
        errors.extend(windows_user(&user, &parts));
    }
    errors
}

fn windows_user(user: &At<'_>, parts: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let (domain, name) = match parts {
        [domain, name] => (Some(*domain), *name),
        [name] => (None, *name),
        _ => return errors,
    };
    if domain.is_some_and(|domain| domain.len() >= 256) {
        errors.push(user.invalid("runAsUserName's Domain length must be under 256 characters"));
    }
    if domain.is_some_and(|domain| !is_windows_domain(domain)) {
        errors.push(user.invalid("runAsUserName's Domain doesn't match the NetBios nor the DNS format"));
    }
    if name.is_empty() {
        errors.push(user.invalid("runAsUserName's User cannot be empty"));
    } else if name.len() > 104 {
        errors.push(user.invalid("runAsUserName's User length must not be longer than 104 characters"));
    }
    if !name.is_empty() && name.bytes().all(|byte| byte == b'.' || byte == b' ') {
        errors.push(user.invalid("runAsUserName's User cannot contain only periods or spaces"));
    }
    if name.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let message = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        errors.push(user.invalid(message));
    }
    errors
}

/// A name of NetBIOS, or labels of DNS.
fn is_windows_domain(domain: &str) -> bool {
    let length = domain.chars().count();
    let net_bios = (1..=15).contains(&length)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|']);
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    net_bios || domain.split('.').all(label)
}

/// Fields that a Windows pod may not have.
pub fn windows_pod(spec: &At<'_>, containers: &[At<'_>]) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut forbid = |field: At<'_>| {
        if field.is_set() && field.value.as_array().is_none_or(|list| !list.is_empty()) {
            errors.push(field.forbidden("cannot be set for a windows pod"));
        }
    };
    for field in
        ["securityContext.appArmorProfile", "securityContext.seLinuxOptions", "hostUsers", "hostPID", "hostIPC"]
    {
        // These two are flags without a third state.
        if spec.raw(field) != false || field == "hostUsers" {
            forbid(spec.get(field));
        }
    }
    for field in [
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "shareProcessNamespace",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ] {
        match field {
            "shareProcessNamespace" => forbid(spec.get(field)),
            _ => forbid(spec.get("securityContext").get(field)),
        }
    }
    for container in containers {
        for field in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            forbid(container.get("securityContext").get(field));
        }
    }
    errors
}

/// Fields that a Linux pod may not have.
pub fn linux_pod(spec: &At<'_>, containers: &[At<'_>]) -> ErrorList {
    let mut places = vec![spec.get("securityContext")];
    places.extend(containers.iter().map(|container| container.get("securityContext")));
    places
        .iter()
        .map(|context| context.get("windowsOptions"))
        .filter(At::is_set)
        .map(|options| options.forbidden("windows options cannot be set for a linux pod"))
        .collect()
}
