//! A Redis of a test's own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use agentic_testkit::redis::RedisServer;

/// A server that keeps what it acknowledged, and ends with its handle.
pub(crate) struct Redis {
    server: RedisServer,
    pub(crate) port: u16,
}

impl Redis {
    /// Starts one on a free port, with more arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let server = RedisServer::start(&[&["--appendonly", "yes"], args].concat());
        let redis = Self { port: server.port, server };
        redis.until_there();
        redis
    }

    pub(crate) fn url(&self) -> String {
        self.server.url.clone()
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        self.server.signal(name);
    }

    /// Ends it as a loss of its process does.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on what it kept.
    pub(crate) fn revive(&mut self) {
        self.server.revive(&[]);
        self.until_there();
    }

    /// Kills it, and starts it again so that it loads its data for many seconds; returns while it does.
    pub(crate) fn load_slowly(&mut self) {
        self.command(&["EVAL", "for i = 1, 60000 do redis.call('SET', 'x' .. i, i) end return 1", "0"]);
        self.kill();
        self.server.revive(&["--key-load-delay", "200"]);
        self.until(&["PING"], |answer| answer.starts_with("LOADING"));
    }

    /// Takes its directory away and lets it fail to write a snapshot there.
    pub(crate) fn break_snapshots(&self) {
        std::fs::remove_dir_all(self.server.dir()).unwrap();
        self.command(&["BGSAVE"]);
        self.until(&["INFO", "persistence"], |info| info.contains("rdb_last_bgsave_status:err"));
    }

    /// Waits until it answers, its data loaded.
    pub(crate) fn until_there(&self) {
        self.until(&["PING"], |answer| !answer.starts_with("LOADING"));
    }

    /// As [`until`], of this one.
    pub(crate) fn until(&self, words: &[&str], done: impl Fn(&str) -> bool) {
        until(self.port, words, done);
    }

    /// Runs a command on a connection of its own; answers with its text, an error's too.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        ask(self.port, words).unwrap_or_else(|| panic!("redis did not answer {words:?}"))
    }
}

/// Asks whoever speaks Redis on a port until the answer is the one that is waited for.
pub(crate) fn until(port: u16, words: &[&str], done: impl Fn(&str) -> bool) {
    let mut last = None;
    for _ in 0..4_800 {
        last = ask(port, words);
        if last.as_deref().is_some_and(&done) {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("redis-server on port {port} answers {words:?} with {last:?}");
}

fn ask(port: u16, words: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "*{}\r\n", words.len()).ok()?;
    for word in words {
        write!(stream, "${}\r\n{word}\r\n", word.len()).ok()?;
    }
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).ok()?;
    let line = line.trim_end();
    let Some(length) = line.strip_prefix('$') else { return line.get(1..).map(ToOwned::to_owned) };
    let mut text = vec![0; length.parse().ok()?];
    answer.read_exact(&mut text).ok()?;
    String::from_utf8(text).ok()
}
