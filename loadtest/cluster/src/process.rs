//! Signals to processes that we started, by their ids.

use std::io;
use std::process::Child;

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

/// The children of a process, as the kernel knows them now; their children are not among them.
pub(crate) fn children(parent: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // One that ended meanwhile is nobody's child.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // "id (name) state parent …"; a name may hold anything, also parentheses.
        let parent_of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if parent_of == Some(parent) {
            found.push(id);
        }
    }
    Ok(found)
}
