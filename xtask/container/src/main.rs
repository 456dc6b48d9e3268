//! Holds a Redis in a container while tests run: prints its URL, and removes it when the standard input ends.

mod image;

use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor, client::ClientError},
    runners::AsyncRunner,
};

/// Redis, as its makers publish it.
const PUBLISHED: (&str, &str) = ("redis", "7.2-alpine");
const PORT: u16 = 6379;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (container, image) = match start(PUBLISHED).await {
        Err(TestcontainersError::Client(error @ ClientError::PullImage { .. })) => {
            eprintln!("{error}; making an image of the local redis-server");
            let made = image::Made::new().await.context("cannot make an image of redis-server")?;
            (start(image::NAME).await?, Some(made))
        }
        started => (started?, None),
    };
    let url =
        format!("redis://{}:{}/0", container.get_host().await?, container.get_host_port_ipv4(PORT).await?);
    writeln!(io::stdout(), "{url}")?;
    // Whoever started this holds the other end, and lets go of it however it ends.
    io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
    container.rm().await?;
    if let Some(made) = image {
        made.remove().await?;
    }
    Ok(())
}

/// Starts Redis as fast and as open as a test needs it.
async fn start((name, tag): (&str, &str)) -> Result<ContainerAsync<GenericImage>, TestcontainersError> {
    let ready = WaitFor::message_on_stdout("Ready to accept connections");
    let image = GenericImage::new(name, tag).with_exposed_port(PORT.tcp()).with_wait_for(ready);
    image
        .with_cmd(["redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"])
        .start()
        .await
}
