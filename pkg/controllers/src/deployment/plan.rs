// SPDX-License-Identifier: Apache-2.0
//! How many replicas each ReplicaSet of a Deployment gets next. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::template::{DESIRED_REPLICAS, MAX_REPLICAS};

/// What a rollout may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many pods there are to be.
    pub replicas: i32,
    /// How many more there may be meanwhile.
    pub max_surge: i32,
    /// How many may be missing meanwhile.
    pub max_unavailable: i32,
    /// The old pods go before the new ones come.
    pub recreate: bool,
}

impl Bounds {
    /// The Deployment's, percentages resolved: surge rounds up, unavailable down, and if both came to
    /// nothing one may be missing.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.unwrap_or_default();
        if strategy.type_.as_deref() == Some("Recreate") {
            return Self { replicas, max_surge: 0, max_unavailable: 0, recreate: true };
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        let quarter = || IntOrString::String("25%".into());
        let max_surge = resolve(&rolling.max_surge.unwrap_or_else(quarter), replicas, true);
        let mut max_unavailable = resolve(&rolling.max_unavailable.unwrap_or_else(quarter), replicas, false);
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Self { replicas, max_surge, max_unavailable: max_unavailable.min(replicas), recreate: false }
    }
}

/// A number, or a percentage of `total`.
fn resolve(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(text) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or_default();
            let product = i64::from(total) * percent;
            let part = if round_up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(part).unwrap_or(i32::MAX)
        }
    }
}

/// A ReplicaSet as the plan sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Pods that there are.
    pub actual: i32,
    /// Pods that are available.
    pub available: i32,
    /// The most pods that there might be when it was last scaled; 0 where that was not noted.
    pub noted_max: i32,
    /// The wanted number that was noted when it was last scaled.
    pub noted_desired: Option<i32>,
}

impl Set {
    /// What the plan needs of `set`.
    #[must_use]
    pub fn of(set: &Arc<ReplicaSet>) -> Self {
        let status = set.status.clone().unwrap_or_default();
        let noted = |key: &str| set.metadata.annotations.as_ref()?.get(key)?.parse().ok();
        Self {
            replicas: set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1),
            actual: status.replicas,
            available: status.available_replicas.unwrap_or_default(),
            noted_max: noted(MAX_REPLICAS).unwrap_or_default(),
            noted_desired: noted(DESIRED_REPLICAS),
        }
    }

    /// It has pods, and was last scaled for another number than is wanted now: the Deployment was scaled since.
    /// Once every set has its share the new number is noted on it, also where its own share is as before, or the
    /// rollout would never go on.
    #[must_use]
    pub fn is_behind(&self, bounds: Bounds) -> bool {
        self.replicas > 0 && self.noted_desired.is_some_and(|desired| desired != bounds.replicas)
    }
}

/// The next number of replicas of the new set and of each old one (oldest first), in their order.
/// `old_pods` says whether any pod of an old set still runs or ends.
#[must_use]
pub fn plan(bounds: Bounds, paused: bool, new: Option<&Set>, old: &[Set], old_pods: bool) -> (Option<i32>, Vec<i32>) {
    let scaled = new.into_iter().chain(old).any(|set| set.is_behind(bounds));
    if paused || scaled {
        return scale(bounds, new, old);
    }
    if bounds.recreate {
        let gone = old.iter().all(|s| s.replicas == 0) && !old_pods;
        let wanted = new.map(|n| if gone { bounds.replicas } else { n.replicas });
        return (wanted, vec![0; old.len()]);
    }
    roll(bounds, new, old)
}

/// How many replicas a new set starts with.
#[must_use]
pub fn initial(bounds: Bounds, old: &[Set], old_pods: bool) -> i32 {
    if bounds.recreate {
        return if old_pods || old.iter().any(|s| s.replicas > 0) { 0 } else { bounds.replicas };
    }
    let total: i32 = old.iter().map(|s| s.replicas).sum();
    (bounds.replicas + bounds.max_surge - total).clamp(0, bounds.replicas)
}

