//! Heartbeats with attempts: renewing, charging and directing in one step.

use std::time::Duration;

use agentic_core::{
    agent::{AgentInfo, AgentStatus},
    allowance::{CostBasis, Price},
    error::{ConflictCode, Kind},
    id::JobId,
    job::JobState,
    limit::Limit,
    port::{Assign, Beat, BeatAnswer, BeatAttempt, CancelTask, Claim, Heard, Reap},
    task::TaskStatus,
    usage::{Directive, Figures},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, invalid, not_found},
    given::{
        assign, beat, concurrent, daily_jobs, daily_tokens, dispatched, done, end, expired_until, figures,
        finish, id, job, limited, n, register, swept, t, task,
    },
};

async fn beats(fx: &Fixture, agent: &str, job: &JobId, figures: Option<Figures>, secs: i64) -> BeatAnswer {
    let mut answers = fx.ledger.beat(beat(agent, &[(job, figures)], t(secs))).await.unwrap();
    assert_eq!((answers.len(), &answers[0].job), (1, job));
    answers.remove(0)
}

async fn take(fx: &Fixture, name: &str, limits: &[Limit], ask: u32) -> JobId {
    fx.create(task(name)).await;
    let job = job(name, 1);
    fx.take(limited(assign(&job, "w", t(0)), limits, ask)).await.unwrap();
    job
}

fn told(answer: &BeatAnswer) -> (Directive, Option<&str>) {
    (answer.directive, answer.reason.as_deref())
}

/// A beat renews the lease and the reservation to the same instant, and charges what its attempts used.
pub async fn beat_renews_and_charges(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    let first = take(fx, "a", &limits, 100).await;
    let answer = beats(fx, "w", &first, Some(figures(30, 4)), 20).await;
    assert_eq!(told(&answer), (Directive::Continue, None));
    assert_eq!((answer.lease_expires_at, answer.remaining_tokens), (Some(t(80)), Some(966u32.into())));
    let task = fx.task("a", t(20)).await;
    assert_eq!((task.lease_expires_at, task.status), (Some(t(80)), TaskStatus::InProgress));
    assert_eq!(fx.job(&first).await.expires_at, t(80));
    assert_eq!(fx.used(&limits[0], t(20)).await, (34, 66));
    beats(fx, "w", &first, Some(figures(30, 4)), 21).await;
    assert_eq!(fx.used(&limits[0], t(21)).await, (34, 66), "cumulative");
    let silent = beats(fx, "w", &first, None, 22).await;
    assert_eq!((silent.lease_expires_at, silent.remaining_tokens), (Some(t(82)), Some(966u32.into())));
}

/// An answer says what the job was charged and where that comes from, also to who is stopped.
pub async fn a_beat_says_what_its_job_was_charged(fx: &Fixture) {
    fx.create(task("a")).await;
    let held = job("a", 1);
    let mut assign = assign(&held, "w", t(0));
    assign.admission.price = Some(Price::flat(n(1_000_000), n(1_000_000)));
    fx.take(assign).await.unwrap();
    let costs = |answer: BeatAnswer| (answer.cost_micros.get(), answer.cost_source);
    let (priced, reported) = (Some(CostBasis::Priced), Some(CostBasis::Reported));
    assert_eq!(costs(beats(fx, "w", &held, None, 1).await), (0, priced));
    assert_eq!(costs(beats(fx, "w", &held, Some(figures(30, 4)), 2).await), (34, priced));
    let said = Figures { cost_micros: Some(n(50)), ..figures(30, 4) };
    assert_eq!(costs(beats(fx, "w", &held, Some(said), 3).await), (50, reported));
    let (status, reason) = (TaskStatus::Cancelled, String::new());
    fx.tasks.cancel(CancelTask { task: id("a"), status, reason, now: t(4) }).await.unwrap();
    assert_eq!(costs(beats(fx, "w", &held, None, 5).await), (50, reported), "called off");
    let more = Figures { cost_micros: Some(n(60)), ..said };
    assert_eq!(costs(beats(fx, "w", &held, Some(more), 6).await), (60, reported), "and charged");
    assert_eq!(costs(beats(fx, "w", &job("nobody", 1), None, 7).await), (0, None));
    assert_eq!(costs(beats(fx, "x", &held, None, 7).await), (0, None), "another's");
}

