//! Scenarios of the services, the dispatcher and the reaper, on memory with a clock that is moved by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod allowances;
mod budgets;
mod crashes;
mod dispatching;
mod emitters;
mod explaining;
mod following;
mod lifecycle;
mod outages;
mod outbox;
mod reaping;
mod reference;
mod refusals;
mod review_budgets;
mod review_dispatching;
mod running;
mod saga;
mod world;
