//! Where the demo happens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::failure::Failure;

/// Where the demo keeps its database and its logs.
pub(super) enum Place {
    Fresh(TempDir),
    Kept(PathBuf),
}

impl Place {
    /// A fresh directory, or the empty one that is to be kept.
    ///
    /// # Errors
    /// A usage failure for one that is not empty.
    pub(super) fn new(keep: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let fresh = tempfile::Builder::new().prefix("agentic-demo-").tempdir();
            return fresh
                .map(Self::Fresh)
                .map_err(|error| Failure::because("cannot make a directory", &error));
        };
        let cannot =
            |error: std::io::Error| Failure::because(format_args!("cannot use {}", path.display()), &error);
        fs::create_dir_all(&path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        if fs::read_dir(&path).map_err(cannot)?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty; the demo begins afresh", path.display())));
        }
        Ok(Self::Kept(path))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Fresh(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    /// Leaves it where it is, for who wants to look.
    pub(super) fn keep(self) -> PathBuf {
        match self {
            Self::Fresh(directory) => directory.keep(),
            Self::Kept(path) => path,
        }
    }
}
