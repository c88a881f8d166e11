//! Raw load: thousands of sockets on one thread, in several worker processes, for measuring the server and not the client.

mod adapter;

pub(crate) use adapter::{Adapter, Message, Step, Who};
