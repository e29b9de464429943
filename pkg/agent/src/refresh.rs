// SPDX-License-Identifier: Apache-2.0
//! When a pod's volumes are brought up to date: one go at a time, and once more for what changed meanwhile.

/// Where a pod's worker stands with it.
#[derive(Debug, Default)]
pub struct Refresh {
    running: bool,
    again: bool,
}

impl Refresh {
    /// A go is under way.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Something changed that the volumes show; tells whether to begin now. `ready` is whether they are there at all:
    /// what is being set up for the first time may have been read before the change.
    pub fn ask(&mut self, ready: bool) -> bool {
        let begins = ready && !self.running;
        self.again |= !begins;
        self.running |= begins;
        begins
    }

    /// A go, or the first set-up, is over; tells whether there is to be another.
    pub fn over(&mut self) -> bool {
        self.running = std::mem::take(&mut self.again);
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_lost_and_none_is_shown_twice() {
        let mut refresh = Refresh::default();
        assert!(refresh.ask(true), "the first change begins");
        assert!(!refresh.ask(true) && !refresh.ask(true), "others wait for the end");
        assert!(refresh.over(), "and are shown together");
        assert!(!refresh.over() && !refresh.is_running());
        assert!(refresh.ask(true), "the next change begins again");
    }

    #[test]
    fn a_change_during_the_first_set_up_is_shown_after_it() {
        let mut refresh = Refresh::default();
        assert!(!refresh.ask(false) && !refresh.is_running());
        assert!(refresh.over());
    }
}
