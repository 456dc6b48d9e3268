//! The worker's loop: what it does with work, directives, leases, drains and a server that comes and goes.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use agentic_core::{agent::AgentSpec, allowance::UsageEvent, task::Task, usage::Directive};
use agentic_worker::{Worker, WorkerConfig, WorkerError, WorkerReport};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    fake::{Fake, task},
    guard,
};

const SECOND: Duration = Duration::from_secs(1);

/// A worker under test, in a directory of its own.
struct Bench {
    dir: TempDir,
    drain: CancellationToken,
    now: CancellationToken,
    run: JoinHandle<Result<WorkerReport, WorkerError>>,
}

impl Bench {
    fn start(fake: &Fake, script: &str, change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = AgentSpec { max_load: 2, ..AgentSpec::new("agent-1".parse().unwrap()) };
        let mut config = WorkerConfig::new(spec, ["sh", "-c", script], "http://server");
        config.workdir = Some(dir.path().to_owned());
        config.heartbeat = SECOND / 20;
        config.grace = 10 * SECOND;
        config.drain_grace = 20 * SECOND;
        change(&mut config);
        let (drain, now) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker::new(fake.clone(), config).unwrap();
        let run = tokio::spawn(worker.run(drain.clone(), now.clone()));
        Self { dir, drain, now, run }
    }

    /// A file that the command made, once it is complete (its last byte is a line's end).
    async fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        let read = async {
            loop {
                match fs::read_to_string(&path) {
                    Ok(text) if text.ends_with('\n') => return text,
                    _ => tokio::time::sleep(SECOND / 100).await,
                }
            }
        };
        timeout(20 * SECOND, read).await.unwrap_or_else(|_| panic!("{name} never came"))
    }

    async fn end(self) -> Result<WorkerReport, WorkerError> {
        timeout(20 * SECOND, self.run).await.expect("the worker ends").unwrap()
    }

    async fn drained(self) -> WorkerReport {
        self.drain.cancel();
        self.end().await.unwrap()
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie that nobody reaps is dead.
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

async fn gone(pid: &str) {
    let gone = async {
        while is_alive(pid) {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    timeout(20 * SECOND, gone).await.expect("the process ends");
}

#[tokio::test]
async fn a_task_is_started_run_and_completed() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script =
        "cat > stdin; cat $AGENTIC_TASK_FILE > file; env > env; cat $AGENTIC_CONTROL_FILE; echo done";
    let bench = Bench::start(&fake, script, |_| {});
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert!(complete.success);
    assert_eq!(
        (complete.output.as_str(), complete.attempt),
        ("{\"directive\":\"continue\"}\ndone\n", Some(1))
    );
    assert!(fake.see(|state| state.started("t-1")));
    let beat = fake.see(|state| state.beats.iter().find(|beat| !beat.attempts.is_empty()).cloned()).unwrap();
    assert_eq!((beat.incarnation, beat.attempts[0].attempt), (Some(1), 1));
    for name in ["stdin", "file"] {
        let json = bench.file(name).await;
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task("t-1"), "{name}");
    }
    let env = bench.file("env").await;
    for line in [
        "AGENTIC_TASK_ID=t-1",
        "AGENTIC_TASK_TITLE=title of t-1",
        "AGENTIC_ATTEMPT=1",
        "AGENTIC_AGENT_ID=agent-1",
        "AGENTIC_BASE_URL=http://server",
    ] {
        assert!(env.lines().any(|found| found == line), "{line} is not in {env}");
    }
    let files = env.lines().find_map(|line| line.strip_prefix("AGENTIC_REPORT_FILE=")).unwrap();
    let files = PathBuf::from(files).parent().unwrap().to_owned();
    assert_eq!(bench.drained().await, WorkerReport { completed: 1, ..WorkerReport::default() });
    assert!(!files.exists(), "the attempt's files are removed");
}

#[tokio::test]
async fn the_workers_token_stays_with_the_worker() {
    if env::var_os("AGENTIC_TOKEN").is_none() {
        // Once more, in a process that has one.
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(["--exact", "worker::the_workers_token_stays_with_the_worker"]);
        let output = again.env("AGENTIC_TOKEN", "secret").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo token=$AGENTIC_TOKEN", |_| {});
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    assert_eq!(fake.see(|state| state.completion("t-1").unwrap().output.clone()), "token=\n");
    bench.drained().await;
}

#[tokio::test]
async fn a_failure_carries_status_and_standard_error() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo out; echo broken >&2; exit 3", |_| {});
    fake.until("failed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert!(!complete.success);
    assert_eq!(complete.error_message.as_deref(), Some("the command exited with status 3\nbroken"));
    assert_eq!(bench.drained().await.failed, 1);
}

#[tokio::test]
async fn a_command_that_cannot_start_fails_the_attempt() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "", |config| config.command = vec!["/no/such/program".into()]);
    fake.until("failed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert!(complete.error_message.unwrap().contains("could not start the command"));
    bench.drained().await;
}

#[tokio::test]
async fn a_guard_changes_nothing_that_is_seen() {
    let fake = Fake::new();
    for id in ["good", "bad"] {
        fake.assign(id);
    }
    let script = "cat; echo $AGENTIC_TASK_ID; test $AGENTIC_TASK_ID = good || kill -9 $$";
    let guarded = |config: &mut WorkerConfig| config.guard = Some(vec![guard::program().into()]);
    let bench = Bench::start(&fake, script, guarded);
    fake.until("both ended", |state| state.completions.len() == 2).await;
    let (good, bad) = fake
        .see(|state| (state.completion("good").unwrap().clone(), state.completion("bad").unwrap().clone()));
    assert!(
        good.success && good.output.starts_with("{\"id\":\"good\"") && good.output.ends_with("}\ngood\n")
    );
    assert_eq!(bad.error_message.as_deref(), Some("the command exited with status 137 (signal 9)"));
    bench.drained().await;
}

#[tokio::test]
async fn usage_and_progress_are_told_while_it_runs() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = r#"
        echo '{"progress":40,"notes":"half","tokens_in":10}' >> $AGENTIC_REPORT_FILE
        until test -f go; do sleep 0.01; done
        printf '{"tokens_in":15,"tokens_out":1}' >> $AGENTIC_REPORT_FILE"#;
    let bench = Bench::start(&fake, script, |_| {});
    fake.until("usage", |state| state.reports.iter().any(|report| report.tokens_in.get() == 10)).await;
    fake.until("progress", |state| state.progress() == [40]).await;
    let report = fake.see(|state| state.reports[0].clone());
    assert_eq!((report.event, report.job_id.to_string()), (UsageEvent::JobProgress, "t-1#1".to_owned()));
    let beaten = |usage: u64| {
        move |state: &crate::fake::State| {
            let attempts = state.beats.last().map(|beat| beat.attempts.as_slice()).unwrap_or_default();
            attempts.first().and_then(|attempt| attempt.usage).is_some_and(|f| f.tokens_in.get() == usage)
        }
    };
    fake.until("usage in the heartbeat", beaten(10)).await;
    fs::write(bench.dir.path().join("go"), "").unwrap();
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    let usage = fake.see(|state| state.completion("t-1").unwrap().usage.unwrap());
    assert_eq!((usage.tokens_in.get(), usage.tokens_out.get()), (15, 1), "the last line counts");
    bench.drained().await;
}

