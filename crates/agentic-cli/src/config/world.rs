//! What a process finds around it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::env;

/// The working directory and the environment, read once, at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// The working directory.
    pub directory: PathBuf,
    /// The environment; what is not UTF-8 is left out.
    pub variables: BTreeMap<String, String>,
}

impl World {
    /// What this process finds around it.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")), variables }
    }

    /// A variable; an empty one is an absent one.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's home.
    fn home(&self) -> Option<PathBuf> {
        self.variable(env::HOME).map(PathBuf::from)
    }

    /// A directory of the XDG specification: only an absolute path counts.
    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| self.home().map(|home| home.join(below_home)))
    }

    /// The user's own file of settings.
    pub(crate) fn user_file(&self) -> Option<PathBuf> {
        self.xdg(env::XDG_CONFIG_HOME, ".config").map(|dir| dir.join("agentic/config.yaml"))
    }

    /// The Go library's file of settings.
    pub(crate) fn go_file(&self) -> Option<PathBuf> {
        self.home().map(|home| home.join(".core/agentic.yaml"))
    }

    /// Where the server keeps its data unless told otherwise.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.xdg(env::XDG_STATE_HOME, ".local/state")
            .map_or_else(|| self.directory.join(".agentic"), |dir| dir.join("agentic"))
    }

    /// `path`, seen from the working directory.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}
