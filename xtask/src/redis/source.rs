//! Where the Redis of a test run comes from.

use std::{env, process::Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::{container::Container, install, server::Servers};

/// Names a server to test on, instead of one that is started.
pub(super) const URL: &str = "AGENTIC_TEST_REDIS_URL";

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// Whoever runs the one that `AGENTIC_TEST_REDIS_URL` names.
    Url,
    /// A container that ends with the tests.
    Container,
    /// A `redis-server` of this machine on a free port, which ends with the tests.
    Local,
}

/// How many servers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// One.
    #[default]
    Standalone,
    /// A cluster of three local nodes, or the one of `AGENTIC_TEST_REDIS_URL`.
    Cluster,
}

/// A Redis for the tests, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) source: Source,
    url: String,
    _held: Held,
}

/// What ends with it.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held for what they do when they are dropped")]
enum Held {
    Nothing,
    Container(Container),
    Servers(Servers),
}

impl Redis {
    /// Brings one up and says which: the one of the environment, else a container, else a local server; or only `from`
    /// there.
    pub(crate) fn find(topology: Topology, from: Option<Source>) -> Result<Self> {
        let redis = match (topology, from) {
            (_, Some(Source::Url)) => Self::named(topology)?.with_context(|| format!("{URL} is not set"))?,
            (Topology::Cluster, Some(Source::Container)) => {
                bail!("a cluster in containers is not offered: leave --server out")
            }
            (Topology::Standalone, Some(Source::Container)) => Self::contained()?,
            (_, Some(Source::Local)) => Self::local(topology)?,
            (_, None) => match Self::named(topology)? {
                Some(named) => named,
                None if topology == Topology::Standalone && Container::has_engine() => Self::contained()
                    .context("Docker answers, but no container starts: see --server local")?,
                None => Self::local(topology)?,
            },
        };
        eprintln!("testing on {}", redis.shown());
        Ok(redis)
    }

    /// Names it to the tests that a command runs.
    pub(crate) fn name_to(&self, tests: &mut Command) {
        tests.env(URL, &self.url);
    }

    fn named(topology: Topology) -> Result<Option<Self>> {
        let Ok(url) = env::var(URL) else { return Ok(None) };
        if topology == Topology::Cluster && !url.contains("-cluster://") {
            bail!(
                "{URL} names no cluster: redis-cluster://HOST:PORT, or leave it out and three nodes are started"
            );
        }
        Ok(Some(Self { source: Source::Url, url, _held: Held::Nothing }))
    }

    fn contained() -> Result<Self> {
        let (container, url) = match Container::start() {
            // Where no image can be pulled, one is made of the local server.
            Err(error) if !install::is_there() => {
                eprintln!("{error:#}");
                install::ensure_local()?;
                Container::start()?
            }
            started => started?,
        };
        Ok(Self { source: Source::Container, url, _held: Held::Container(container) })
    }

    fn local(topology: Topology) -> Result<Self> {
        install::ensure_local()?;
        let (servers, url) = match topology {
            Topology::Standalone => Servers::one()?,
            Topology::Cluster => Servers::cluster()?,
        };
        Ok(Self { source: Source::Local, url, _held: Held::Servers(servers) })
    }

    /// Without the password that a URL may hold.
    fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let url = format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        match self.source {
            Source::Url => format!("the Redis of {URL}, {url}"),
            Source::Container => format!("a Redis in a container, {url}"),
            Source::Local => format!("a redis-server of its own, {url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let url = "rediss://user:p@ss@example.org:6379/1".to_owned();
        let redis = Redis { source: Source::Url, url, _held: Held::Nothing };
        assert_eq!(redis.shown(), "the Redis of AGENTIC_TEST_REDIS_URL, rediss://example.org:6379/1");
    }
}
