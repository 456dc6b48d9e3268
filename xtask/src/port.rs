//! Ports for the servers that xtask starts.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

/// Apart from those of tests, and as they below what systems give by themselves (`agentic_testkit::port`).
const FIRST: u16 = 12_000;
const COUNT: u16 = 1_000;
/// A node of a Redis Cluster also listens this far above its port.
const BUS: u16 = 10_000;

/// A port of 127.0.0.1 that nothing listens on, nor 10,000 above it; another one each time.
pub(crate) fn free_port() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (0..COUNT)
        .filter_map(|_| {
            let next = process::id().wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
            u16::try_from(next % u32::from(COUNT)).ok()
        })
        .map(|offset| FIRST + offset)
        .find(|port| is_free(*port) && is_free(port + BUS))
        .with_context(|| format!("none of the ports from {FIRST} to {} is free", FIRST + COUNT - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_each_time() {
        let (one, other) = (free_port().unwrap(), free_port().unwrap());
        assert!(one != other && (FIRST..FIRST + COUNT).contains(&one), "{one} {other}");
    }
}
