//! A live fleet and the troubles of its Redis: it goes on by itself, nothing acknowledged is lost, nobody healthy is
//! expired.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use agentic_testkit::port::free_port;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    redis::Redis,
    sandbox::{Running, Sandbox, Served, until},
};

/// How long Redis is away.
const AWAY: Duration = Duration::from_secs(10);
/// How long anything takes at most to be well again.
const BACK: Duration = Duration::from_secs(30);

/// The outage is longer than an agent may be silent, and shorter than a lease: a worker that heard nothing for a whole
/// one gives up by itself, whatever holds the reapers back.
const TIMES: [(&str, &str); 4] = [
    ("AGENTIC_HEARTBEAT", "2s"),
    ("AGENTIC_LEASE", "30s"),
    ("AGENTIC_AGENT_TTL", "8s"),
    ("AGENTIC_REDIS", r#"{"command_timeout": "2s", "connect_timeout": "2s"}"#),
];

/// Two servers with short times, and a worker of the first that runs one long attempt.
struct Fleet {
    redis: Redis,
    served: Served,
    _other: Served,
    _worker: Running,
}

impl Fleet {
    fn start() -> Self {
        // With `everysec`, what waits behind an fsync of the disk is lost with the process.
        let redis = Redis::start(&["--appendfsync", "always"]);
        let serve = || {
            let sandbox =
                TIMES.into_iter().fold(Sandbox::new(), |sandbox, (name, value)| sandbox.with(name, value));
            sandbox.serve(&["--store", &redis.url()])
        };
        let (served, other) = (serve(), serve());
        let script = "echo '{\"progress\": 10}' >> $AGENTIC_REPORT_FILE; [ $AGENTIC_TASK_ID != long ] || until [ -e ../go ]; do sleep 0.05; done";
        let worker = served.worker(&["--agent-id", "ada", "--max-load", "4"], script);
        served.sandbox.ok(&["submit", "long", "--id", "long"]);
        until(&served.sandbox, "long", "task_updated");
        Self { redis, served, _other: other, _worker: worker }
    }

    /// Submits a task and waits for its end: the fleet works.
    fn works(&self, id: &str) {
        self.served.sandbox.ok(&["submit", id, "--id", id]);
        assert_eq!(self.served.ended(id)["status"], "completed");
    }

    fn until_ready(&self, is_ready: bool) {
        let began = Instant::now();
        loop {
            let answer = readyz(&self.served.base_url());
            if answer.starts_with("HTTP/1.1 200") == is_ready {
                let is_told = answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1");
                assert!(is_ready || is_told, "{answer}\n{}", self.log());
                return;
            }
            assert!(began.elapsed() < BACK, "readyz does not become {is_ready}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the long attempt: it is the first, and nobody went offline meanwhile.
    fn check(self) {
        fs::write(self.served.sandbox.home("go"), "").unwrap();
        let task = self.served.ended("long");
        let history = self.served.sandbox.ok(&["logs", "long"]);
        assert_eq!(
            (&task["status"], &task["attempt"], &task["retry_count"]),
            (&"completed".into(), &1.into(), &0.into()),
            "{history}"
        );
        let count = "local n = 0 for _, event in ipairs(redis.call('XRANGE', 'agentic:events', '-', '+')) do \
                     if string.find(cjson.encode(event[2]), 'agent_offline', 1, true) then n = n + 1 end end return n";
        assert_eq!(self.redis.command(&["EVAL", count, "0"]), "0", "nobody went offline");
        let agent = self.served.sandbox.json(&["agents", "show", "ada"]);
        assert_eq!(agent["incarnation"], 1, "it never had to register again");
    }

    /// What the server wrote to its log.
    fn log(&self) -> String {
        fs::read_to_string(self.served.sandbox.home("server.log")).unwrap()
    }
}

/// The answer of `/readyz`, whole.
fn readyz(base_url: &str) -> String {
    let mut stream = TcpStream::connect(base_url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(BACK)).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_redis_that_stands_still_expires_nobody() {
    let fleet = Fleet::start();
    fleet.works("before");
    let lines = fleet.log().lines().count();
    fleet.redis.signal("STOP");
    let stopped = Instant::now();
    fleet.until_ready(false);
    let refused = fleet.served.sandbox.run(&["submit", "meanwhile", "--id", "meanwhile"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    std::thread::sleep(AWAY.saturating_sub(stopped.elapsed()));
    let lines = fleet.log().lines().count() - lines;
    assert!(lines < 100, "{lines} lines of log in {AWAY:?}");
    fleet.redis.signal("CONT");
    fleet.until_ready(true);
    fleet.works("after");
    fleet.check();
}

#[test]
fn a_redis_that_dies_comes_back_with_all_that_was_acknowledged() {
    let mut fleet = Fleet::start();
    fleet.works("before");
    fleet.served.sandbox.ok(&["submit", "waits", "--id", "waits", "--label", "nobody"]);
    let lines = fleet.log().lines().count();
    fleet.redis.kill();
    fleet.until_ready(false);
    std::thread::sleep(AWAY);
    let lines = fleet.log().lines().count() - lines;
    assert!(lines < 100, "{lines} lines of log in {AWAY:?}");
    fleet.redis.revive();
    fleet.until_ready(true);
    assert_eq!(fleet.served.sandbox.json(&["show", "waits"])["status"], "pending");
    assert_eq!(fleet.served.sandbox.json(&["show", "before"])["status"], "completed");
    fleet.works("after");
    fleet.check();
}

#[test]
fn flushed_scripts_and_killed_clients_are_not_noticed() {
    let fleet = Fleet::start();
    for round in 0..3 {
        fleet.redis.command(&["SCRIPT", "FLUSH"]);
        fleet.works(&format!("flushed-{round}"));
        fleet.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        fleet.until_ready(true);
        fleet.works(&format!("killed-{round}"));
    }
    fleet.check();
}

#[test]
fn what_redis_cannot_do_is_told_by_its_name() {
    let fleet = Fleet::start();
    let (redis, sandbox) = (&fleet.redis, &fleet.served.sandbox);
    let waiting: Vec<String> =
        (0..150).map(|n| format!("{{\"title\": \"{n}\", \"labels\": [\"nobody\"]}}")).collect();
    let file = sandbox.home("waiting.jsonl");
    fs::write(&file, waiting.join("\n")).unwrap();
    sandbox.ok(&["submit", "--from", file.to_str().unwrap()]);
    let tell = |word: &str, means: &str| {
        let refused = sandbox.run(&["--json", "submit", "x", "--id", word]);
        assert_eq!(refused.code, 5, "{word}: {refused:?}");
        let told: Value = serde_json::from_str(&refused.err).unwrap();
        assert!(told["error"].as_str().unwrap().contains(&format!("{means} ({word})")), "{told}");
        assert!(told["hints"][0].as_str().unwrap().contains("/readyz"), "{told}");
        // More than one page.
        let listed = sandbox.run(&["--json", "list", "--limit", "1000"]);
        let tasks: Vec<Value> = serde_json::from_str(&listed.out).unwrap_or_else(|_| panic!("{listed:?}"));
        assert!(tasks.len() > 150, "{} tasks are read", tasks.len());
    };
    redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    tell("OOM", "out of memory");
    fleet.until_ready(false);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    fleet.until_ready(true);
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    tell("NOREPLICAS", "too few replicas");
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    // It tries to write a snapshot where there is no room, and takes no writes until one succeeds.
    redis.command(&["CONFIG", "SET", "appendonly", "no"]);
    redis.command(&["CONFIG", "SET", "save", "3600 1000000"]);
    redis.break_snapshots();
    tell("MISCONF", "cannot write to its disk");
    redis.command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    redis.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    tell("READONLY", "a replica now");
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    fleet.works("after");
    fleet.check();
}

/// What a server says that cannot start, where it waits so long for a Redis.
fn cannot_start(store: &str, patience: &str) -> (i32, Value) {
    let times = format!(r#"{{"connect_timeout": "{patience}", "command_timeout": "{patience}"}}"#);
    let sandbox = Sandbox::new().with("AGENTIC_REDIS", &times);
    let done = sandbox.run(&["--json", "serve", "--listen", "127.0.0.1:0", "--store", store]);
    (done.code, serde_json::from_str(&done.err).unwrap_or_else(|_| panic!("{done:?}")))
}

#[test]
fn a_server_without_its_redis_says_what_is_wrong() {
    let away = format!("redis://ada:secret@127.0.0.1:{}/0", free_port());
    let (code, told) = cannot_start(&away, "1s");
    let shown = told.to_string();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("redis is unavailable") && shown.contains("does a redis answer"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");

    let still = Redis::start(&[]);
    still.signal("STOP");
    let (code, told) = cannot_start(&still.url(), "1s");
    assert_eq!(code, 1, "{told}");
    assert!(told["error"].as_str().unwrap().contains("redis is unavailable"), "{told}");

    let locked = Redis::start(&["--requirepass", "secret"]);
    let (code, told) = cannot_start(&locked.url(), "20s");
    assert_eq!(code, 1, "{told}");
    assert!(told["hints"][1].as_str().unwrap().contains("password"), "{told}");

    let forgets = Redis::start(&["--appendonly", "no"]);
    let (code, told) = cannot_start(&forgets.url(), "20s");
    assert_eq!(code, 1, "{told}");
    assert!(told["error"].as_str().unwrap().contains("set appendonly yes"), "{told}");
    assert!(told["hints"][0].as_str().unwrap().contains("safety: warn"), "{told}");

    let primary = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let (code, told) = cannot_start(&replica.url(), "20s");
    assert_eq!(code, 1, "{told}");
    assert!(told["error"].as_str().unwrap().contains("name its primary"), "{told}");

    let mut loads = Redis::start(&[]);
    loads.load_slowly();
    let (code, told) = cannot_start(&loads.url(), "20s");
    assert_eq!(code, 1, "{told}");
    assert!(told["error"].as_str().unwrap().contains("still loads its data (LOADING)"), "{told}");
}
