//! Scenarios of the services, the dispatcher and the reaper, on memory with a clock that is moved by hand.

mod allowances;
mod dispatching;
mod emitters;
mod lifecycle;
mod reaping;
mod running;
mod world;
