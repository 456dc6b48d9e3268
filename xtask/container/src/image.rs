//! An image of the local `redis-server`, for where none can be pulled.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use testcontainers::bollard::{
    Docker, body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions},
};

/// The name and the tag that it gets.
pub(crate) const NAME: (&str, &str) = ("agentic-test-redis", "local");

/// The image in the engine.
#[derive(Debug)]
pub(crate) struct Made(Docker);

impl Made {
    /// Imports the program and the libraries that it loads, and nothing else.
    pub(crate) async fn new() -> Result<Self> {
        let files = files()?;
        let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(NAME.0).tag(NAME.1).build();
        let imported = docker.create_image(Some(options), Some(body_full(files.into())), None);
        imported.try_collect::<Vec<_>>().await?;
        Ok(Self(docker))
    }

    /// Removes it; its containers have to be gone.
    pub(crate) async fn remove(self) -> Result<()> {
        let (name, tag) = NAME;
        self.0.remove_image(&format!("{name}:{tag}"), None::<RemoveImageOptions>, None).await?;
        Ok(())
    }
}

/// The root of the image's file system, as a tar archive.
fn files() -> Result<Vec<u8>> {
    let found = output(Command::new("sh").args(["-c", "command -v redis-server"]))
        .context("there is no redis-server here")?;
    let program = String::from_utf8(found)?.trim().to_owned();
    let linked = String::from_utf8(output(Command::new("ldd").arg(&program))?)?;
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    // Links are followed, so that each file lies where it is looked for.
    let mut tar = Command::new("tar");
    tar.args(["--create", "--dereference", "--absolute-names", "--transform", "s,^/,,", "--file", "-"]);
    output(tar.arg(&program).args(libraries))
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