/// From its assignment to its end, whatever its agent does and however late, an attempt's lease ends with its reservation.
pub async fn a_lease_never_outlives_its_reservation(fx: &Fixture) {
    fx.agent("w").await;
    let limits = [daily_tokens("w", 100), concurrent("w", 9)];
    for (number, silences) in [[1, 20, 59, 60], [59, 1, 75, 10], [0, 30, 61, 200]].into_iter().enumerate() {
        let (name, mut now) = (format!("a{number}"), 0);
        fx.create(task(&name)).await;
        let held = job(&name, 1);
        let assign = dispatched(limited(assign(&held, "w", t(0)), &limits, 10), 1);
        fx.take(assign).await.unwrap();
        let same = async |now: i64| {
            let (lease, held) = (fx.task(&name, t(now)).await.lease_expires_at, fx.job(&held).await);
            assert_eq!(lease, Some(held.expires_at), "{name} at {now}");
        };
        same(0).await;
        for (step, silence) in silences.into_iter().enumerate() {
            now += silence;
            if step == 0 {
                fx.start(&held, "w", t(now)).await.unwrap();
            } else {
                beats(fx, "w", &held, Some(figures(u32::try_from(step).unwrap(), 0)), now).await;
            }
            same(now).await;
        }
        accepted(fx.ledger.finish(finish(end(&held, "w", done(""), t(now)), None)).await);
        assert_eq!(fx.load("w", t(now)).await, 0);
    }
}

/// The answers come in the order of the attempts, each for itself; an empty beat is none.
pub async fn a_beat_answers_each_in_order(fx: &Fixture) {
    let first = take(fx, "a", &[], 0).await;
    let second = take(fx, "b", &[daily_tokens("w", 10)], 0).await;
    accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(1)), None)).await);
    let unknown = job("x", 1);
    let attempts = [(&second, Some(figures(9, 0))), (&unknown, None), (&first, None), (&second, None)];
    let answers = fx.ledger.beat(beat("w", &attempts, t(2))).await.unwrap();
    let told: Vec<_> = answers.iter().map(|answer| (answer.job.to_string(), answer.directive)).collect();
    let expected = [
        ("b#1", Directive::WrapUp),
        ("x#1", Directive::Stop),
        ("a#1", Directive::Stop),
        ("b#1", Directive::WrapUp),
    ];
    assert_eq!(told, expected.map(|(job, directive)| (job.to_owned(), directive)));
    assert!(fx.ledger.beat(beat("w", &[], t(2))).await.unwrap().is_empty());
}

/// A heartbeat says that the agent lives, renews and charges, and tells the agent's load after it; what refuses it changes
/// nothing.
pub async fn a_heartbeat_hears_beats_and_counts(fx: &Fixture) {
    fx.agent("w").await;
    let held = take(fx, "a", &[daily_tokens("w", 100)], 0).await;
    let heard =
        |attempts: &[(&JobId, Option<Figures>)], secs: i64| fx.ledger.heartbeat(beat("w", attempts, t(secs)));
    let of = |agent: AgentInfo| (agent.status, agent.current_load, agent.last_heartbeat);
    not_found(fx.ledger.heartbeat(beat("stranger", &[], t(1))).await, Kind::Agent, "stranger");
    for wrong in [0, 2] {
        let beat = beat("w", &[(&held, Some(figures(90, 0)))], t(1));
        let answer = fx.ledger.heartbeat(Beat { incarnation: Some(wrong), ..beat }).await;
        conflict(answer, ConflictCode::StaleIncarnation);
    }
    let many = vec![(&held, Some(figures(90, 0))); 1_001];
    invalid(heard(&many, 1).await, "attempts");
    assert_eq!(fx.agents.get(&id("w")).await.unwrap().last_heartbeat, t(0));

    fx.agents.reap(Reap { ttl: Duration::from_secs(30), limit: 10, now: t(31) }).await.unwrap();
    let Heard { agent, answers } =
        heard(&[(&held, Some(figures(50, 0))), (&job("x", 1), None)], 40).await.unwrap();
    assert_eq!(of(agent), (AgentStatus::Busy, 1, t(40)));
    let told: Vec<_> = answers.iter().map(|answer| (answer.directive, answer.remaining_tokens)).collect();
    assert_eq!(told, [(Directive::Continue, Some(50_u32.into())), (Directive::Stop, None)]);
    assert_eq!(fx.task("a", t(99)).await.lease_expires_at, Some(t(100)));
    let stored = fx.agents.get(&id("w")).await.unwrap();
    assert_eq!(of(stored), (AgentStatus::Available, 0, t(40)), "a registry knows no load");

    let Heard { agent, answers } = heard(&[], 99).await.unwrap();
    assert_eq!((of(agent), answers), ((AgentStatus::Busy, 1, t(99)), Vec::new()));
    let Heard { agent, .. } = heard(&[], 101).await.unwrap();
    assert_eq!(of(agent), (AgentStatus::Available, 0, t(101)), "its lease ran out");
    let Heard { agent, answers } = heard(&[(&held, None)], 102).await.unwrap();
    assert_eq!((of(agent), answers[0].directive), ((AgentStatus::Busy, 1, t(102)), Directive::Continue));
}

