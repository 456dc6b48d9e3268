//! The port of the event log.

use std::time::Duration;

use agentic_core::{
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{EventId, NewEvent},
    port::{Append, EventLog, EventPage},
};
use async_trait::async_trait;
use tokio::time::timeout;

use crate::{
    args::Args,
    error::unreadable,
    follower,
    reply::misshapen,
    rows::event,
    script,
    store::{Answer, RedisStore},
};

/// How many events one step reads.
const PAGE: usize = 250;

/// How many entries of the ledger one step folds, and how many buckets it takes out that were folded before.
const FOLD: usize = 100;

/// An event for `append` of `scripts/lib/events.lua`.
pub(crate) fn new_event(args: Args, event: &NewEvent) -> Result<Args> {
    let args = args
        .value(event.kind)
        .maybe(event.task_id.as_ref())
        .maybe(event.agent_id.as_ref())
        .time(event.timestamp);
    match &event.payload {
        Some(payload) => args.json(payload),
        None => Ok(args.value("")),
    }
}

#[async_trait]
impl EventLog for RedisStore {
    async fn append(&self, append: Append) -> Result<()> {
        let Append { events, mark } = append;
        let args = match &mark {
            Some(mark) => Args::timeless().value(&mark.key).text(mark.from.as_deref()).text(Some(&mark.to)),
            None => Args::timeless().value("").value("").value(""),
        };
        let args = events.iter().try_fold(args, new_event)?;
        match (self.run(&script::APPEND, args).await?, mark) {
            (Answer::Said(mut stands), Some(mark)) => {
                mark.check(stands.maybe_text()?.as_deref())?;
                Err(misshapen("it refused a mark that stands where it was believed"))
            }
            (other, _) => other.ok().map(drop),
        }
    }

    async fn after(&self, cursor: EventId, limit: usize) -> Result<EventPage> {
        let mut page = EventPage { cursor, events: Vec::new() };
        loop {
            let step = PAGE.min(limit - page.events.len());
            match self.run(&script::AFTER, Args::timeless().value(page.cursor).value(step)).await? {
                // What was read before it was trimmed is a page.
                Answer::Said(_) if !page.events.is_empty() => return Ok(page),
                Answer::Said(mut reply) => {
                    let detail =
                        format!("events up to {} were trimmed; start again from there", reply.text()?);
                    return Err(Error::conflict(ConflictCode::CursorTrimmed, detail));
                }
                other => {
                    let found = other.ok()?.lists()?;
                    let more = found.len() == step;
                    for entry in found {
                        page.events.push(event(entry)?);
                    }
                    page.cursor = page.events.last().map_or(cursor, |event| event.id);
                    if !more || page.events.len() == limit {
                        return Ok(page);
                    }
                }
            }
        }
    }

    async fn last(&self) -> Result<EventId> {
        let text = self.command("GET", "event:last", &[]).await?.into_string();
        text.map_or(Ok(0), |text| text.parse().map_err(unreadable))
    }

    /// One connection a process waits on the log itself, so that an event of any server wakes at once.
    async fn wait(&self, cursor: EventId, patience: Duration) -> Result<bool> {
        let mut newest = self.inner.newest.subscribe();
        if *newest.borrow_and_update() > cursor {
            return Ok(true);
        }
        follower::ensure(&self.inner);
        if timeout(patience, newest.wait_for(|newest| *newest > cursor)).await.is_ok() {
            return Ok(true);
        }
        Ok(self.last().await? > cursor)
    }

    async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let mut trimmed = 0;
        loop {
            let step = PAGE.min(limit - trimmed);
            let args = Args::timeless().time(before).value(step);
            let found = self.ask(&script::TRIM, args).await?.parse::<usize>()?;
            trimmed += found;
            if found < step || trimmed == limit {
                break;
            }
        }
        // The ledger is kept as long as the log.
        let (mut folded, mut more) = (0, true);
        loop {
            let step = if more { FOLD.min(limit - folded) } else { 0 };
            let args = Args::timeless().time(before).value(step).value(FOLD);
            let mut reply = self.ask(&script::FOLD, args).await?;
            let (some, over) = (reply.parse::<usize>()?, reply.parse::<usize>()?);
            folded += some;
            more = more && some == step && folded < limit;
            if !more && over < FOLD {
                break;
            }
        }
        let mut forgotten = 0;
        while forgotten < limit {
            let step = PAGE.min(limit - forgotten);
            let args = Args::timeless().time(before).value(step);
            let seen = self.ask(&script::FORGET_JOBS, args).await?.parse::<usize>()?;
            forgotten += seen;
            if seen < step {
                break;
            }
        }
        Ok(trimmed.max(folded).max(forgotten))
    }
}
