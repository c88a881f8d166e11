//! One number of a node's own metrics, over plain HTTP.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A node that does not answer for this long is not asked any further.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest page of metrics.
const PAGE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The value of a metric without labels at `http://host:port`; `None` when it is not to be had.
pub(crate) fn value(admin: &str, name: &str) -> Option<f64> {
    let host = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let address = host.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut page = String::new();
    stream.take(PAGE_MAX_BYTES).read_to_string(&mut page).ok()?;
    find(&page, name)
}

fn find(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE hallway_backlog_bytes gauge\nhallway_backlog_bytes_max 9\nhallway_backlog_bytes 7\n";
        assert_eq!(find(page, "hallway_backlog_bytes"), Some(7.0));
        assert_eq!(find(page, "hallway_backlog"), None);
    }
}
