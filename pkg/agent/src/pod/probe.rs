// SPDX-License-Identifier: Apache-2.0
//! Probes: when the next one is due, and what a run of answers means.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Probe};
use serde::{Deserialize, Serialize};

use super::Moment;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Whether the container has come up; the others wait for it.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it takes traffic.
    Readiness,
}

impl ProbeKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// The probe of this kind in a container's specification.
    #[must_use]
    pub fn of(self, spec: &Spec) -> Option<&Probe> {
        match self {
            Self::Startup => spec.startup_probe.as_ref(),
            Self::Liveness => spec.liveness_probe.as_ref(),
            Self::Readiness => spec.readiness_probe.as_ref(),
        }
    }

    /// As it begins a sentence.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What is known of one probe of one run of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeState {
    /// The verdict, once a threshold was reached.
    pub verdict: Option<bool>,
    last: Option<bool>,
    run: u32,
    next: Option<Moment>,
    #[serde(skip)]
    in_flight: bool,
}

impl ProbeState {
    /// Takes an answer that came at `now`.
    pub fn answer(&mut self, probe: &Probe, success: bool, now: Moment) {
        self.in_flight = false;
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        self.next = Some(now.after(period(probe)));
        let threshold = if success { probe.success_threshold } else { probe.failure_threshold };
        let threshold = threshold.unwrap_or(if success { 1 } else { 3 });
        if i64::from(self.run) >= i64::from(threshold) {
            self.verdict = Some(success);
        }
    }

    /// Whether the probe is to be run at `now`, given when the container started; marks it as
    /// under way if so. Otherwise the moment at which to look again.
    pub fn due(&mut self, probe: &Probe, started: Moment, now: Moment) -> Result<(), Option<Moment>> {
        if self.in_flight {
            return Err(None);
        }
        let delay = i64::from(probe.initial_delay_seconds.unwrap_or(0));
        let next = self.next.unwrap_or_else(|| started.after_seconds(delay));
        if now < next {
            return Err(Some(next));
        }
        self.in_flight = true;
        Ok(())
    }
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(success: i32, failure: i32) -> Probe {
        Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() }
    }

    #[test]
    fn verdicts_change_only_at_their_threshold() {
        let cases: &[(i32, i32, &[bool], Option<bool>)] = &[
            (1, 3, &[true], Some(true)),
            (1, 3, &[false, false], None),
            (1, 3, &[false, false, false], Some(false)),
            (1, 3, &[true, false, false], Some(true)),
            (1, 3, &[true, false, false, false], Some(false)),
            (2, 1, &[false, true], Some(false)),
            (2, 1, &[false, true, true], Some(true)),
            (2, 1, &[true, false, true], Some(false)),
        ];
        for (success, failure, answers, verdict) in cases {
            let mut state = ProbeState::default();
            for answer in *answers {
                state.answer(&probe(*success, *failure), *answer, Moment(0));
            }
            assert_eq!(state.verdict, *verdict, "{success} {failure} {answers:?}");
        }
    }

    #[test]
    fn a_probe_waits_for_its_delay_then_for_its_period() {
        let probe = Probe { initial_delay_seconds: Some(5), period_seconds: Some(3), ..Probe::default() };
        let mut state = ProbeState::default();
        assert_eq!(state.due(&probe, Moment(0), Moment(1000)), Err(Some(Moment(5000))));
        assert_eq!(state.due(&probe, Moment(0), Moment(5000)), Ok(()));
        assert_eq!(state.due(&probe, Moment(0), Moment(6000)), Err(None), "one at a time");
        state.answer(&probe, true, Moment(6000));
        assert_eq!(state.due(&probe, Moment(0), Moment(6500)), Err(Some(Moment(9000))));
    }
}
