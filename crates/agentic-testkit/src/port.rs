//! Ports for the servers of tests.
#![expect(clippy::missing_panics_doc, reason = "a test that has no port fails by panicking")]

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Below what systems give by themselves to connections and to who asks for port 0 (32768 and up on Linux), so that nobody
/// is given one before its server listens on it, or while that is started again.
const PORTS: Range<u16> = 13_000..22_000;
/// A node of a Redis Cluster also listens this far above its port.
const BUS: u16 = 10_000;

/// A port of 127.0.0.1 that nothing listens on, nor 10,000 above it, and that no other test is given while this process
/// lives.
pub fn free_port() -> u16 {
    // What holds it is the UDP port of the same number, which no server of a test uses.
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let listens = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
    for _ in 0..10 * PORTS.len() {
        let port = fastrand::u16(PORTS);
        let Ok(hold) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if !listens(port) && !listens(port + BUS) {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
            return port;
        }
    }
    panic!("none of the ports {PORTS:?} is free");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn none_is_given_twice() {
        let given: BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(given.len(), 200);
        assert!(given.iter().all(|port| PORTS.contains(port)));
        assert!(given.iter().all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_err()), "held");
    }
}
