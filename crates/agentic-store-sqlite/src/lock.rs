//! The lock of the one server that serves a file.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use agentic_core::error::{Error, Result};

/// Held by the one server of a file: an advisory lock on `PATH.lock` beside it.
///
/// It ends with the value or with the process, however that ends; the file stays. The store itself needs no lock:
/// several processes may use one file.
#[derive(Debug)]
pub struct ServeLock {
    _file: File,
}

impl ServeLock {
    /// Takes the lock of the store at `path`.
    ///
    /// # Errors
    /// `Unavailable` while another server holds it, or where the file cannot be made.
    pub fn acquire(path: impl AsRef<Path>) -> Result<Self> {
        let store = path.as_ref().display();
        let mut path = OsString::from(path.as_ref());
        path.push(".lock");
        let path = PathBuf::from(path);
        let what = || format!("the lock {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| Error::unavailable_from(what(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "the store {store} (another server holds {}; stop it, or serve another file)",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Error::unavailable_from(what(), error)),
        }
    }
}
