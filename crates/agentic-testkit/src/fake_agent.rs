//! Agents that follow a script, for scenarios with a dispatcher.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use agentic_core::{
    agent::AgentSpec,
    attempt::{Ending, Next},
    backoff::Backoff,
    clock::Timestamp,
    error::{Error, Result},
    id::{AgentId, JobId},
    port::{Beat, BeatAttempt, EndAttempt, Finish, Finished, Heard, Ports, Register, StartAttempt},
    task::{Task, TaskResult},
    usage::{Directive, Figures},
};

/// What an agent does with an attempt in one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Works on, and has used so much since it began.
    Use(Figures),
    /// Completes it.
    Complete,
    /// Fails it.
    Fail,
    /// Gives it back.
    Release,
    /// Says nothing more about it: its lease runs out.
    Forget,
}

/// How an attempt came to an end, as its agent sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// Its ending was accepted.
    Ended(Act),
    /// Its ending came too late.
    Late(Act),
    /// It was told to stop, for this reason.
    Stopped(String),
}

type Script = dyn Fn(&Task) -> Vec<Act> + Send + Sync;

/// One start of an agent that works through the ports, one [`FakeAgent::step`] a heartbeat.
///
/// It does what a worker does: says that it lives, names its attempts with their usage, obeys directives, starts
/// what was assigned to it, and ends what it has. What was `Unavailable` is repeated in the next step.
pub struct FakeAgent {
    ports: Ports,
    id: AgentId,
    incarnation: u64,
    script: Box<Script>,
    running: BTreeMap<JobId, Running>,
    left: Vec<(JobId, Left)>,
}

struct Running {
    task: Task,
    /// Its start was answered.
    begun: bool,
    acts: VecDeque<Act>,
    figures: Figures,
    /// It follows its script no more; only its end is still to be told.
    stopped: Option<String>,
}

impl FakeAgent {
    /// Registers the next start of an agent; `script` says what it does with a task, one act a step. A script that
    /// ends without an ending completes.
    ///
    /// # Errors
    /// As [`agentic_core::port::AgentRegistry::register`].
    pub async fn register(
        ports: &Ports,
        agent: AgentSpec,
        script: impl Fn(&Task) -> Vec<Act> + Send + Sync + 'static,
        now: Timestamp,
    ) -> Result<Self> {
        let id = agent.id.clone();
        let incarnation = ports.agents.register(Register { agent, now }).await?.incarnation;
        let script = Box::new(script);
        Ok(Self { ports: ports.clone(), id, incarnation, script, running: BTreeMap::new(), left: Vec::new() })
    }

    /// Its id.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// The attempts that it runs.
    pub fn running(&self) -> impl Iterator<Item = &JobId> {
        self.running.keys()
    }

    /// The attempts that came to an end, in order.
    pub fn left(&self) -> &[(JobId, Left)] {
        &self.left
    }

    /// One heartbeat: says that it lives, obeys, takes up what was assigned, and does one act of each attempt.
    ///
    /// # Errors
    /// What no later step can mend: everything but `Unavailable`, and the conflicts of attempts that it lost.
    pub async fn step(&mut self, now: Timestamp) -> Result<()> {
        if !self.beat(now).await? {
            return Ok(());
        }
        self.take_up(now).await?;
        for job in self.running.keys().cloned().collect::<Vec<_>>() {
            self.act(&job, now).await?;
        }
        Ok(())
    }

    /// Says that it lives, renews and reports what runs, and notes what is to stop; answers whether it was heard.
    async fn beat(&mut self, now: Timestamp) -> Result<bool> {
        let named =
            self.running.iter().filter(|(_, run)| run.begun && run.acts.front() != Some(&Act::Forget));
        let attempts: Vec<_> =
            named.map(|(job, run)| BeatAttempt { job: job.clone(), figures: Some(run.figures) }).collect();
        let (agent_id, incarnation) = (self.id.clone(), Some(self.incarnation));
        let beat = Beat { agent_id, incarnation, attempts, now };
        let Some(Heard { answers, .. }) = mended(self.ports.ledger.heartbeat(beat).await)? else {
            return Ok(false);
        };
        for answer in answers {
            let stops = answer.directive == Directive::Stop;
            if let Some(run) = self.running.get_mut(&answer.job).filter(|_| stops) {
                run.stopped.get_or_insert(answer.reason.unwrap_or_default());
            }
        }
        Ok(true)
    }

