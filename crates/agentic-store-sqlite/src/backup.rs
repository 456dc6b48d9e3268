//! Online copies of the file.

use std::path::Path;

use agentic_core::error::{Error, Result};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use crate::{error::about, options::SqliteOptions, schema};

/// Copies one consistent snapshot of `source` to the new file `target`; writers go on meanwhile.
pub(crate) fn copy(source: &Path, target: &Path, options: &SqliteOptions) -> Result<()> {
    // Taking the name first, so that nothing is ever overwritten.
    std::fs::File::create_new(target).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::invalid("path", "must be a file that does not exist yet"),
        _ => Error::unavailable_from(format!("the file {}", target.display()), error),
    })?;
    let copied = copy_into(source, target, options);
    if copied.is_err()
        && let Err(error) = std::fs::remove_file(target)
    {
        tracing::warn!(%error, target = %target.display(), "a backup that failed could not be removed");
    }
    copied
}

fn copy_into(source: &Path, target: &Path, options: &SqliteOptions) -> Result<()> {
    let failed = |error| about(format!("the backup to {}", target.display()), error);
    let from = schema::open_reader(source, options)?;
    let mut to = Connection::open(target).map_err(failed)?;
    // All pages in one step: one snapshot, which no writer can make start over.
    let backup = Backup::new(&from, &mut to).map_err(failed)?;
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::unavailable(format!("the backup to {} (the file is busy)", target.display()))),
    }
}
