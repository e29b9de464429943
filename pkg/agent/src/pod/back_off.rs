// SPDX-License-Identifier: Apache-2.0
//! Growing pauses: 10 s, doubled by each failure up to 300 s, forgotten after 10 good minutes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
const FORGET: Duration = Duration::from_secs(600);

/// How long the next try of one thing has to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    delay_seconds: u64,
    last_try: Moment,
}

impl BackOff {
    /// When a thing that failed at `failed` may be tried again. The first failure waits not at all.
    #[must_use]
    pub fn due(&self, failed: Moment) -> Moment {
        if self.expired(failed) { failed } else { failed.after(self.delay()) }
    }

    /// The pause that a failure costs now.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_seconds)
    }

    /// Notes that the thing is tried at `now`: the next failure waits longer.
    pub fn tried(&mut self, now: Moment) {
        let next = if self.delay_seconds == 0 || self.expired(now) { FIRST } else { (self.delay() * 2).min(LONGEST) };
        *self = Self { delay_seconds: next.as_secs(), last_try: now };
    }

    fn expired(&self, at: Moment) -> bool {
        at.since(self.last_try) > FORGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut now = Moment(1_000_000_000);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let due = back_off.due(now);
            pauses.push(due.since(now).as_secs());
            now = due;
            back_off.tried(now);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_good_minutes_forget_the_past() {
        let mut back_off = BackOff::default();
        let start = Moment(1_000_000_000);
        back_off.tried(start);
        back_off.tried(start);
        let failed = start.after(Duration::from_secs(601));
        assert_eq!(back_off.due(failed), failed);
        back_off.tried(failed);
        assert_eq!(back_off.delay(), FIRST);
    }
}
