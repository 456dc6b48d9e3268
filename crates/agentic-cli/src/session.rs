//! What every command works with.

use agentic_client::Client;
use agentic_core::clock::{Clock, SystemClock, Timestamp};

use crate::{
    config::Loaded,
    failure::{Failure, Kind},
    output::Printer,
};

/// The settings, and where output goes.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Where output goes.
    pub printer: Printer,
    /// The settings.
    pub loaded: Loaded,
    /// What the time is read from.
    pub clock: SystemClock,
}

impl Session {
    /// A client of the server that the settings name.
    ///
    /// # Errors
    /// A usage failure for a base URL that is none, or a token that may not be sent there.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let builder = Client::builder(&self.loaded.settings.base_url);
        let builder = match self.loaded.token()? {
            Some(token) => builder.token(token.reveal()),
            None => builder,
        };
        Ok(builder.build()?)
    }

    /// The instant now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A failure, with what to do about it.
    pub(crate) fn advise(&self, failure: Failure) -> Failure {
        match failure.kind {
            Kind::Unreachable if failure.hints.is_empty() => failure.hint(format!(
                "is a server running? start one with `agentic serve`, or name another with --base-url (now {}, from {})",
                self.loaded.settings.base_url,
                self.loaded.origin("base_url")
            )),
            _ => failure,
        }
    }
}