/// However many attempts one heartbeat names, each is renewed, and all count.
pub async fn a_long_heartbeat_is_whole(fx: &Fixture) {
    fx.agent("w").await;
    let mut jobs = Vec::new();
    for number in 0..60 {
        jobs.push(take(fx, &format!("t{number}"), &[], 0).await);
    }
    let attempts: Vec<_> = jobs.iter().map(|job| (job, Some(figures(1, 0)))).collect();
    let Heard { agent, answers } = fx.ledger.heartbeat(beat("w", &attempts, t(30))).await.unwrap();
    assert_eq!((agent.current_load, agent.last_heartbeat), (60, t(30)));
    let named: Vec<&JobId> = answers.iter().map(|answer| &answer.job).collect();
    assert_eq!(named, jobs.iter().collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| answer.lease_expires_at == Some(t(90))), "{answers:?}");
}

/// A beat names at most a thousand attempts.
pub async fn a_beat_is_bounded(fx: &Fixture) {
    let attempts = |count: usize| -> Vec<BeatAttempt> {
        (0..count).map(|i| BeatAttempt { job: job(&format!("t{i}"), 1), figures: None }).collect()
    };
    let beat = |count: usize| Beat { attempts: attempts(count), ..beat("w", &[], t(0)) };
    invalid(fx.ledger.beat(beat(1_001)).await, "attempts");
    assert_eq!(fx.ledger.beat(beat(1_000)).await.unwrap().len(), 1_000);
}

/// A beat is a first act: it starts what was assigned.
pub async fn a_beat_starts_its_attempts(fx: &Fixture) {
    fx.agent("w").await;
    fx.create(task("a")).await;
    let (first, limits) = (job("a", 1), [daily_jobs("w", 5)]);
    fx.take(limited(dispatched(assign(&first, "w", t(0)), 1), &limits, 0)).await.unwrap();
    for secs in [5, 6] {
        assert_eq!(beats(fx, "w", &first, None, secs).await.directive, Directive::Continue);
        assert_eq!(fx.tasks.attempt(&first).await.unwrap().unwrap().started_at, Some(t(5)));
        assert_eq!(fx.job(&first).await.started_at, Some(t(5)));
        assert_eq!(fx.used(&limits[0], t(secs)).await, (1, 0));
    }
}

/// An attempt that is not the agent's any more is told to stop, and still charged, once.
pub async fn a_lost_attempt_is_stopped_and_charged(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    let zombie = take(fx, "a", &limits, 0).await;
    accepted(fx.ledger.finish(finish(swept(&zombie, expired_until(t(70)), t(60)), None)).await);
    fx.take(assign(&job("a", 2), "x", t(70))).await.unwrap();
    for _ in 0..2 {
        let answer = beats(fx, "w", &zombie, Some(figures(30, 0)), 71).await;
        assert_eq!(told(&answer), (Directive::Stop, Some("lease_lost")));
        assert_eq!(answer.lease_expires_at, None);
        assert_eq!(fx.used(&limits[0], t(71)).await, (30, 0));
    }
    assert_eq!(fx.task("a", t(71)).await.claimed_by, Some(id("x")));
    assert!(fx.job(&zombie).await.late);
}