#[tokio::test]
async fn no_more_run_at_once_than_max_load() {
    let fake = Fake::new();
    for id in ["t-1", "t-2", "t-3"] {
        fake.assign(id);
    }
    let bench = Bench::start(&fake, "until test -f go-$AGENTIC_TASK_ID; do sleep 0.01; done", |_| {});
    fake.until("two started", |state| state.assigned.len() == 1).await;
    let left = fake.see(|state| state.assigned.keys().next().unwrap().to_string());
    let (beats, polls) = fake.see(|state| (state.beats.len(), state.polls));
    fake.until("some heartbeats later", |state| state.beats.len() > beats + 4).await;
    assert!(!fake.see(|state| state.started(&left)), "{left} waits");
    assert!(fake.see(|state| state.polls) <= polls + 1, "no work is asked for that cannot be done");
    for id in ["t-1", "t-2", "t-3"] {
        fs::write(bench.dir.path().join(format!("go-{id}")), "").unwrap();
    }
    fake.until("all completed", |state| state.completions.len() == 3).await;
    assert_eq!(bench.drained().await.completed, 3);
}

#[tokio::test]
async fn wrap_up_is_passed_on() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script =
        "until grep -q wrap_up $AGENTIC_CONTROL_FILE; do sleep 0.01; done; cat $AGENTIC_CONTROL_FILE";
    let bench = Bench::start(&fake, script, |_| {});
    fake.until("started", |state| state.started("t-1")).await;
    fake.set(|state| {
        state.remaining = Some(10u32.into());
        state.directives.insert("t-1".parse().unwrap(), (Directive::WrapUp, "90 % used"));
    });
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    let told = "{\"directive\":\"wrap_up\",\"reason\":\"90 % used\",\"remaining_tokens\":10}\n";
    assert_eq!(fake.see(|state| state.completion("t-1").unwrap().output.clone()), told);
    bench.drained().await;
}

