//! Runs agents: processes, metering, heartbeats, drain
