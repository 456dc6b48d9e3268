//! Heartbeats of agents that run nothing: those of many agents in one script.
//!
//! They are most of what a large fleet sends, and each is so little that its round trip is nearly all of its cost. So the
//! first goes at once, and those that come soon after it go together. Each is heard for itself: what refuses one does not
//! touch another, and a script that failed as a whole is repeated by whoever repeats its heartbeat, since hearing an agent
//! twice is hearing it once.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    engine::agents,
    error::{Error, Kind, Result},
    port::Heartbeat,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    args::Args,
    reply::Reply,
    rows::{Snapshot, agent_row, refused},
    script,
    store::{Answer, Inner, RedisStore},
};

/// How long after one script the next one begins: what a heartbeat waits for others.
const APART: Duration = Duration::from_millis(20);

/// How many agents one script hears; the next follows a full one at once.
const MOST: usize = 25;

/// How many scripts may be without their answer: one connection in four that is cut off must not keep the others silent.
const UNANSWERED: usize = 200;

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
    let unanswered = Arc::new(Semaphore::new(UNANSWERED));
    loop {
        // Scripts may overtake each other: the latest sign of life counts.
        let Ok(place) = Arc::clone(&unanswered).acquire_owned().await else { return };
        let mut some = Vec::with_capacity(MOST);
        if queue.recv_many(&mut some, MOST).await == 0 {
            return;
        }
        let Some(inner) = store.upgrade() else { return };
        let is_full = some.len() == MOST;
        tokio::spawn(async move {
            say(&RedisStore { inner }, some).await;
            drop(place);
        });
        if !is_full {
            tokio::time::sleep(APART).await;
        }
    }
}

/// Runs one script for all of `some`, and answers each.
async fn say(store: &RedisStore, some: Vec<Waiting>) {
    // Each is heard at its own time, and the step is one of the latest.
    let now = some.iter().map(|waiting| waiting.heartbeat.now).max().unwrap_or(Timestamp::EPOCH);
    let args = Args::at(now).value(sign_of_life(store));
    let args = some.iter().fold(args, |args, Waiting { heartbeat, .. }| {
        let Heartbeat { agent_id, incarnation, now } = heartbeat;
        args.value(agent_id).maybe(*incarnation).time(*now).value(now)
    });
    match store.ask(&script::HEARTBEAT, args).await.and_then(|mut reply| reply.lists()) {
        Ok(replies) => {
            for (waiting, reply) in some.into_iter().zip(replies) {
                let answer = Answer::of(reply).and_then(|answer| heard(answer, &waiting.heartbeat));
                // Who does not wait any more was heard all the same.
                drop(waiting.answer.send(answer));
            }
        }
        Err(error) => {
            for waiting in some {
                drop(waiting.answer.send(Err(error.clone())));
            }
        }
    }
}

/// Says that an agent lives; answers it, and the rest of the answer: its load.
pub(crate) async fn hear(store: &RedisStore, heartbeat: Heartbeat) -> Result<(AgentInfo, Reply)> {
    let inner = &store.inner;
    let (answer, told) = oneshot::channel();
    let waiting = async {
        inner.heartbeats.send(Waiting { heartbeat, answer }).await.ok()?;
        told.await.ok()
    };
    // Its script may take as long as a command; it should not wait much longer for its turn.
    let most = inner.options.command_timeout + APART * 10;
    let told = tokio::time::timeout(most, waiting).await;
    told.ok().flatten().unwrap_or_else(|| Err(inner.silent("a heartbeat was not heard in time")))
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
