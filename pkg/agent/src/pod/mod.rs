// SPDX-License-Identifier: Apache-2.0
//! What a pod's life asks for next: a pure state machine, playable without a container.
//!
//! ```text
//! events (a container exited, an image arrived, ...)  ->  Memory::observe
//! step(&mut Memory, &Pod, now)                        ->  Plan { actions, events, status, wake }
//! ```
//!
//! The memory marks what is under way, so a step never asks for the same thing twice; the shell in
//! `crate::worker` does the actions and hands their outcomes back as events. Time is an
//! argument, waiting is [`Plan::wake`], and nothing here sleeps, reads or writes.

mod back_off;
mod conditions;
mod memory;
mod moment;
mod probe;
mod resize;
mod restart;
mod spec;
mod status;
mod step;
mod stop;
#[cfg(test)]
mod tests;

pub use memory::{Container, Event, Exit, Memory, Run, Sandbox, Volumes};
pub use moment::Moment;
pub use probe::ProbeKind;
pub use resize::{Amount, admit, capacity, differs, requests, resizable, with_allocation};
pub use spec::{
    Role, all_containers, any_container, containers, ephemeral_containers, find_container, grace_period,
    is_static_terminal, qos_class, starts_again,
};
pub use step::{Action, Plan, Severity, step};
