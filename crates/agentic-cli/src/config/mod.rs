//! Configuration: where each value comes from, and what it is.
//!
//! Flags, then `AGENTIC_*`, then `.env` in the working directory, then `./agentic.yaml`, then
//! `$XDG_CONFIG_HOME/agentic/config.yaml`, then `~/.core/agentic.yaml` (the Go library's), then the defaults. This is
//! the only place of the project that reads files of settings or the environment.

pub(crate) mod duration;
pub(crate) mod env;
mod file;
mod go;
mod load;
mod secret;
mod settings;
mod source;
mod trust;
mod world;

pub(crate) use load::{Loaded, load};
pub(crate) use secret::{MASK, Secret};
pub(crate) use settings::{AgentSettings, Settings};
pub(crate) use source::Source;
pub(crate) use world::World;
