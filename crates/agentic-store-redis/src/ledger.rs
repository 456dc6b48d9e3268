//! The port of the joint: both sides stand in one slot, so that each step is one script.

use agentic_core::{
    clock::Timestamp,
    engine::ledger,
    error::{Error, Kind, Result},
    port::{Assign, Assigned, Beat, BeatAnswer, BeatAttempt, Finish, Finished, Heard, Ledger, StartAttempt},
    task::Task,
    usage::Directive,
};
use async_trait::async_trait;

use crate::{
    allowances::{admission_args, no_room},
    args::Args,
    heartbeats::{self, heard, sign_of_life},
    reply::{Reply, named},
    rows::{Snapshot, refused, task_row},
    script,
    store::{Answer, RedisStore},
    tasks::{claim_args, ending_args, start_args},
};

/// How many attempts one step renews.
const BEATS: usize = 25;

/// What `beat.lua` takes first.
fn beat_args(beat: &Beat) -> Args {
    Args::at(beat.now).value(&beat.agent_id).maybe(beat.incarnation)
}

/// The attempts of one step, as `beat.lua` takes them.
fn named_attempts(mut args: Args, attempts: &[BeatAttempt]) -> Args {
    for BeatAttempt { job, figures } in attempts {
        args = args.value(job).value(&job.task).value(job.attempt).figures(*figures);
    }
    args
}

/// What `beat.lua` answered for each attempt of one step.
fn beaten(attempts: &[BeatAttempt], reply: &mut Reply, answers: &mut Vec<BeatAnswer>) -> Result<()> {
    for (BeatAttempt { job, .. }, mut reply) in attempts.iter().zip(reply.lists()?) {
        let directive = named(&reply.text()?)?;
        let reason = reply.text()?;
        let going_on = directive == Directive::Continue;
        answers.push(BeatAnswer {
            job: job.clone(),
            directive,
            reason: (!going_on || !reason.is_empty()).then_some(reason),
            lease_expires_at: reply.parse_maybe()?.map(Timestamp::from_millis),
            remaining_tokens: reply.parse_maybe()?,
            cost_micros: reply.parse()?,
            cost_source: reply.maybe()?.as_deref().map(named).transpose()?,
        });
    }
    Ok(())
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
        ledger::check_beat(&beat)?;
        let mut answers = Vec::with_capacity(beat.attempts.len());
        for some in beat.attempts.chunks(BEATS) {
            // Nothing of a sign of life.
            let args = beat_args(&beat).value("").value("");
            let mut reply = self.ask(&script::BEAT, named_attempts(args, some)).await?;
            beaten(some, &mut reply, &mut answers)?;
        }
        Ok(answers)
    }

    async fn heartbeat(&self, beat: Beat) -> Result<Heard> {
        ledger::check_beat(&beat)?;
        let sign = beat.sign_of_life();
        let mut answers = Vec::with_capacity(beat.attempts.len());
        let mut last = None;
        // Each step says that the agent lives, and the last one how it stands.
        for some in beat.attempts.chunks(BEATS) {
            let args = beat_args(&beat).value(sign.now).value(sign_of_life(self));
            let answer = self.run(&script::BEAT, named_attempts(args, some)).await?;
            let (agent, mut reply) = heard(answer, &sign)?;
            beaten(some, &mut reply, &mut answers)?;
            last = Some((agent, reply));
        }
        let (mut agent, mut reply) = match last {
            Some(last) => last,
            None => heartbeats::hear(self, sign).await?,
        };
        agent.set_load(reply.load()?);
        Ok(Heard { agent, answers })
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        let args = Args::at(finish.end.now).figures(finish.figures);
        self.end(&script::FINISH, ending_args(args, &finish.end)?, &finish.end).await
    }
}