/// One step of a rolling update: the new set grows as far as the surge allows; the old ones shrink, first
/// by what is not available anyway, then as far as availability allows.
fn roll(bounds: Bounds, new: Option<&Set>, old: &[Set]) -> (Option<i32>, Vec<i32>) {
    let old_total: i32 = old.iter().map(|s| s.replicas).sum();
    let current = new.map_or(0, |n| n.replicas);
    let total = old_total + current;
    if let Some(new) = new {
        let room = bounds.replicas + bounds.max_surge - total;
        let next = if new.replicas > bounds.replicas {
            bounds.replicas
        } else if room > 0 {
            (new.replicas + room).min(bounds.replicas)
        } else {
            new.replicas
        };
        if next != new.replicas {
            return (Some(next), old.iter().map(|s| s.replicas).collect());
        }
    }
    let mut next: Vec<i32> = old.iter().map(|s| s.replicas).collect();
    let min_available = bounds.replicas - bounds.max_unavailable;
    let new_unavailable = new.map_or(0, |n| (n.replicas - n.available).max(0));
    let mut removable = (total - min_available - new_unavailable).max(0);
    // Pods that are not available cost nothing.
    for (set, next) in old.iter().zip(&mut next) {
        let idle = (set.replicas - set.available).clamp(0, removable);
        *next -= idle;
        removable -= idle;
    }
    let available: i32 = old.iter().map(|s| s.available).sum::<i32>() + new.map_or(0, |n| n.available);
    // What a set says of its pods may be older than its number: no more goes than the numbers allow.
    let mut spare = (available - min_available).clamp(0, removable);
    for next in &mut next {
        let part = (*next).min(spare);
        *next -= part;
        spare -= part;
    }
    (new.map(|n| n.replicas), next)
}

/// The Deployment was scaled in the middle of a rollout (or while paused): every set gets its share.
fn scale(bounds: Bounds, new: Option<&Set>, old: &[Set]) -> (Option<i32>, Vec<i32>) {
    let mut next: Vec<i32> = old.iter().map(|s| s.replicas).collect();
    let active: Vec<usize> = (0..old.len()).filter(|i| old[*i].replicas > 0).collect();
    let new_active = new.is_some_and(|n| n.replicas > 0);
    match (new, active.as_slice()) {
        // Only one set has pods: it takes all.
        (Some(_), []) => return (Some(bounds.replicas), next),
        (_, [only]) if !new_active => {
            next[*only] = bounds.replicas;
            return (new.map(|n| n.replicas), next);
        }
        _ => {}
    }
    let total: i32 = next.iter().sum::<i32>() + new.map_or(0, |n| n.replicas);
    let allowed = if bounds.replicas > 0 { bounds.replicas + bounds.max_surge } else { 0 };
    let mut left = allowed - total;
    // Larger sets first, the new one first among equals.
    let mut order: Vec<Option<usize>> = active.iter().copied().map(Some).collect();
    if new.is_some() {
        order.insert(0, None);
    }
    let size = |i: &Option<usize>| i.map_or_else(|| new.map_or(0, |n| n.replicas), |i| old[i].replicas);
    order.sort_by_key(|i| std::cmp::Reverse(size(i)));
    let mut wanted_new = new.map(|n| n.replicas);
    for i in &order {
        let set = i.map_or_else(|| new.cloned().unwrap_or_default(), |i| old[i].clone());
        let share = share(&set, allowed, left);
        left -= share;
        match i {
            None => wanted_new = Some(set.replicas + share),
            Some(i) => next[*i] = set.replicas + share,
        }
    }
    // What rounding left over goes to the first.
    match order.first() {
        Some(None) => wanted_new = wanted_new.map(|n| (n + left).max(0)),
        Some(Some(i)) => next[*i] = (next[*i] + left).max(0),
        None => {}
    }
    (wanted_new, next)
}