    /// Takes up what was assigned to this start of the agent.
    async fn take_up(&mut self, now: Timestamp) -> Result<()> {
        let assigned = self.ports.tasks.assigned(&self.id, self.incarnation, 100).await;
        for task in mended(assigned)?.unwrap_or_default() {
            let job = JobId::new(task.id.clone(), task.attempt);
            self.running.entry(job).or_insert_with(|| Running {
                acts: (self.script)(&task).into(),
                task,
                begun: false,
                figures: Figures::default(),
                stopped: None,
            });
        }
        for job in self.running.keys().cloned().collect::<Vec<_>>() {
            self.begin(&job, now).await?;
        }
        Ok(())
    }

    /// Starts an attempt whose start was not answered yet; one that was lost before is dropped.
    async fn begin(&mut self, job: &JobId, now: Timestamp) -> Result<()> {
        let Some(run) = self.running.get_mut(job).filter(|run| !run.begun) else { return Ok(()) };
        let (agent_id, incarnation) = (Some(self.id.clone()), Some(self.incarnation));
        let start = StartAttempt { job: job.clone(), agent_id, incarnation, now };
        match self.ports.ledger.start(start).await {
            Ok(_) => run.begun = true,
            Err(Error::Conflict { .. }) => drop(self.running.remove(job)),
            Err(error) => drop(mended(Err::<Task, _>(error))?),
        }
        Ok(())
    }

    /// Does the next act of an attempt, or tells the end of one that was stopped.
    async fn act(&mut self, job: &JobId, now: Timestamp) -> Result<()> {
        let Some(run) = self.running.get_mut(job).filter(|run| run.begun) else { return Ok(()) };
        let act = match &run.stopped {
            Some(_) => Act::Fail,
            None => run.acts.front().cloned().unwrap_or(Act::Complete),
        };
        let ending = match &act {
            Act::Use(figures) => {
                run.figures = run.figures.highest(*figures);
                run.acts.pop_front();
                return Ok(());
            }
            Act::Forget => return Ok(()),
            Act::Complete => Ending::Completed(TaskResult { success: true, ..TaskResult::default() }),
            Act::Fail => {
                let error = run.stopped.clone().unwrap_or_else(|| "the script says so".to_owned());
                Ending::Failed { error, next: next(&run.task, now) }
            }
            Act::Release => Ending::Released { reason: "the script says so".to_owned() },
        };
        let (task, agent_id) = (job.task.clone(), Some(self.id.clone()));
        let end = EndAttempt { task, attempt: Some(job.attempt), agent_id, ending, now };
        let late = match self.ports.ledger.finish(Finish { end, figures: Some(run.figures) }).await {
            Ok(Finished::Accepted(_)) => false,
            Ok(Finished::Late { .. }) | Err(Error::Conflict { .. }) => true,
            Err(error) => return mended(Err::<(), _>(error)).map(drop),
        };
        let run = self.running.remove(job);
        let left = match run.and_then(|run| run.stopped) {
            Some(reason) => Left::Stopped(reason),
            None if late => Left::Late(act),
            None => Left::Ended(act),
        };
        self.left.push((job.clone(), left));
        Ok(())
    }
}

/// What follows a failure, without jitter.
fn next(task: &Task, now: Timestamp) -> Next {
    if task.retry_count < task.max_retries {
        Next::RetryAt(now.plus(Backoff::default().after(task.retry_count + 1)))
    } else {
        Next::DeadLetter
    }
}

/// The answer, or `None` for what is repeated in the next step.
fn mended<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_retryable() => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for FakeAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeAgent")
            .field("id", &self.id)
            .field("incarnation", &self.incarnation)
            .field("running", &self.running.keys())
            .finish_non_exhaustive()
    }
}
