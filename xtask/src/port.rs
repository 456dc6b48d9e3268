//! Ports for the servers that xtask starts.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};

/// Apart from those of tests, and as they below what systems give by themselves (`agentic_testkit::port`).
const FIRST: u16 = 12_000;
const COUNT: u16 = 1_000;
/// A node of a Redis Cluster also listens this far above its port.
const BUS: u16 = 10_000;

/// A port of 127.0.0.1 that nothing listens on, nor 10,000 above it; held for this process, as those of tests are.
pub(crate) fn free_port() -> Result<u16> {
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for number in 0..u32::from(COUNT) {
        // Two runs at once do not begin their search at the same one.
        let port = FIRST + u16::try_from(process::id().wrapping_add(number) % u32::from(COUNT))?;
        let Ok(hold) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if is_free(port) && is_free(port + BUS) {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
            return Ok(port);
        }
    }
    bail!("none of the ports from {FIRST} to {} is free", FIRST + COUNT - 1)
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
