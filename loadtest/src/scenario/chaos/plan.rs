//! Which faults come when: pure, from the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::fault::Fault;

/// One experiment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Experiment {
    pub(crate) fault: Fault,
    /// Chooses everything in it: rooms, members, who is hurt.
    pub(crate) seed: u64,
    pub(crate) lasts: Duration,
}

/// The schedule of a seed: every fault once in some order, then every fault once in another, without end.
pub(crate) struct Plan {
    faults: Vec<Fault>,
    long: bool,
    random: StdRng,
    round: Vec<Fault>,
}

impl Plan {
    pub(crate) fn new(faults: Vec<Fault>, long: bool, seed: u64) -> Self {
        Self { faults, long, random: StdRng::seed_from_u64(seed), round: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Experiment;

    fn next(&mut self) -> Option<Experiment> {
        if self.round.is_empty() {
            self.round.clone_from(&self.faults);
            self.round.shuffle(&mut self.random);
        }
        let fault = self.round.pop()?;
        let lasts = if self.long { fault.lasts_long() } else { fault.lasts_short() };
        Some(Experiment { fault, seed: self.random.random(), lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, count: usize) -> Vec<Experiment> {
        Plan::new(Fault::ALL.to_vec(), false, seed).take(count).collect()
    }

    #[test]
    fn a_seed_always_gives_the_same_schedule_and_another_seed_another() {
        assert_eq!(first(7, 60), first(7, 60));
        assert_ne!(first(7, 60), first(8, 60));
    }

    #[test]
    fn every_fault_comes_once_before_any_comes_again() {
        let mut names: Vec<&str> = first(1, Fault::ALL.len()).iter().map(|one| one.fault.name()).collect();
        names.sort_unstable();
        let mut all = Fault::ALL.map(Fault::name);
        all.sort_unstable();
        assert_eq!(names, all);
    }

    #[test]
    fn names_are_read_back() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("node-hug".parse::<Fault>().is_err_and(|text| text.contains("node-kill")));
    }
}
