//! Where a value comes from.

use std::{fmt, path::PathBuf};

/// Where a value comes from; the order of the variants is the order of precedence, least first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Nobody said anything.
    Default,
    /// The Go library's file.
    GoFile(PathBuf),
    /// The user's own file.
    UserFile(PathBuf),
    /// `./agentic.yaml`.
    ProjectFile(PathBuf),
    /// The file that `--config` named, in the place of the three above.
    NamedFile(PathBuf),
    /// A variable in `.env` of the working directory.
    DotEnv(&'static str),
    /// A variable of the environment.
    Env(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl Source {
    /// Whether whoever wrote the working directory's files decided this, and not the user.
    pub(crate) fn is_working_directory(&self) -> bool {
        matches!(self, Self::ProjectFile(_) | Self::DotEnv(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::GoFile(path) | Self::UserFile(path) | Self::ProjectFile(path) | Self::NamedFile(path) => {
                write!(f, "{}", path.display())
            }
            Self::DotEnv(name) => write!(f, "{name} in ./.env"),
            Self::Env(name) => write!(f, "{name} in the environment"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}