#[tokio::test]
async fn a_stop_ends_the_tree_and_fails_the_attempt() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = "trap 'cat $AGENTIC_CONTROL_FILE; exit 0' TERM; sleep 1000 & echo $! > pid; wait";
    let bench = Bench::start(&fake, script, |_| {});
    let pid = bench.file("pid").await;
    fake.set(|state| {
        state.directives.insert("t-1".parse().unwrap(), (Directive::Stop, "100 used of 100"));
    });
    fake.until("failed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert!(!complete.success, "an exit of 0 after a stop is no success");
    assert_eq!(complete.error_message.as_deref(), Some("stopped: 100 used of 100"));
    assert_eq!(complete.output, "{\"directive\":\"stop\",\"reason\":\"100 used of 100\"}\n");
    gone(&pid).await;
    assert_eq!(bench.drained().await.failed, 1);
}

#[tokio::test]
async fn the_answer_to_a_usage_report_is_obeyed() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = "until test -f go; do sleep 0.01; done
        echo '{\"tokens_in\":10}' >> $AGENTIC_REPORT_FILE; exec sleep 1000";
    // The first heartbeats bring the lease; the next is far away.
    let bench = Bench::start(&fake, script, |config| config.heartbeat = 600 * SECOND);
    fake.until("started", |state| state.started("t-1") && state.beats.iter().any(|b| !b.attempts.is_empty()))
        .await;
    fake.set(|state| {
        state.directives.insert("t-1".parse().unwrap(), (Directive::Stop, "budget"));
    });
    fs::write(bench.dir.path().join("go"), "").unwrap();
    fake.until("failed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert_eq!(complete.error_message.as_deref(), Some("stopped: budget"));
    assert_eq!(complete.usage.unwrap().tokens_in.get(), 10);
    bench.drained().await;
}

#[tokio::test]
async fn a_cancelled_task_is_ended_and_its_usage_told() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo $$ > pid; exec sleep 1000", |_| {});
    let pid = bench.file("pid").await;
    fake.set(|state| {
        state.directives.insert("t-1".parse().unwrap(), (Directive::Stop, "cancelled"));
    });
    fake.until("the place freed", |state| {
        state.reports.iter().any(|report| report.event == UsageEvent::JobCancelled)
    })
    .await;
    gone(&pid).await;
    assert!(fake.see(|state| state.completions.is_empty() && state.releases.is_empty()));
    assert_eq!(bench.drained().await.lost, 1);
}

#[tokio::test]
async fn a_lease_that_is_lost_kills_without_a_grace() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = "trap '' TERM; echo '{\"tokens_in\":7}' >> $AGENTIC_REPORT_FILE; echo $$ > pid
        while :; do sleep 1; done";
    let bench = Bench::start(&fake, script, |config| config.grace = 600 * SECOND);
    let pid = bench.file("pid").await;
    fake.until("usage", |state| !state.reports.is_empty()).await;
    fake.set(|state| {
        state.lease_secs = None;
        state.directives.insert("t-1".parse().unwrap(), (Directive::Stop, "lease_lost"));
    });
    gone(&pid).await;
    fake.until("the rest charged", |state| {
        state
            .reports
            .iter()
            .any(|report| report.event == UsageEvent::JobFailed && report.tokens_in.get() == 7)
    })
    .await;
    assert!(fake.see(|state| state.completions.is_empty() && state.releases.is_empty()));
    assert_eq!(bench.drained().await.lost, 1);
}

#[tokio::test]
async fn nothing_runs_without_a_lease() {
    let fake = Fake::new();
    fake.assign("t-1");
    fake.set(|state| state.lease_secs = Some(2));
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done";
    let bench = Bench::start(&fake, script, |config| config.grace = 600 * SECOND);
    let pid = bench.file("pid").await;
    fake.set(|state| state.away = true);
    gone(&pid).await;
    fake.until("it tried", |state| state.missed > 2).await;
    fake.set(|state| state.away = false);
    fake.until("given back unburnt", |state| state.releases.len() == 1).await;
    assert_eq!(bench.drained().await.released, 1);
}

#[tokio::test]
async fn leases_shorter_than_the_workers_heartbeat_are_renewed_in_time() {
    let fake = Fake::new();
    fake.assign("t-1");
    fake.set(|state| state.lease_secs = Some(6));
    let bench =
        Bench::start(&fake, "echo $$ > pid; exec sleep 1000", |config| config.heartbeat = 600 * SECOND);
    let pid = bench.file("pid").await;
    fake.until("more than a lease later", |state| state.beats.len() > 4).await;
    assert!(is_alive(&pid));
    bench.now.cancel();
    assert_eq!(bench.end().await.unwrap().released, 1);
}

