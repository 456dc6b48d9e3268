//! What happens, as it happens: server-sent events.

use std::time::Duration;

use agentic_core::{
    error::{Error, Result},
    event::{Event, EventId},
    id::TaskId,
};
use backon::{BackoffBuilder as _, ExponentialBackoff};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderName},
};
use tokio::time::Instant;

use crate::{Client, call::Call, sse::Decoder};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// A stream that is silent for longer is taken for broken; servers send something every 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// How often in a row a connection may fail, or end soon without an event.
const RECONNECTS: usize = 10;
/// A connection that lasted as long did not end soon.
const STEADY: Duration = Duration::from_secs(10);

impl Client {
    /// Follows what happens after the event `after` (`None` = from now on), to all or to one task.
    ///
    /// A connection that breaks is made again and resumes behind the last event. The stream ends with its first error:
    /// `Conflict` `cursor_trimmed` when events after `after` are not kept any more, `Unavailable` when ten
    /// connections in a row failed or ended at once.
    pub fn events(&self, after: Option<EventId>, task: Option<&TaskId>) -> BoxStream<'static, Result<Event>> {
        let feed =
            Feed { client: self.clone(), task: task.cloned(), after, open: None, pauses: pauses(self) };
        let next = |mut feed: Feed| async move { feed.next().await.map(|event| Some((event, feed))) };
        stream::try_unfold(feed, next).boxed()
    }
}

fn pauses(client: &Client) -> ExponentialBackoff {
    client.pauses().with_max_times(RECONNECTS).build()
}

/// A stream of events over many connections.
struct Feed {
    client: Client,
    task: Option<TaskId>,
    after: Option<EventId>,
    open: Option<Connection>,
    pauses: ExponentialBackoff,
}

impl Feed {
    async fn next(&mut self) -> Result<Event> {
        loop {
            match self.try_next().await {
                Ok(event) => {
                    self.after = Some(event.id);
                    self.pauses = pauses(&self.client);
                    return Ok(event);
                }
                Err(error) if error.is_retryable() => {
                    if self.open.take().is_some_and(|open| open.since.elapsed() >= STEADY) {
                        self.pauses = pauses(&self.client);
                    }
                    let Some(pause) = self.pauses.next() else { return Err(error) };
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        ?pause,
                        "following events again"
                    );
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next event of the connection, which is made if there is none.
    async fn try_next(&mut self) -> Result<Event> {
        let call = self.call()?;
        let connection = match &mut self.open {
            Some(connection) => connection,
            None => self.open.insert(Connection::open(&call).await?),
        };
        connection.next(&call).await
    }

    fn call(&self) -> Result<Call> {
        let call = self.client.get(&["api", "events"]).maybe_query("task", self.task.as_ref());
        let call = call.header(ACCEPT, "text/event-stream")?;
        match self.after {
            Some(after) => call.header(LAST_EVENT_ID, &after.to_string()),
            None => Ok(call),
        }
    }
}

/// One connection.
struct Connection {
    since: Instant,
    response: Response,
    decoder: Decoder,
}

impl Connection {
    async fn open(call: &Call) -> Result<Self> {
        let response = call.open().await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(Error::backend("following events where there are none"));
        }
        Ok(Self { since: Instant::now(), response, decoder: Decoder::default() })
    }

    async fn next(&mut self, call: &Call) -> Result<Event> {
        loop {
            if let Some(event) = self.decoder.pop() {
                return Ok(event);
            }
            match tokio::time::timeout(SILENCE, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.decoder.feed(&bytes)?,
                Ok(Ok(None)) => return Err(Error::unavailable(call.server())),
                Ok(Err(error)) => return Err(call.away(error)),
                Err(silence) => return Err(Error::unavailable_from(call.server(), silence)),
            }
        }
    }
}