/// The attempt of a task that was called off is told so, and what it used meanwhile is charged.
pub async fn a_cancelled_attempt_is_told(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), concurrent("w", 1)];
    let first = take(fx, "a", &limits, 0).await;
    let status = TaskStatus::Cancelled;
    let cancel = CancelTask { task: id("a"), status, reason: "no".to_owned(), now: t(10) };
    fx.tasks.cancel(cancel).await.unwrap();
    let answer = beats(fx, "w", &first, Some(figures(8, 0)), 11).await;
    assert_eq!(told(&answer), (Directive::Stop, Some("cancelled")));
    assert_eq!(fx.used(&limits[0], t(11)).await, (8, 0));
    assert_eq!(fx.load("w", t(59)).await, 1, "its reservation lives on");
    assert_eq!(fx.load("w", t(60)).await, 0, "until the lease's end");
}

/// Nobody is renewed, told of or charged for by another agent.
pub async fn another_agents_attempt_is_left_alone(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    let first = take(fx, "a", &limits, 0).await;
    let answer = beats(fx, "x", &first, Some(figures(8, 0)), 20).await;
    assert_eq!(told(&answer), (Directive::Stop, Some("lease_lost")));
    assert_eq!(fx.used(&limits[0], t(20)).await, (0, 0));
    assert_eq!(fx.task("a", t(20)).await.lease_expires_at, Some(t(60)));
}

/// An attempt belongs to the start of the agent that began it; another start is told to stop.
pub async fn a_beat_of_another_start_is_stopped(fx: &Fixture) {
    fx.agent("w").await;
    let first = fx.assigned("a", "w").await;
    fx.start(&first, "w", t(1)).await.unwrap();
    fx.agents.register(register("w", t(2))).await.unwrap();
    let says = |incarnation: u64| {
        let beat = beat("w", &[(&first, Some(figures(3, 0)))], t(10));
        fx.ledger.beat(Beat { incarnation: Some(incarnation), ..beat })
    };
    let answer = says(2).await.unwrap().remove(0);
    assert_eq!(told(&answer), (Directive::Stop, Some("lease_lost")));
    assert_eq!(fx.task("a", t(10)).await.lease_expires_at, Some(t(60)));
    assert_eq!(fx.job(&first).await.gross(), 3u32.into(), "usage is a fact");
}

/// No lease is renewed past the attempt's deadline; at it the attempt is told to stop.
pub async fn a_lease_ends_at_the_deadline(fx: &Fixture) {
    fx.create(task("a")).await;
    let (first, whole) = (job("a", 1), assign(&job("a", 1), "w", t(0)));
    let claim = Claim { deadline: Some(t(100)), ..whole.claim };
    fx.take(Assign { claim, ..whole }).await.unwrap();
    assert_eq!(beats(fx, "w", &first, None, 30).await.lease_expires_at, Some(t(90)));
    assert_eq!(beats(fx, "w", &first, None, 60).await.lease_expires_at, Some(t(100)));
    assert_eq!(beats(fx, "w", &first, None, 99).await.lease_expires_at, Some(t(100)));
    assert_eq!(told(&beats(fx, "w", &first, None, 100).await), (Directive::Stop, Some("time_bound")));
    assert_eq!(fx.task("a", t(100)).await.lease_expires_at, Some(t(100)));
}

