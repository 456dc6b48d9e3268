//! Why connections fail, which a call that waits for one is not told.

use std::sync::{Mutex, PoisonError, Weak};

use fred::{
    error::{Error, ErrorKind},
    types::config::Server,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::is_reply;

/// What went wrong with the last connection that failed; nothing once one was made again.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Adds it to an error that only says that there was no answer.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let silent = match error.kind() {
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Routing => true,
            ErrorKind::Unknown => !is_reply(error.details()),
            _ => false,
        };
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_deref().filter(|why| silent && !error.details().contains(why)) {
            Some(why) => Error::new(error.kind().clone(), format!("{} ({why})", error.details())),
            None => error,
        }
    }

    /// Remembers what failed, and says it once.
    fn hear(&self, error: &Error) {
        let why = error.details();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != Some(why) {
            tracing::warn!(why, "a connection to redis failed");
            *last = Some(why.to_owned());
        }
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Listens to one client until it, or who asks, is gone.
pub(crate) async fn listen(
    mut failed: Receiver<(Error, Option<Server>)>,
    mut made: Receiver<Server>,
    trouble: Weak<Trouble>,
) {
    loop {
        let heard = tokio::select! {
            heard = failed.recv() => heard.map(|(error, _)| Some(error)),
            heard = made.recv() => heard.map(|_| None),
        };
        let Some(trouble) = trouble.upgrade() else { return };
        match heard {
            Ok(Some(error)) => trouble.hear(&error),
            Ok(None) => trouble.forget(),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_little_says_why() {
        let trouble = Trouble::default();
        let late = || Error::new(ErrorKind::Timeout, "Request timed out.");
        assert_eq!(trouble.explain(late()).details(), "Request timed out.");
        trouble.hear(&Error::new(ErrorKind::Auth, "WRONGPASS invalid username-password pair"));
        let told = trouble.explain(late());
        assert_eq!(told.details(), "Request timed out. (WRONGPASS invalid username-password pair)");
        assert_eq!(*told.kind(), ErrorKind::Timeout);
        let own = Error::new(ErrorKind::NotFound, "no such thing");
        assert_eq!(trouble.explain(own).details(), "no such thing");
        trouble.forget();
        assert_eq!(trouble.explain(late()).details(), "Request timed out.");
    }
}
