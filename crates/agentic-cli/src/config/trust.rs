//! Which token is sent where.

use std::path::PathBuf;

use super::{Loaded, Secret};
use crate::failure::Failure;

/// The name of the file in the data directory that holds the server's own admin token.
pub(super) const TOKEN_FILE: &str = "token";

impl Loaded {
    /// The token to send to `base_url`: the configured one, else the one that a server on this machine left in its
    /// data directory.
    ///
    /// A working directory's files are written by whoever wrote what was checked out there, so a `base_url` from them
    /// is never used with a token from elsewhere.
    ///
    /// # Errors
    /// A usage failure for a configured token that may not be sent there.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Failure> {
        if let Some(token) = &self.settings.token {
            self.check_trust("base_url", "token", "--base-url")?;
            return Ok(Some(token.clone()));
        }
        let foreign_url = self.origin("base_url").is_working_directory();
        let path = self.settings.data_dir.join(TOKEN_FILE);
        if !self.is_loopback() || (foreign_url && !self.is_inside(&path)) {
            return Ok(None);
        }
        Ok(std::fs::read_to_string(path)
            .ok()
            .map(|text| Secret::new(text.trim()))
            .filter(|t| !t.reveal().is_empty()))
    }

    /// The token to show to the server that keeps the store, by the same rule; no other token is ever shown to it.
    ///
    /// # Errors
    /// A usage failure for a token that may not be sent there.
    pub(crate) fn store_token(&self) -> Result<Option<&Secret>, Failure> {
        let Some(token) = &self.settings.store_token else { return Ok(None) };
        self.check_trust("store", "store_token", "--store")?;
        Ok(Some(token))
    }

    /// Refuses to send a token to a server that the working directory named.
    fn check_trust(&self, url: &str, token: &str, flag: &str) -> Result<(), Failure> {
        let (url_from, token_from) = (self.origin(url), self.origin(token));
        if !url_from.is_working_directory() || token_from.is_working_directory() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{url} comes from {url_from} and the {token} from {token_from}: a {url} from the working directory is \
             never used with a token from elsewhere"
        ))
        .hint(format!("if you trust that server, say so: {flag} URL"))
        .hint(format!("or put its {token} beside its {url}")))
    }

    /// Whether `base_url` means this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let rest = self.settings.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A user part can make another host look like this one.
        if authority.contains('@') {
            return false;
        }
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether a file really lies in the working directory.
    fn is_inside(&self, path: &PathBuf) -> bool {
        let real = |path: &PathBuf| path.canonicalize().ok();
        match (real(path), real(&self.world.directory)) {
            (Some(file), Some(directory)) => file.starts_with(directory),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{World, load};
    use super::*;

    /// What is sent from a working directory with these files, in a home with this file of settings.
    fn sent(work: &[(&str, &str)], user: &str, env: &[(&str, &str)]) -> Result<Option<String>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let (home, here) = (dir.path().join("home"), dir.path().join("work"));
        for (path, text) in [
            (home.join(".config/agentic/config.yaml"), user),
            (home.join(".local/state/agentic/token"), "local\n"),
        ]
        .into_iter()
        .chain(work.iter().map(|(path, text)| (here.join(path), *text)))
        {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(&here).unwrap();
        let mut variables: std::collections::BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables.insert("HOME".into(), home.display().to_string());
        let loaded = load(World { directory: here, variables }, None, vec![]).unwrap();
        loaded.token().map(|token| token.map(|token| token.reveal().to_owned()))
    }

    const URL_HERE: (&str, &str) = ("agentic.yaml", "base_url: http://127.0.0.1:9\n");

    #[test]
    fn a_foreign_base_url_gets_no_token_from_elsewhere() {
        for place in [URL_HERE, (".env", "AGENTIC_BASE_URL=http://127.0.0.1:9\n")] {
            let failure = sent(&[place], "token: mine\n", &[]).unwrap_err();
            assert!(failure.error.contains("never used with a token from elsewhere"), "{}", failure.error);
            assert!(sent(&[place], "", &[("AGENTIC_TOKEN", "mine")]).is_err());
            assert_eq!(sent(&[place], "", &[]).unwrap(), None, "nor this machine's own");
        }
    }

    #[test]
    fn a_token_beside_its_base_url_is_sent() {
        let both = ("agentic.yaml", "base_url: http://127.0.0.1:9\ntoken: theirs\n");
        assert_eq!(sent(&[both], "token: mine\n", &[]).unwrap().unwrap(), "theirs");
        let apart = [URL_HERE, (".env", "AGENTIC_TOKEN=theirs\n")];
        assert_eq!(sent(&apart, "token: mine\n", &[]).unwrap().unwrap(), "theirs");
        let dir = ("agentic.yaml", "base_url: http://127.0.0.1:9\ndata_dir: state\n");
        assert_eq!(sent(&[dir, ("state/token", "here")], "", &[]).unwrap().unwrap(), "here");
    }

    #[test]
    fn naming_the_base_url_oneself_is_trust() {
        let env = [("AGENTIC_BASE_URL", "http://localhost:9")];
        assert_eq!(sent(&[URL_HERE], "token: mine\n", &env).unwrap().unwrap(), "mine");
    }

    #[test]
    fn a_token_from_here_may_go_to_the_users_own_server() {
        let token = (".env", "AGENTIC_TOKEN=theirs\n");
        assert_eq!(sent(&[token], "base_url: https://own\n", &[]).unwrap().unwrap(), "theirs");
    }

    #[test]
    fn the_local_token_goes_to_this_machine_only() {
        let to = |url: &str| sent(&[], &format!("base_url: {url:?}\n"), &[]).unwrap();
        for url in ["http://localhost:1", "http://127.0.0.1", "http://[::1]:8/x", "http://127.9.9.9/"] {
            assert_eq!(to(url).as_deref(), Some("local"), "{url}");
        }
        for url in ["http://example.org", "http://localhost@example.org", "http://localhost.example.org", "x"]
        {
            assert_eq!(to(url), None, "{url}");
        }
    }

    #[test]
    fn a_store_from_the_working_directory_gets_no_token_from_elsewhere() {
        let shown = |store: &str, token: &str, flags: Vec<_>| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("agentic.yaml"), store).unwrap();
            let variables = [("AGENTIC_STORE_TOKEN".to_owned(), token.to_owned())].into();
            let loaded = load(World { directory: dir.path().into(), variables }, None, flags).unwrap();
            loaded.store_token().map(|token| token.map(|token| token.reveal().to_owned()))
        };
        let here = "store: http://127.0.0.1:9\n";
        let failure = shown(here, "mine", vec![]).unwrap_err();
        assert!(failure.error.contains("never used with a token from elsewhere"), "{}", failure.error);
        assert_eq!(shown(here, "", vec![]).unwrap(), None);
        let both = "store: http://127.0.0.1:9\nstore_token: theirs\n";
        assert_eq!(shown(both, "", vec![]).unwrap().unwrap(), "theirs");
        let flag = vec![("store", serde_json::Value::from("http://own"), "--store")];
        assert_eq!(shown(here, "mine", flag).unwrap().unwrap(), "mine");
    }
}