/// A job that used up a cap is told to stop, names it, and gets no longer lease to do it in.
pub async fn a_cap_stops_the_attempt(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    let first = take(fx, "a", &limits, 0).await;
    let wrap_up = beats(fx, "w", &first, Some(figures(90, 0)), 10).await;
    assert_eq!((wrap_up.directive, wrap_up.lease_expires_at), (Directive::WrapUp, Some(t(70))));
    assert!(wrap_up.reason.is_some());
    let stop = beats(fx, "w", &first, Some(figures(120, 0)), 20).await;
    assert_eq!((stop.directive, stop.lease_expires_at), (Directive::Stop, Some(t(70))));
    assert!(stop.reason.unwrap().contains("agent:w tokens day"));
    assert_eq!(fx.used(&limits[0], t(20)).await, (120, 0), "one report over the cap at most");
    assert_eq!(fx.task("a", t(20)).await.lease_expires_at, Some(t(70)));
    let again = beats(fx, "w", &first, None, 30).await;
    assert_eq!((again.directive, again.lease_expires_at), (Directive::Stop, Some(t(70))));
}

/// A lease that ran out and that nobody reaped is renewed, if its places can be retaken in the same step.
pub async fn a_run_out_lease_is_renewed_with_its_places(fx: &Fixture) {
    let limits = [concurrent("w", 1), daily_tokens("w", 100)];
    let first = take(fx, "a", &limits, 50).await;
    let answer = beats(fx, "w", &first, Some(figures(10, 0)), 90).await;
    assert_eq!((answer.directive, answer.lease_expires_at), (Directive::Continue, Some(t(150))));
    assert_eq!((fx.load("w", t(90)).await, fx.used(&limits[1], t(90)).await), (1, (10, 40)));
}

/// A lease whose places were given away is lost: it is not renewed without its reservation.
pub async fn a_lease_without_its_places_is_lost(fx: &Fixture) {
    let limits = [concurrent("w", 1), daily_tokens("w", 1_000)];
    let first = take(fx, "a", &limits, 0).await;
    fx.create(task("b")).await;
    fx.take(limited(assign(&job("b", 1), "w", t(60)), &limits, 0)).await.unwrap();
    let answer = beats(fx, "w", &first, Some(figures(7, 0)), 61).await;
    assert_eq!(told(&answer), (Directive::Stop, Some("lease_lost")));
    assert_eq!(fx.used(&limits[1], t(61)).await, (7, 0), "and charged all the same");
    assert_eq!(fx.load("w", t(61)).await, 1);
    assert_eq!(fx.task("a", t(61)).await.lease_expires_at, Some(t(60)));
    assert_eq!(fx.tasks.expired(t(61), 9).await.unwrap().len(), 1, "the reaper finds it");
    fx.ledger.finish(finish(end(&job("b", 1), "w", done(""), t(62)), None)).await.unwrap();
    assert_eq!(beats(fx, "w", &first, None, 63).await.lease_expires_at, Some(t(123)), "room again");
}

/// A reservation that has run out and is charged once more holds no place that another attempt of the beat retakes.
pub async fn what_ran_out_keeps_nobody_out(fx: &Fixture) {
    let cancelled = take(fx, "a", &[], 0).await;
    let reason = String::new();
    let cancel = CancelTask { task: id("a"), status: TaskStatus::Cancelled, reason, now: t(1) };
    fx.tasks.cancel(cancel).await.unwrap();
    fx.create(task("b")).await;
    let second = job("b", 1);
    fx.take(limited(assign(&second, "w", t(61)), &[concurrent("w", 1)], 0)).await.unwrap();
    let attempts = [(&cancelled, Some(figures(1, 1))), (&second, None)];
    let answers = fx.ledger.beat(beat("w", &attempts, t(130))).await.unwrap();
    assert_eq!(told(&answers[0]), (Directive::Stop, Some("cancelled")));
    assert_eq!(told(&answers[1]), (Directive::Continue, None));
    assert_eq!(fx.load("w", t(130)).await, 1);
}