#[tokio::test]
async fn a_lease_that_heartbeats_do_not_prolong_is_the_time_bound() {
    let fake = Fake::new();
    fake.assign("t-1");
    fake.set(|state| state.lease_secs = Some(2));
    let bench = Bench::start(&fake, "echo $$ > pid; exec sleep 1000", |config| {
        config.grace = SECOND;
        // So that no short stall is taken for silence.
        config.heartbeat = 10 * SECOND;
    });
    let pid = bench.file("pid").await;
    fake.set(|state| state.lease_secs = Some(0));
    fake.until("failed", |state| state.completion("t-1").is_some()).await;
    let complete = fake.see(|state| state.completion("t-1").unwrap().clone());
    assert_eq!(complete.error_message.as_deref(), Some("stopped: time_bound"));
    assert!(!is_alive(&pid));
    assert_eq!(bench.drained().await.failed, 1);
}

#[tokio::test]
async fn an_attempt_without_a_first_lease_is_not_run() {
    let fake = Fake::new();
    fake.set(|state| state.lease_secs = None);
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo ran > ran", |_| {});
    fake.until("started", |state| state.started("t-1") && state.beats.len() > 3).await;
    let dir = bench.dir.path().join("ran");
    assert!(!dir.exists());
    assert_eq!(fake.see(|state| state.polls), 1, "it is not asked for again");
    fake.set(|state| state.lease_secs = Some(60));
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    assert!(dir.exists());
    bench.drained().await;
}

#[tokio::test]
async fn a_result_is_kept_for_a_server_that_is_away() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo > up; until test -f go; do sleep 0.01; done; echo result", |_| {});
    bench.file("up").await;
    fake.set(|state| state.away = true);
    fs::write(bench.dir.path().join("go"), "").unwrap();
    let missed = fake.see(|state| state.missed);
    fake.until("some calls lost", |state| state.missed > missed + 6).await;
    fake.set(|state| state.away = false);
    fake.until("completed", |state| state.completion("t-1").is_some()).await;
    let beats = fake.see(|state| state.beats.len());
    fake.until("heartbeats go on", |state| state.beats.len() > beats).await;
    assert_eq!(bench.drained().await.completed, 1);
}

#[tokio::test]
async fn a_result_that_the_fence_refuses_is_let_go() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo > up; until test -f go; do sleep 0.01; done", |_| {});
    bench.file("up").await;
    fake.set(|state| state.fenced = true);
    fs::write(bench.dir.path().join("go"), "").unwrap();
    fake.until("sent", |state| state.completion("t-1").is_some()).await;
    let beats = fake.see(|state| state.beats.len());
    fake.until("some heartbeats later", |state| state.beats.len() > beats + 4).await;
    assert_eq!(fake.see(|state| state.completions.len()), 1, "once");
    assert_eq!(bench.drained().await.lost, 1);
}

#[tokio::test]
async fn a_drain_lets_what_runs_end() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo > up; until test -f go; do sleep 0.01; done", |_| {});
    bench.file("up").await;
    bench.drain.cancel();
    fake.until("drained", |state| state.drains == 1).await;
    let (beats, polls) = fake.see(|state| (state.beats.len(), state.polls));
    fake.until("heartbeats go on", |state| state.beats.len() > beats + 2).await;
    assert!(fake.see(|state| state.polls) <= polls + 1, "no more work is asked for");
    fs::write(bench.dir.path().join("go"), "").unwrap();
    assert_eq!(bench.end().await.unwrap(), WorkerReport { completed: 1, ..WorkerReport::default() });
}

#[tokio::test]
async fn a_drain_gives_back_what_did_not_start() {
    let fake = Fake::new();
    for id in ["t-1", "t-2", "t-3"] {
        fake.assign(id);
    }
    let bench = Bench::start(&fake, "echo > $AGENTIC_TASK_ID; until test -f go; do sleep 0.01; done", |_| {});
    fake.until("two started", |state| state.assigned.len() == 1).await;
    let left = fake.see(|state| state.assigned.keys().next().unwrap().clone());
    for id in ["t-1", "t-2", "t-3"].into_iter().filter(|id| *id != left.as_str()) {
        bench.file(id).await;
    }
    bench.drain.cancel();
    fake.until("given back", |state| state.releases.iter().any(|(task, _)| *task == left)).await;
    assert_eq!(fake.see(|state| state.releases[0].1.attempt), Some(1));
    fs::write(bench.dir.path().join("go"), "").unwrap();
    assert_eq!(bench.end().await.unwrap().completed, 2);
}

