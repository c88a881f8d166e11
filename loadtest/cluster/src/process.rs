//! Signals to processes that we started, by their ids.

use std::io;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a child that was not reaped yet, so that its id is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    signal_id(child.id(), signal)
}

/// The same by id.
pub(crate) fn signal_id(id: u32, signal: Signal) -> io::Result<()> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
    Ok(kill_process(id, signal)?)
}

/// How long a process may take to stand still once it was told to.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at whether it does.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// SIGSTOP, and waits until no thread of any of these runs any more: the signal is taken by one thread, and until that one was
/// given a processor the others go on. One that ended meanwhile stands still for ever.
pub(crate) fn freeze(ids: &[u32]) -> io::Result<()> {
    for id in ids {
        signal_id(*id, Signal::STOP)?;
    }
    let began = Instant::now();
    while !ids.iter().all(|id| stands_still(*id)) {
        if began.elapsed() > STOPS_WITHIN {
            return Err(io::Error::other(format!("a process did not stand still within {STOPS_WITHIN:?}")));
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    Ok(())
}

/// Whether each of its threads is stopped, or it is no more.
fn stands_still(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // A thread that ended has no file; one that is being traced is stopped as well.
        matches!(after_name(&stat).next(), None | Some("T" | "t" | "Z" | "X"))
    })
}

/// The fields of a line of `stat` from the state on: "id (name) state parent …"; a name may hold anything, also parentheses.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).into_iter().flatten()
}

/// The children of a process, as the kernel knows them now; their children are not among them.
pub(crate) fn children(parent: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // One that ended meanwhile is nobody's child.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let parent_of = after_name(&stat).nth(1).and_then(|parent| parent.parse().ok());
        if parent_of == Some(parent) {
            found.push(id);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_was_frozen_stands_still_at_once_and_goes_on_when_told_to() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!stands_still(child.id()));
        freeze(&[child.id()]).unwrap();
        assert!(stands_still(child.id()));
        signal(&child, Signal::CONT).unwrap();
        let began = Instant::now();
        while stands_still(child.id()) {
            assert!(began.elapsed() < STOPS_WITHIN, "it never went on");
            std::thread::sleep(LOOK_PAUSE);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stands_still(child.id()), "one that is no more does nothing");
    }
}