/// What was assigned and ran out unstarted is over for its agent: neither a start nor a beat brings it back.
pub async fn a_beat_too_late_to_start_is_stopped(fx: &Fixture) {
    fx.agent("w").await;
    let limits = [daily_jobs("w", 5), daily_tokens("w", 100)];
    fx.create(task("a")).await;
    let first = job("a", 1);
    fx.take(limited(dispatched(assign(&first, "w", t(0)), 1), &limits, 10)).await.unwrap();
    assert_eq!(told(&beats(fx, "w", &first, None, 60).await), (Directive::Stop, Some("lease_lost")));
    assert_eq!(fx.task("a", t(60)).await.lease_expires_at, Some(t(60)));
    assert_eq!(fx.job(&first).await.state, JobState::Reserved);
    assert_eq!((fx.used(&limits[0], t(60)).await, fx.used(&limits[1], t(60)).await), ((0, 0), (0, 0)));
    conflict(fx.start(&first, "w", t(60)).await, ConflictCode::LeaseLost);
}

/// A beat does not bring back the job of an attempt whose lease was renewed without its reservation.
pub async fn a_lease_alone_is_not_enough(fx: &Fixture) {
    fx.agent("w").await;
    let first = fx.assigned("a", "w").await;
    let (job, agent_id) = (first.clone(), id("w"));
    let renew = agentic_core::port::Renew { job, agent_id, expires_at: t(200), now: t(50) };
    fx.tasks.renew(renew).await.unwrap();
    assert_eq!(told(&beats(fx, "w", &first, None, 100).await), (Directive::Stop, Some("lease_lost")));
    assert_eq!((fx.job(&first).await.state, fx.load("w", t(100)).await), (JobState::Reserved, 0));
}

/// Who reports usage has started, even where the lease ran out before: the job counts, and is charged.
pub async fn what_was_used_has_started(fx: &Fixture) {
    fx.agent("w").await;
    let limits = [daily_jobs("w", 5), daily_tokens("w", 100)];
    fx.create(task("a")).await;
    let first = job("a", 1);
    fx.take(limited(dispatched(assign(&first, "w", t(0)), 1), &limits, 10)).await.unwrap();
    for _ in 0..2 {
        let answer = beats(fx, "w", &first, Some(figures(9, 0)), 60).await;
        assert_eq!(answer.directive, Directive::Stop);
        assert_eq!((fx.used(&limits[0], t(60)).await, fx.used(&limits[1], t(60)).await), ((1, 0), (9, 0)));
    }
    assert_eq!(fx.job(&first).await.state, JobState::Started);
}

/// One attempt named twice in a beat is charged and renewed once.
pub async fn an_attempt_named_twice_is_one(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    let first = take(fx, "a", &limits, 0).await;
    let twice = [(&first, Some(figures(10, 0))), (&first, Some(figures(10, 0)))];
    let answers = fx.ledger.beat(beat("w", &twice, t(5))).await.unwrap();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(fx.used(&limits[0], t(5)).await, (10, 0));
}

/// An attempt that has run out and belongs to an earlier start of the agent is charged what it used, and takes no place
/// from the next one in the same beat.
pub async fn what_has_run_out_holds_nothing_when_it_is_charged(fx: &Fixture) {
    let limits = [concurrent("w", 1), daily_tokens("w", 1_000)];
    let mut jobs = Vec::new();
    for (start, name, secs) in [(1, "a", 0), (2, "b", 61)] {
        fx.agents.register(register("w", t(secs))).await.unwrap();
        fx.create(task(name)).await;
        let job = job(name, 1);
        let taken = assign(&job, "w", t(secs));
        fx.take(dispatched(limited(taken, &limits, 50), start)).await.unwrap();
        let first = Beat { incarnation: Some(start), ..beat("w", &[(&job, None)], t(secs)) };
        assert_eq!(fx.ledger.beat(first).await.unwrap()[0].directive, Directive::Continue);
        jobs.push(job);
    }
    let attempts = [(&jobs[0], Some(figures(7, 0))), (&jobs[1], None)];
    let both = Beat { incarnation: Some(2), ..beat("w", &attempts, t(130)) };
    let answers = fx.ledger.beat(both).await.unwrap();
    assert_eq!(told(&answers[0]), (Directive::Stop, Some("lease_lost")));
    assert_eq!(told(&answers[1]), (Directive::Continue, None), "its place is free");
    assert_eq!(fx.used(&limits[1], t(130)).await, (7, 50));
    assert_eq!(fx.used(&limits[0], t(130)).await, (0, 1));
}
