// SPDX-License-Identifier: Apache-2.0
//! The conditions of a pod that the node owns, with upstream's reasons and messages.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::memory::{EVICTED, Memory, Sandbox};
use super::restart::may_restart_all;
use super::{Moment, Role, containers};

type Verdict = Result<(), (&'static str, String)>;

/// The conditions at `now`; the time of the last transition is kept in `memory`.
pub(super) fn of(
    memory: &mut Memory,
    pod: &Pod,
    phase: &str,
    (init, app): (&[ContainerStatus], &[ContainerStatus]),
    now: Moment,
) -> Vec<PodCondition> {
    let sandbox = if matches!(memory.sandbox, Sandbox::Ready(_)) { Ok(()) } else { Err(("", String::new())) };
    let containers_ready = containers_ready(pod, phase, init, app);
    let ready = containers_ready.clone().and_then(|()| gates(pod));
    let verdicts = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(memory, pod, phase, init)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
    ];
    let mut all: Vec<_> =
        verdicts.into_iter().map(|(type_, verdict)| condition(memory, pod, type_, verdict, now)).collect();
    if may_restart_all(pod) {
        all.push(restarting(memory, pod, phase, now));
    }
    all.extend(memory.resize.conditions());
    let cause = memory.ending.as_ref().and_then(|ending| ending.cause.clone());
    if let Some((_, message)) = cause.filter(|(reason, _)| reason == EVICTED) {
        let disruption = condition(memory, pod, "DisruptionTarget", Ok(()), now);
        let reason = Some("TerminationByKubelet".to_owned());
        all.push(PodCondition { reason, message: Some(message), ..disruption });
    }
    all
}

fn condition(memory: &mut Memory, pod: &Pod, type_: &str, verdict: Verdict, now: Moment) -> PodCondition {
    let ok = verdict.is_ok();
    let over = memory.ending.is_some() && !memory.containers.values().any(super::Container::is_alive);
    let entry = memory.conditions.entry(type_.to_owned()).or_insert((ok, now));
    if entry.0 != ok {
        *entry = (ok, now);
    }
    let succeeded = type_ == "Initialized" && ok && over;
    let (reason, message) = verdict.err().unzip();
    PodCondition {
        type_: type_.to_owned(),
        status: if ok { "True" } else { "False" }.to_owned(),
        reason: reason.or(succeeded.then_some("PodCompleted")).filter(|text| !text.is_empty()).map(str::to_owned),
        message: message.filter(|text| !text.is_empty()),
        last_transition_time: Some(entry.1.time()),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

/// Whether all containers are being ended to start again.
fn restarting(memory: &mut Memory, pod: &Pod, phase: &str, now: Moment) -> PodCondition {
    let verdict = match phase {
        "Succeeded" => Err(("PodCompleted", String::new())),
        "Failed" => Err(("PodFailed", String::new())),
        _ if memory.restarting.is_some() => Ok(()),
        _ => Err(("", String::new())),
    };
    let under_way = verdict.is_ok();
    let mut condition = condition(memory, pod, "AllContainersRestarting", verdict, now);
    if under_way {
        condition.reason = Some("RestartAllContainersStarted".to_owned());
        condition.message = Some("container exited with restart policy rule".to_owned());
    }
    condition
}

/// A pod that was initialized once stays so, also while its init containers run again.
fn initialized(memory: &Memory, pod: &Pod, phase: &str, init: &[ContainerStatus]) -> Verdict {
    let before = memory.conditions.get("Initialized").is_some_and(|(before, _)| *before);
    if before || memory.initialized || phase == "Succeeded" || init.is_empty() {
        return Ok(());
    }
    let done = |status: &&ContainerStatus| {
        let role = containers(pod).find(|(_, spec)| spec.name == status.name).map(|(role, _)| role);
        if role == Some(Role::Sidecar) { status.started == Some(true) } else { status.ready }
    };
    let names: Vec<&str> = init.iter().filter(|status| !done(status)).map(|status| status.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names.join(" "))))
}

fn containers_ready(pod: &Pod, phase: &str, init: &[ContainerStatus], app: &[ContainerStatus]) -> Verdict {
    match phase {
        "Succeeded" => return Err(("PodCompleted", String::new())),
        "Failed" => return Err(("PodFailed", String::new())),
        _ => {}
    }
    let is_sidecar = |status: &&ContainerStatus| {
        containers(pod).any(|(role, spec)| role == Role::Sidecar && spec.name == status.name)
    };
    let names: Vec<&str> = init
        .iter()
        .filter(is_sidecar)
        .chain(app)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" "))))
}

/// The conditions that others set and that the pod wants to be true before it is Ready.
fn gates(pod: &Pod) -> Verdict {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let complaints: Vec<String> = gates
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *name) {
                None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(("ReadinessGatesNotReady", complaints.join(", "))) }
}
