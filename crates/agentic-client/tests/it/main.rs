//! The client against a server that says what a test wants it to say.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod events;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod server;
