//! The worker against a scripted server, and the guard, with real processes.
#[cfg(test)]
mod fake;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod worker;
