//! Pure: the bytes that wait for one socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::frames::first_frame_bytes;
use crate::sabotage::{Mutant, is_on};

/// Runs of whole frames in the order in which they leave; the first of them may be partly written.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    runs: VecDeque<Bytes>,
    /// How much of the first run is with the kernel.
    front_written: usize,
    /// Bytes that are not.
    bytes: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a run of which so many bytes are written: none, unless nothing waits. Returns by how much the backlog grew.
    pub(super) fn append(&mut self, run: Bytes, written: usize) -> usize {
        debug_assert!(written == 0 || self.runs.is_empty(), "only the first run can be partly written");
        let grown = run.len() - written;
        if grown > 0 {
            if self.runs.is_empty() {
                self.front_written = written;
            }
            self.bytes += grown;
            self.runs.push_back(run);
        }
        grown
    }

    /// Where a run must be cut so that no more than `max_bytes` wait: at the end of a frame. What is partly written is taken
    /// in any case, and so is one frame when nothing waits, however large.
    pub(super) fn fitting_end(&self, run: &[u8], written: usize, max_bytes: usize) -> usize {
        if self.bytes + run.len() - written <= max_bytes || is_on(Mutant::UnboundedQueue) {
            return run.len();
        }
        let mut end = 0;
        while end < run.len() {
            let next = end + first_frame_bytes(&run[end..]);
            let is_untouched = end >= written;
            let waits_before = self.bytes + end.saturating_sub(written);
            if is_untouched && waits_before > 0 && self.bytes + next - written > max_bytes {
                break;
            }
            end = next;
        }
        end
    }

    /// What is written next; returns how many slices there are.
    pub(super) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, run) in into.iter_mut().zip(&self.runs) {
            let start = if count == 0 { self.front_written } else { 0 };
            *slice = IoSlice::new(&run[start..]);
            count += 1;
        }
        count
    }

    /// The kernel took so many bytes.
    pub(super) fn consume(&mut self, written: usize) {
        self.bytes -= written;
        self.front_written += written;
        while let Some(front) = self.runs.front() {
            if self.front_written < front.len() {
                return;
            }
            self.front_written -= front.len();
            self.runs.pop_front();
        }
    }

    /// Forgets everything but the first frame that is not completely written (some of it may be with the client). Returns
    /// how many bytes that frees.
    pub(super) fn keep_first_frame(&mut self) -> usize {
        let Some(front) = self.runs.front() else { return 0 };
        let mut end = 0;
        while end <= self.front_written {
            end += first_frame_bytes(&front[end..]);
        }
        let kept = front.slice(..end);
        let freed = self.bytes - (end - self.front_written);
        self.bytes -= freed;
        self.runs = VecDeque::from([kept]);
        freed
    }
}
