//! Processor time and memory of processes with all their descendants.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;

/// What the kernel counts user and system time in, on every Linux that we know.
const TICKS_PER_SECOND: f64 = 100.0;
const NS_PER_SECOND: f64 = 1e9;

/// Processor time up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    /// By the scheduler's own count, in nanoseconds.
    pub(crate) total_s: f64,
    /// By ticks; their sum may differ from the total by some.
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
}

impl Cpu {
    /// Time since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total_s: self.total_s - earlier.total_s,
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
        }
    }
}

/// Memory now, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    /// The most that was resident at any time.
    pub(crate) peak_bytes: u64,
}

/// The processes that are watched, by the ids that were given and their descendants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched(Vec<u32>);

impl Watched {
    pub(crate) fn new(pids: &[u32]) -> Self {
        Self(pids.to_vec())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them that are alive.
    fn all(&self) -> BTreeSet<u32> {
        let (mut found, mut open) = (BTreeSet::new(), self.0.clone());
        while let Some(pid) = open.pop() {
            if !found.insert(pid) {
                continue;
            }
            for task in tasks(pid) {
                let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
                open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        found
    }

    /// Processor time of all of them; `None` when none can be read.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        let mut sum = Cpu::default();
        let mut any = false;
        for pid in self.all() {
            let Some((user_s, system_s)) = ticks(pid) else { continue };
            any = true;
            sum.user_s += user_s;
            sum.system_s += system_s;
            let precise: Vec<f64> = tasks(pid).iter().filter_map(|task| scheduled_s(task)).collect();
            sum.total_s += if precise.is_empty() { user_s + system_s } else { precise.iter().sum() };
        }
        any.then_some(sum)
    }

    /// Memory of all of them; `None` when none can be read.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let all: Vec<Memory> = self.all().into_iter().filter_map(memory).collect();
        (!all.is_empty()).then(|| Memory {
            resident_bytes: all.iter().map(|one| one.resident_bytes).sum(),
            peak_bytes: all.iter().map(|one| one.peak_bytes).sum(),
        })
    }

    /// Forgets the peaks so far, where that is allowed: the next reading's are those from now on.
    pub(crate) fn reset_peaks(&self) -> bool {
        self.all().into_iter().all(|pid| fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok())
    }
}

fn tasks(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

fn scheduled_s(task: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("{task}/schedstat")).ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? / NS_PER_SECOND)
}

/// User and system seconds.
fn ticks(pid: u32) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &str) -> Option<(f64, f64)> {
    // The name stands in parentheses and may contain anything, so counting begins behind the last one.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    // The rollup is exact; the counters of `status` may lag behind by some pages for each thread.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:").map(str::to_owned))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    });
    let resident_bytes = rollup.or_else(|| bytes("VmRSS:"))?;
    Some(Memory { resident_bytes, peak_bytes: bytes("VmHWM:").unwrap_or(resident_bytes) })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_behind_whatever_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(parse_stat(text), Some((2.5, 0.5)));
    }

    #[test]
    fn this_process_has_used_time_and_memory_and_one_that_is_not_there_has_not() {
        let own = Watched::new(&[std::process::id()]);
        let before = own.cpu().unwrap();
        let began = std::time::Instant::now();
        while own.cpu().unwrap().since(before).total_s <= 0.0 {
            assert!(began.elapsed().as_secs() < 60, "the clock of this process stands still");
        }
        assert!(own.memory().unwrap().resident_bytes > 100_000);
        assert_eq!(Watched::new(&[u32::MAX]).cpu(), None);
    }
}
