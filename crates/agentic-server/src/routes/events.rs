//! `/api/events`: what happens, as it happens (server-sent events).

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use agentic_core::{
    error::{ConflictCode, Error, Result},
    event::{Event, EventId},
    id::TaskId,
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName},
    response::sse::{self, KeepAlive, Sse},
};
use futures_util::stream::{self, Stream};

use crate::{app::App, extract::Params, problem::Failure};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How many events one read of the log brings.
const PAGE: usize = 256;
/// How long one wait for events lasts.
const WAIT: Duration = Duration::from_secs(30);
/// How long a stream is silent at most.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows the log after `Last-Event-ID`, else after `?after`, else from now on; with `?task` what concerns one task.
pub(crate) async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Failure> {
    let (after, task) = (params.take("after")?, params.take("task")?);
    params.end()?;
    let log = &app.fleet.ports().events;
    let last = log.last().await?;
    let cursor = last_event_id(&headers)?.or(after).unwrap_or(last);
    check_end(cursor, last)?;
    // A cursor that was trimmed is refused before the stream begins.
    let page = log.after(cursor, PAGE).await?;
    let mut feed = Feed { app, task, cursor: page.cursor, read: VecDeque::new() };
    feed.keep(page.events);
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(frame(&event)), feed))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Refuses a cursor behind the end of the log: the store lost what it was told, in a failover or by a restored backup.
fn check_end(cursor: EventId, last: EventId) -> Result<()> {
    if cursor <= last {
        return Ok(());
    }
    let detail = format!("the log ends at event {last}, before {cursor}: read the tasks, and begin anew");
    Err(Error::conflict(ConflictCode::CursorTrimmed, detail))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| Error::invalid("last-event-id", "must be the id of an event"))
}

fn frame(event: &Event) -> sse::Event {
    let frame = sse::Event::default().id(event.id.to_string()).event(event.kind.as_str());
    frame.json_data(event).unwrap_or_else(|_| sse::Event::default().comment("an event without JSON"))
}

/// Where one stream is in the log.
struct Feed {
    app: App,
    task: Option<TaskId>,
    cursor: EventId,
    /// Read and not sent.
    read: VecDeque<Event>,
}

impl Feed {
    /// The next event; `None` when the server ends, or the log fails: the client comes back with its last id, and is
    /// told then.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.app.stop.clone();
        match stop.run_until_cancelled(self.read_on()).await? {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::debug!(%error, cursor = self.cursor, "a stream of events ends");
                None
            }
        }
    }

    async fn read_on(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(event);
            }
            let log = &self.app.fleet.ports().events;
            let page = log.after(self.cursor, PAGE).await?;
            if page.events.is_empty() && !log.wait(self.cursor, WAIT).await? {
                check_end(self.cursor, log.last().await?)?;
            }
            self.cursor = page.cursor;
            self.keep(page.events);
        }
    }

    fn keep(&mut self, events: Vec<Event>) {
        let task = self.task.as_ref();
        self.read.extend(events.into_iter().filter(|event| task.is_none() || event.task_id.as_ref() == task));
    }
}
