//! The port of the joint: both sides stand in one slot, so that each step is one script.

use agentic_core::{
    clock::Timestamp,
    engine::ledger,
    error::{Error, Kind, Result},
    id::JobId,
    port::{Assign, Assigned, Beat, BeatAnswer, Finish, Finished, Ledger, StartAttempt},
    task::Task,
    usage::Directive,
};
use async_trait::async_trait;

use crate::{
    allowances::{admission_args, no_room},
    args::Args,
    reply::{Reply, named},
    rows::{Snapshot, refused, task_row},
    script,
    store::{Answer, RedisStore},
    tasks::{claim_args, ending_args, start_args},
};

/// How many attempts one step renews.
const BEATS: usize = 25;

/// The answer of `beat.lua` for one attempt.
fn beaten(job: JobId, reply: &mut Reply) -> Result<BeatAnswer> {
    let directive = named(&reply.text()?)?;
    let reason = reply.text()?;
    let going_on = directive == Directive::Continue;
    Ok(BeatAnswer {
        job,
        directive,
        reason: (!going_on || !reason.is_empty()).then_some(reason),
        lease_expires_at: reply.parse_maybe()?.map(Timestamp::from_millis),
        remaining_tokens: reply.parse_maybe()?,
        cost_micros: reply.parse()?,
        cost_source: reply.maybe()?.as_deref().map(named).transpose()?,
    })
}

#[async_trait]
impl Ledger for RedisStore {
    async fn assign(&self, assign: Assign) -> Result<Assigned> {
        let Assign { claim, admission } = &assign;
        if claim.job != admission.job
            || claim.agent_id != admission.agent_id
            || claim.expires_at != admission.expires_at
        {
            return ledger::assign(&mut Snapshot::default(), &assign);
        }
        let args = admission_args(claim_args(Args::at(claim.now), claim), admission)?;
        match self.run(&script::ASSIGN, args).await? {
            Answer::NotFound => Err(Error::not_found(Kind::Task, &claim.job.task)),
            Answer::Full(reply) => Err(no_room(reply)?),
            Answer::Refused(mut reply) => {
                let mut rows = Snapshot::of_one(&mut reply, None)?;
                Err(refused(ledger::assign(&mut rows, &assign)))
            }
            other => Ok(Assigned { task: task_row(&other.ok()?.cells()?)?.task }),
        }
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        let args = start_args(Args::at(start.now), &start);
        self.step(&script::START, args, &start.job.task, |rows| ledger::start(rows, &start)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>> {
        if beat.attempts.len() > ledger::MAX_BEAT {
            return ledger::beat(&mut Snapshot::default(), &beat);
        }
        let mut answers = Vec::with_capacity(beat.attempts.len());
        for some in beat.attempts.chunks(BEATS) {
            let mut args = Args::at(beat.now).value(&beat.agent_id).maybe(beat.incarnation);
            for attempt in some {
                args = args.value(&attempt.job).value(&attempt.job.task).value(attempt.job.attempt);
                args = args.figures(attempt.figures);
            }
            let replies = self.ask(&script::BEAT, args).await?.lists()?;
            for (attempt, mut reply) in some.iter().zip(replies) {
                answers.push(beaten(attempt.job.clone(), &mut reply)?);
            }
        }
        Ok(answers)
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        let args = Args::at(finish.end.now).figures(finish.figures);
        self.end(&script::FINISH, ending_args(args, &finish.end)?, &finish.end).await
    }
}
