//! What is read or done in many steps comes to what one step would come to.

use agentic_core::{
    limit::{Limit, Meter, Scope, Window},
    port::CancelTask,
    task::{Page, TaskFilter, TaskStatus},
};
use agentic_testkit::{
    Fixture,
    fixture::at_once,
    given::{
        admission, after, asking, concurrent, done, end, figures, finish, id, job, report, start_job, t, task,
    },
};

use crate::{
    promises::calls_of,
    server::{Server, connect, options},
};

/// More meters than one step reads.
const METERS: u32 = 600;

fn meters() -> Vec<Limit> {
    let of = |number: u32| Scope::Project(id(&format!("p{number:03}")));
    (0..METERS).map(|number| Limit::new(of(number), Meter::Tokens, Window::Day, None)).collect()
}

/// Has a job move every meter.
async fn spend(allowances: &dyn agentic_core::port::AllowanceStore, name: &str, at: i64) {
    let job = job(name, 1);
    allowances.admit(asking(admission(&job, "w", t(at)), &meters(), 0)).await.unwrap();
    allowances.start(start_job(&job, t(at))).await.unwrap();
    allowances.report(report(&job, "w", figures(1, 0), t(at))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_is_true_while_others_write() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options().prefix("v")).await.ports());
    let field = |number: usize| format!("{} {}", meters()[number].key, Window::Day.bucket(t(0)));
    let fx = &fx;
    let writers = |round: usize| {
        let allowances = fx.allowances.clone();
        at_once(2, move |part| {
            let allowances = allowances.clone();
            async move {
                for number in 0..25 {
                    spend(&*allowances, &format!("t{round}-{part}-{number}"), 0).await;
                }
            }
        })
    };
    let verified = async |round: usize| {
        let mut writers = std::pin::pin!(writers(round));
        let (mut answers, mut verifying) = (Vec::new(), fx.allowances.verify());
        loop {
            tokio::select! {
                _ = &mut writers => break,
                verified = &mut verifying => answers.push(verified),
            }
            verifying = fx.allowances.verify();
        }
        // One that began while others wrote; so there is an answer always.
        answers.push(verifying.await);
        answers
    };
    spend(&*fx.allowances, "first", 0).await;
    for answer in verified(0).await {
        assert_eq!(answer.unwrap(), [], "meters that move differ from nothing");
    }

    // What differs is found, whoever writes.
    server.command("HINCRBY", &["v:meters", &field(7), "5"]).await;
    server.command("HSET", &["v:meters", "fleet jobs lifetime 0", "3"]).await;
    for answer in verified(1).await {
        let found = answer.unwrap();
        let apart: Vec<i64> = found.iter().map(|found| found.meter - found.entries).collect();
        assert_eq!(apart, [5, 3], "{found:?}");
    }
    server.command("HDEL", &["v:meters", &field(9), "fleet jobs lifetime 0"]).await;
    server.command("HINCRBY", &["v:meters", &field(7), "-5"]).await;
    let found = fx.allowances.verify().await.unwrap();
    assert_eq!(
        found.iter().map(|found| (&found.key, found.meter)).collect::<Vec<_>>(),
        [(&meters()[9].key, 0)]
    );
    server.command("HSET", &["v:meters", &field(9), &found[0].entries.to_string()]).await;

    // What is folded meanwhile is no difference.
    let log = fx.events.clone();
    let folds = tokio::spawn(async move {
        for _ in 0..40 {
            log.trim(t(1), 3).await.unwrap();
        }
    });
    for answer in verified(2).await {
        match answer {
            Ok(found) => assert_eq!(found, []),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    folds.await.unwrap();
    assert_eq!(fx.allowances.verify().await.unwrap(), []);
}

/// Of tasks that name many others, few are read in one step.
#[tokio::test]
async fn a_page_of_heavy_tasks_is_read_whole() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    let parents = ["a", "b", "c", "d"];
    fx.create_all(parents.map(task).to_vec(), t(0)).await;
    let children = (0..1_000).map(|number| after(&format!("child-{number}"), &parents)).collect();
    fx.create_all(children, t(1)).await;
    let pending = TaskFilter { status: Some(TaskStatus::Pending), ..TaskFilter::default() };
    let page = fx.tasks.list(&pending, &Page::first(10), t(2)).await.unwrap();
    let found: Vec<_> = page.iter().map(|task| (task.id.as_str(), task.blockers.len())).collect();
    assert_eq!(found, parents.map(|name| (name, 1_000)));
}

/// A task that has more attempts than one step deletes goes with the last of them.
#[tokio::test]
async fn many_attempts_are_pruned_in_steps() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options().prefix("p")).await.ports());
    let ended = fx.running("t", "w").await;
    fx.ledger.finish(finish(end(&ended, "w", done(""), t(1)), None)).await.unwrap();
    for name in ["u", "v"] {
        fx.create(task(name)).await;
        let status = TaskStatus::Cancelled;
        let cancel = CancelTask { task: id(name), status, reason: String::new(), now: t(1) };
        fx.tasks.cancel(cancel).await.unwrap();
    }
    // As if it had been given back so often.
    server.command("HSET", &["p:task:t", "attempt", "2001"]).await;
    server.command("HSET", &["p:attempt:t#2001", "agent_id", "w"]).await;
    for (deleted, gone) in [(2, "1000"), (0, "2000")] {
        assert_eq!(fx.tasks.prune(t(9), 10, t(99)).await.unwrap(), deleted);
        let cell = server.command("HGET", &["p:task:t", "attempts_gone"]).await;
        assert_eq!(cell.into_string().as_deref(), Some(gone));
        assert_eq!(server.command("EXISTS", &["p:attempt:t#1"]).await.as_i64(), Some(0));
        assert_eq!(server.command("EXISTS", &["p:attempt:t#2001"]).await.as_i64(), Some(1));
    }
    assert_eq!(fx.tasks.prune(t(9), 10, t(99)).await.unwrap(), 1);
    for key in ["p:task:t", "p:attempt:t#2001", "p:history:t"] {
        assert_eq!(server.command("EXISTS", &[key]).await.as_i64(), Some(0), "{key}");
    }
}

/// What a clock that is ahead saw run out is counted again, once, when it has gone back.
#[tokio::test]
async fn a_clock_that_goes_back_has_each_reservation_looked_at_once() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    let (first, many) = (t(1), 450);
    for number in 0..many {
        fx.admit(&job(&format!("t{number}"), 1), &[concurrent("w", 1_000)], 1, first).await.unwrap();
    }
    assert_eq!(fx.load("w", t(86_400)).await, 0, "all ran out");
    assert_eq!(fx.load("w", first).await, many, "none has");
    let before = calls_of(&server, "hgetall").await;
    assert_eq!(fx.load("w", first).await, many);
    assert_eq!(calls_of(&server, "hgetall").await, before);
    assert_eq!(fx.load("w", t(86_400)).await, 0);
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}