#[tokio::test]
async fn a_drain_gives_back_what_does_not_end_in_time() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = "echo '{\"tokens_in\":3,\"resets_at\":\"2026-03-01T17:00:00Z\"}' >> $AGENTIC_REPORT_FILE
        echo $$ > pid; exec sleep 1000";
    let bench = Bench::start(&fake, script, |config| config.drain_grace = SECOND / 2);
    let pid = bench.file("pid").await;
    fake.until("usage", |state| !state.reports.is_empty()).await;
    assert_eq!(bench.drained().await, WorkerReport { released: 1, ..WorkerReport::default() });
    assert!(!is_alive(&pid));
    let (task, release) = fake.see(|state| state.releases[0].clone());
    assert_eq!((task.as_str(), release.attempt, release.usage.unwrap().tokens_in.get()), ("t-1", Some(1), 3));
    assert_eq!(
        release.resets_at.unwrap().to_string(),
        "2026-03-01T17:00:00.000Z",
        "what its provider said goes with it"
    );
    assert!(fake.see(|state| state.completions.is_empty()));
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let fake = Fake::new();
    fake.assign("t-1");
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done";
    let slow = |config: &mut WorkerConfig| (config.grace, config.drain_grace) = (600 * SECOND, 600 * SECOND);
    let bench = Bench::start(&fake, script, slow);
    let pid = bench.file("pid").await;
    bench.drain.cancel();
    fake.until("drained", |state| state.drains == 1).await;
    bench.now.cancel();
    assert_eq!(bench.end().await.unwrap().released, 1);
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn a_drain_ends_though_the_server_is_away() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench =
        Bench::start(&fake, "echo $$ > pid; exec sleep 1000", |config| config.drain_grace = SECOND / 2);
    let pid = bench.file("pid").await;
    fake.set(|state| state.away = true);
    bench.drain.cancel();
    gone(&pid).await;
    assert_eq!(bench.end().await.unwrap().lost, 1);
}

#[tokio::test]
async fn an_agent_started_anew_elsewhere_ends_this_worker() {
    let fake = Fake::new();
    fake.assign("t-1");
    let bench = Bench::start(&fake, "echo $$ > pid; exec sleep 1000", |_| {});
    let pid = bench.file("pid").await;
    fake.set(|state| state.incarnation += 1);
    let error = bench.end().await.unwrap_err();
    assert!(matches!(error, WorkerError::Superseded(_)), "{error}");
    assert!(!is_alive(&pid));
    assert!(fake.see(|state| state.completions.is_empty() && state.releases.is_empty()));
}

#[tokio::test]
async fn a_forgotten_agent_registers_again() {
    let fake = Fake::new();
    let bench = Bench::start(&fake, "echo again", |_| {});
    fake.until("registered", |state| state.incarnation == 1).await;
    fake.set(|state| state.incarnation = 0);
    fake.until("registered again", |state| state.registrations.len() == 2).await;
    fake.assign("t-1");
    fake.until("works", |state| state.completion("t-1").is_some()).await;
    bench.drained().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_without_haste() {
    let fake = Fake::new();
    fake.set(|state| state.away = true);
    let bench = Bench::start(&fake, "echo hello", |_| {});
    fake.until("tried", |state| state.missed == 3).await;
    fake.set(|state| state.away = false);
    fake.assign("t-1");
    fake.until("works", |state| state.completion("t-1").is_some()).await;
    assert_eq!(fake.see(|state| state.registrations.len()), 1);
    bench.drained().await;
}

#[tokio::test]
async fn a_server_that_answers_at_once_is_not_asked_in_a_loop() {
    let fake = Fake::new();
    let bench = Bench::start(&fake, "true", |config| config.poll = Duration::ZERO);
    fake.until("some heartbeats", |state| state.beats.len() > 10).await;
    let (polls, beats) = fake.see(|state| (state.polls, state.beats.len()));
    assert!(polls <= beats, "{polls} polls in {beats} heartbeats");
    bench.drained().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let spec = || AgentSpec::new("a".parse().unwrap());
    let no_command = WorkerConfig::new(spec(), [] as [&str; 0], "");
    assert!(matches!(Worker::new(Fake::new(), no_command), Err(WorkerError::Config(_))));
    let mut restless = WorkerConfig::new(spec(), ["true"], "");
    restless.heartbeat = Duration::ZERO;
    assert!(matches!(Worker::new(Fake::new(), restless), Err(WorkerError::Config(_))));
}
