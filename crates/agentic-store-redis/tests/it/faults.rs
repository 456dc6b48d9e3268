//! What happens when the server goes away, forgets its scripts, or cannot write.

use std::{error::Error as _, io::Write, net::TcpStream, time::Duration};

use agentic_core::{
    error::Error,
    port::CancelTask,
    task::{NewTask, Page, TaskCursor, TaskFilter, TaskStatus},
};
use agentic_testkit::{
    Fixture,
    given::{after, create, done, end, figures, finish, id, t, task},
};

use crate::server::{Server, connect, options};

/// Creates tasks, whose names begin with `name`, until the server takes one again.
pub(crate) async fn until_it_is_back(fx: &Fixture, name: &str) {
    for attempt in 0..2_400 {
        let create = create(vec![task(&format!("{name}-{attempt}"))], t(0));
        match fx.tasks.create_many(create).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the server does not come back");
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    for name in ["a", "b"] {
        fx.create(task(name)).await;
        server.command("SCRIPT", &["FLUSH"]).await;
    }
    assert_eq!(fx.tasks.counts().await.unwrap()[&TaskStatus::Pending], 2);
}

#[tokio::test]
async fn a_stopped_server_is_unavailable_and_goes_on() {
    let server = Server::start(&[]);
    let options = options();
    let fx = Fixture::new(connect(&server.url, options.clone()).await.ports());
    let hasty = options.command_timeout(Duration::from_millis(300));
    let hasty = Fixture::new(connect(&server.url, hasty).await.ports());
    fx.create(task("a")).await;
    server.signal("STOP");
    let refused = hasty.tasks.counts().await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    server.signal("CONT");
    until_it_is_back(&hasty, "b").await;
    fx.check().await;
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_it_acknowledged() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = connect(&server.url, options()).await;
    let fx = Fixture::new(store.ports());
    for name in ["a", "b", "c"] {
        fx.create(task(name)).await;
    }
    // Somebody follows the log all the time.
    let log = fx.events.clone();
    let waits = tokio::spawn(async move { log.wait(3, Duration::from_secs(30)).await });
    server.restart();
    until_it_is_back(&fx, "d").await;
    assert_eq!(fx.tasks.counts().await.unwrap()[&TaskStatus::Pending], 4);
    assert!(waits.await.unwrap().unwrap());
    let log = fx.events.clone();
    let last = log.last().await.unwrap();
    let waits = tokio::spawn(async move { log.wait(last, Duration::from_secs(30)).await });
    fx.create(task("e")).await;
    assert!(waits.await.unwrap().unwrap());
    fx.check().await;
}

#[tokio::test]
async fn killed_clients_connect_again() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.create(task("a")).await;
    server.command("CLIENT", &["KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    until_it_is_back(&fx, "b").await;
}

#[tokio::test]
async fn a_password_that_was_changed_is_told() {
    let mut server = Server::start(&["--requirepass", "first"]);
    let url = |password: &str, port: u16| format!("redis://:{password}@127.0.0.1:{port}/0");
    server.url = url("first", server.port);
    let patience = Duration::from_millis(300);
    let fx = Fixture::new(connect(&server.url, options().command_timeout(patience)).await.ports());
    server.command("CONFIG", &["SET", "requirepass", "second"]).await;
    server.url = url("second", server.port);
    server.command("CLIENT", &["KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let mut last = None;
    for _ in 0..400 {
        if let Err(error) = fx.tasks.counts().await {
            assert!(error.is_retryable(), "{error:?}");
            if error.source().is_some_and(|why| why.to_string().contains("WRONGPASS")) {
                return;
            }
            last = Some(error);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nobody is told why: {last:?}");
}

#[tokio::test]
async fn a_full_server_changes_nothing_and_says_so() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.create(task("a")).await;
    server.command("CONFIG", &["SET", "maxmemory", "1mb"]).await;
    let create = create(vec![task("b")], t(0));
    let refused = fx.tasks.create_many(create).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable { .. }), "{refused:?}");
    assert_eq!(fx.tasks.counts().await.unwrap()[&TaskStatus::Pending], 1, "reads go on");
    server.command("CONFIG", &["SET", "maxmemory", "0"]).await;
    until_it_is_back(&fx, "c").await;
    fx.check().await;
}

/// A snapshot fails, since its directory is gone.
#[tokio::test]
async fn a_server_that_cannot_write_says_so() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.create(task("a")).await;
    server.command("CONFIG", &["SET", "save", "3600 1"]).await;
    std::fs::remove_dir_all(server.dir()).unwrap();
    server.command("BGSAVE", &[]).await;
    let mut refused = None;
    for attempt in 0..6_000 {
        let create = create(vec![task(&format!("b-{attempt}"))], t(0));
        refused = fx.tasks.create_many(create).await.err();
        if refused.is_some() {
            break;
        }
        // The server notices a tenth of a second later that its child has failed, or more.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = refused.unwrap();
    assert_eq!(refused.to_string(), "redis, which cannot write to its disk (MISCONF), is unavailable");
    fx.tasks.counts().await.expect("reads go on");
    // A new connection would be told the same.
    TcpStream::connect(("127.0.0.1", server.port)).unwrap().write_all(b"CONFIG SET save \"\"\r\n").unwrap();
    until_it_is_back(&fx, "c").await;
    fx.check().await;
}

#[tokio::test]
async fn a_busy_server_says_so_and_goes_on() {
    let server = Server::start(&["--lua-time-limit", "1"]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    fx.create(task("a")).await;
    let asks = async {
        let refused = loop {
            if let Err(refused) = fx.tasks.counts().await {
                break refused.to_string();
            }
        };
        // A client that connects properly would be told that the server is busy.
        TcpStream::connect(("127.0.0.1", server.port)).unwrap().write_all(b"SCRIPT KILL\r\n").unwrap();
        refused
    };
    let both = async { tokio::join!(server.attempt("EVAL", &["while true do end", "0"]), asks) };
    let (_, refused) =
        tokio::time::timeout(Duration::from_mins(1), both).await.expect("it is busy, and says so");
    assert_eq!(refused, "redis, which is busy with a script (BUSY), is unavailable");
    until_it_is_back(&fx, "b").await;
}

/// Every task, a hundred at a time.
async fn listed(fx: &Fixture) -> usize {
    let (mut page, mut count) = (Page::first(100), 0);
    loop {
        let tasks = fx.tasks.list(&TaskFilter::default(), &page, t(9)).await.unwrap();
        count += tasks.len();
        let Some(last) = tasks.last() else { return count };
        page.cursor = Some(TaskCursor { created_at: last.created_at, id: last.id.clone() });
    }
}

#[tokio::test]
async fn a_full_server_lists_all_and_can_be_emptied() {
    let server = Server::start(&[]);
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    let job = fx.running("first", "w").await;
    // More than one step releases wait for it, and more than a page were created with it.
    let dependents: Vec<NewTask> = (0..150).map(|n| after(&format!("b{n:03}"), &["first"])).collect();
    fx.create_all(dependents, t(0)).await;
    fx.create_all((0..150).map(|n| task(&format!("a{n:03}"))).collect(), t(0)).await;
    for n in 0..150 {
        let (status, reason) = (TaskStatus::Cancelled, String::new());
        fx.tasks
            .cancel(CancelTask { task: id(&format!("a{n:03}")), status, reason, now: t(1) })
            .await
            .unwrap();
    }
    let ending = finish(end(&job, "w", done(""), t(1)), Some(figures(1, 1)));
    fx.ledger.finish(ending).await.unwrap();
    server.command("CONFIG", &["SET", "maxmemory", "1mb"]).await;
    let refused = fx.settings.put("a", Some("b".to_owned())).await.unwrap_err();
    assert!(refused.to_string().contains("out of memory"), "{refused}");
    assert_eq!(listed(&fx).await, 301);
    assert_eq!(fx.tasks.prune(t(2), 500, t(99)).await.unwrap(), 150);
    assert!(fx.events.trim(t(2), 5_000).await.unwrap() > 300);
    assert_eq!(fx.tasks.counts().await.unwrap()[&TaskStatus::Pending], 150, "all were released before");
    assert_eq!(listed(&fx).await, 151);
    server.command("CONFIG", &["SET", "maxmemory", "0"]).await;
    fx.check().await;
}

#[tokio::test]
async fn a_replica_is_unavailable_to_writers() {
    let (primary, server) = (Server::start(&[]), Server::start(&[]));
    let fx = Fixture::new(connect(&server.url, options()).await.ports());
    connect(&primary.url, options()).await;
    server.command("REPLICAOF", &["127.0.0.1", &primary.port.to_string()]).await;
    let create = create(vec![task("a")], t(0));
    let refused = fx.tasks.create_many(create).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
}
