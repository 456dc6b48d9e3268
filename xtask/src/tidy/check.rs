//! All rules over the whole tree.

use anyhow::{Result, ensure};

use super::{documents, edges, manifests, sources, tree};
use crate::workspace;

/// Prints what breaks a rule, and fails if anything does.
pub(crate) fn run() -> Result<()> {
    let found = findings()?;
    for finding in &found {
        eprintln!("{finding}");
    }
    ensure!(found.is_empty(), "{} places break a rule", found.len());
    Ok(())
}

/// What breaks a rule: one line each, the place first.
fn findings() -> Result<Vec<String>> {
    let files = tree::read(&workspace::root())?;
    let metadata = workspace::metadata()?;
    let mut found = Vec::new();
    for file in &files {
        found.extend(sources::findings(file));
    }
    found.extend(documents::findings(&files));
    found.extend(manifests::findings(&files, &metadata));
    found.extend(edges::findings(&metadata));
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(super::findings().unwrap(), Vec::<String>::new());
    }
}
