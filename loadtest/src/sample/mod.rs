//! What a server costs, seen from outside: processor time and memory of its processes, and of the kernel for it.
//!
//! [`process`] reads `/proc/PID`, [`kernel`] reads `/proc/slabinfo` and `/proc/net/sockstat`, [`regression`] makes "per
//! connection" of several totals. Linux only; elsewhere everything is absent, and absent is said, never zero.

pub(crate) mod kernel;
pub(crate) mod process;
pub(crate) mod regression;
