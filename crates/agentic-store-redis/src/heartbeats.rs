//! Heartbeats of agents that run nothing: those of many agents in one script.
//!
//! They are most of what a large fleet sends, and each is so little that its round trip is nearly all of its cost. So the
//! first goes at once, and those that come soon after it go together. Each is heard for itself: what refuses one does not
//! touch another, and a script that failed as a whole is repeated by whoever repeats its heartbeat, since hearing an agent
//! twice is hearing it once.

use std::{sync::Weak, time::Duration};

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    engine::agents,
    error::{Error, Kind, Result},
    port::Heartbeat,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    args::Args,
    reply::Reply,
    rows::{Snapshot, agent_row, refused},
    script,
    store::{Answer, Inner, RedisStore},
};

/// How long after one script the next one begins, which is the most that a heartbeat waits for others.
const APART: Duration = Duration::from_millis(20);

/// How many agents one script hears; the next follows a full one at once.
const MOST: usize = 100;

/// How many wait for the next script; who comes then waits for a place.
const QUEUE: usize = 1_000;

/// One heartbeat, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    heartbeat: Heartbeat,
    answer: oneshot::Sender<Result<(AgentInfo, Reply)>>,
}

/// Where heartbeats wait for the next script.
pub(crate) fn queue() -> (mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>) {
    mpsc::channel(QUEUE)
}

/// Says what waits to the server, until the store is dropped.
pub(crate) async fn follow(mut queue: mpsc::Receiver<Waiting>, store: Weak<Inner>) {
    let mut some = Vec::with_capacity(MOST);
    while queue.recv_many(&mut some, MOST).await > 0 {
        let Some(inner) = store.upgrade() else { return };
        let is_full = some.len() == MOST;
        say(&RedisStore { inner }, &mut some).await;
        if !is_full {
            tokio::time::sleep(APART).await;
        }
    }
}

/// Runs one script for all of `some`, and answers each.
async fn say(store: &RedisStore, some: &mut Vec<Waiting>) {
    // Each is heard at its own time, and the step is one of the latest.
    let now = some.iter().map(|waiting| waiting.heartbeat.now).max().unwrap_or(Timestamp::EPOCH);
    let args = Args::at(now).value(sign_of_life(store));
    let args = some.iter().fold(args, |args, Waiting { heartbeat, .. }| {
        let Heartbeat { agent_id, incarnation, now } = heartbeat;
        args.value(agent_id).maybe(*incarnation).time(*now).value(now)
    });
    let replies = match store.ask(&script::HEARTBEAT, args).await {
        Ok(mut reply) => reply.lists(),
        Err(error) => Err(error),
    };
    match replies {
        Ok(replies) => {
            for (waiting, reply) in some.drain(..).zip(replies) {
                let answer = Answer::of(reply).and_then(|answer| heard(answer, &waiting.heartbeat));
                // Who does not wait any more was heard all the same.
                drop(waiting.answer.send(answer));
            }
        }
        Err(error) => {
            for waiting in some.drain(..) {
                drop(waiting.answer.send(Err(error.clone())));
            }
        }
    }
}

/// Says that an agent lives; answers it, and the rest of the answer: its load.
pub(crate) async fn hear(store: &RedisStore, heartbeat: Heartbeat) -> Result<(AgentInfo, Reply)> {
    let gone = || Error::unavailable("redis");
    let (answer, told) = oneshot::channel();
    let waiting = async {
        let sent = store.inner.heartbeats.send(Waiting { heartbeat, answer }).await;
        sent.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    };
    // The script before it may take its time as well.
    let most = store.inner.options.command_timeout * 2;
    tokio::time::timeout(most, waiting).await.map_err(|_| gone())?
}

/// The agent of a script that heard it, and the rest of the answer.
pub(crate) fn heard(answer: Answer, heartbeat: &Heartbeat) -> Result<(AgentInfo, Reply)> {
    match answer {
        Answer::NotFound => Err(Error::not_found(Kind::Agent, &heartbeat.agent_id)),
        Answer::Refused(mut reply) => {
            let mut rows = Snapshot::of_one(&mut reply, None)?;
            Err(refused(agents::heartbeat(&mut rows, heartbeat)))
        }
        other => {
            let mut reply = other.ok()?;
            Ok((agent_row(&reply.text()?)?.info, reply))
        }
    }
}

/// Three heartbeats, in milliseconds: what a sign of life lasts.
pub(crate) fn sign_of_life(store: &RedisStore) -> u128 {
    (store.inner.options.heartbeat * 3).as_millis().max(1)
}