/// A set's part of `left` (negative when shrinking), by its part of the whole when it was last scaled.
fn share(set: &Set, allowed: i32, left: i32) -> i32 {
    if left == 0 || set.replicas == 0 {
        return 0;
    }
    let noted = if set.noted_max > 0 { set.noted_max } else { allowed.max(1) };
    let scaled = (f64::from(set.replicas) * f64::from(allowed) / f64::from(noted)).round() as i32;
    let share = scaled - set.replicas;
    if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0).max(-set.replicas) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32, available: i32) -> Set {
        Set { replicas, actual: replicas, available, ..Set::default() }
    }

    fn bounds(replicas: i32, max_surge: i32, max_unavailable: i32) -> Bounds {
        Bounds { replicas, max_surge, max_unavailable, recreate: false }
    }

    #[test]
    fn what_was_taken_is_not_taken_again_before_its_set_says_so() {
        let shrunk = Set { replicas: 8, actual: 10, available: 10, ..Set::default() };
        assert_eq!(plan(bounds(10, 3, 2), false, Some(&set(5, 0)), &[shrunk], true), (Some(5), vec![8]));
    }

    #[test]
    fn percentages_round_towards_progress() {
        for (value, total, up, want) in [("25%", 10, true, 3), ("25%", 10, false, 2), ("25%", 1, false, 0)] {
            assert_eq!(resolve(&IntOrString::String(value.into()), total, up), want);
        }
    }

    #[test]
    fn a_rolling_update_takes_these_steps() {
        let b = bounds(10, 2, 3);
        assert_eq!(initial(b, &[set(10, 10)], true), 2);
        for (new, old, want) in [
            (set(0, 0), vec![set(10, 10)], (2, vec![10])),
            (set(2, 0), vec![set(10, 10)], (2, vec![7])),
            (set(2, 0), vec![set(7, 7)], (5, vec![7])),
            (set(5, 0), vec![set(7, 7)], (5, vec![7])),
            (set(5, 5), vec![set(7, 7)], (5, vec![2])),
            (set(5, 2), vec![set(7, 4)], (5, vec![5])),
            (set(10, 10), vec![set(2, 2)], (10, vec![0])),
            (set(12, 12), vec![], (10, vec![])),
        ] {
            let (n, o) = plan(b, false, Some(&new), &old, true);
            assert_eq!((n.unwrap(), o), want, "{new:?} {old:?}");
        }
    }

    #[test]
    fn a_rolling_update_always_ends_and_never_breaks_its_bounds() {
        for b in [bounds(10, 2, 3), bounds(1, 1, 0), bounds(1, 0, 1), bounds(7, 0, 2), bounds(5, 5, 0)] {
            let mut old = vec![set(b.replicas, b.replicas)];
            let mut new = set(initial(b, &old, true), 0);
            for _ in 0..100 {
                let total: i32 = new.replicas + old[0].replicas;
                assert!(total <= b.replicas + b.max_surge, "{b:?}");
                assert!(new.available + old[0].available >= b.replicas - b.max_unavailable, "{b:?}");
                let (n, o) = plan(b, false, Some(&new), &old, true);
                // The world follows one pod at a time.
                new.replicas = n.unwrap();
                new.available += i32::from(new.available < new.replicas);
                old[0] = set(o[0], old[0].available.min(o[0]));
            }
            assert_eq!((new.available, old[0].replicas), (b.replicas, 0), "{b:?}");
        }
    }

    #[test]
    fn recreate_waits_for_the_last_old_pod() {
        let b = Bounds { recreate: true, ..bounds(3, 0, 0) };
        assert_eq!(initial(b, &[set(3, 3)], true), 0);
        assert_eq!(plan(b, false, Some(&set(0, 0)), &[set(3, 3)], true), (Some(0), vec![0]));
        assert_eq!(plan(b, false, Some(&set(0, 0)), &[set(0, 0)], true), (Some(0), vec![0]));
        assert_eq!(plan(b, false, Some(&set(0, 0)), &[set(0, 0)], false), (Some(3), vec![0]));
    }

    #[test]
    fn a_rollout_that_was_scaled_goes_on_once_that_is_noted() {
        let b = bounds(2, 1, 0);
        let noted = |replicas, desired| Set { noted_max: 2, noted_desired: Some(desired), ..set(replicas, replicas) };
        let (new, old) = plan(b, false, Some(&noted(1, 1)), &[noted(1, 1)], true);
        assert_eq!((new, old), (Some(2), vec![1]), "the old one's share is as before");
        assert!(noted(1, 1).is_behind(b) && !noted(1, 2).is_behind(b) && !noted(0, 1).is_behind(b));
        assert_eq!(plan(b, false, Some(&noted(2, 2)), &[noted(1, 2)], true), (Some(2), vec![0]));
    }

    #[test]
    fn scaling_in_the_middle_keeps_proportions() {
        let noted = |replicas| Set { noted_max: 13, noted_desired: Some(10), ..set(replicas, replicas) };
        let (new, old) = plan(bounds(15, 3, 2), false, Some(&noted(5)), &[noted(8)], true);
        assert_eq!((new, old), (Some(7), vec![11]));
        let (new, old) = plan(bounds(20, 3, 2), true, Some(&noted(10)), &[], false);
        assert_eq!((new, old), (Some(20), vec![]));
        let (new, old) = plan(bounds(0, 0, 1), false, Some(&noted(5)), &[noted(8)], true);
        assert_eq!((new, old), (Some(0), vec![0]));
    }
}
