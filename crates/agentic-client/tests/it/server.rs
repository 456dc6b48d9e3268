//! A server of canned answers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentic_client::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and target, such as `GET /api/tasks?limit=1`.
    pub(crate) line: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What is done about a request.
pub(crate) enum Reply {
    /// Answered.
    Full { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// Answered with a body that goes on until the connection is closed behind it, or never.
    Stream { body: String, close: bool },
    /// The connection is closed without an answer.
    Cut,
    /// Nothing, for as long as the test runs.
    Silence,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Full { status, headers: Vec::new(), body: body.to_string() }
    }

    pub(crate) fn problem(status: u16, code: &str) -> Self {
        Self::json(status, &json!({ "title": "t", "status": status, "code": code, "detail": "d" }))
    }

    pub(crate) fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Full { status, mut headers, body } => {
                headers.push((name, value.into()));
                Self::Full { status, headers, body }
            }
            other => other,
        }
    }
}

/// A server on a free port of this machine; gone when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _accepting: JoinSet<()>,
}

impl Server {
    /// Answers the n-th request, from 0, as `reply` says.
    pub(crate) async fn start(reply: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (reply, log) = (Arc::new(reply), Arc::clone(&seen));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, log) = (Arc::clone(&reply), Arc::clone(&log));
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let Some(request) = read(&mut stream).await else { return };
                    let answer = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        reply(log.len() - 1, &request)
                    };
                    write(stream.into_inner(), answer).await;
                });
            }
        });
        Self { url, seen, _accepting: accepting }
    }

    /// A client of it that repeats without long pauses.
    pub(crate) fn client(&self) -> Client {
        let builder = Client::builder(&self.url).token("s3cret");
        builder.retry_pause(Duration::from_millis(1)).build().unwrap()
    }

    /// Everything that came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The first line of everything that came so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
    let line = first.rsplit_once(' ')?.0.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length: &String| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { line, headers, body: String::from_utf8(body).unwrap() })
}

async fn write(mut stream: TcpStream, answer: Reply) {
    let (text, close) = match answer {
        Reply::Full { status, headers, body } => {
            let mut head =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                write!(head, "{name}: {value}\r\n").unwrap();
            }
            (format!("{head}\r\n{body}"), true)
        }
        Reply::Stream { body, close } => {
            (format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}"), close)
        }
        Reply::Cut => (String::new(), true),
        Reply::Silence => (String::new(), false),
    };
    // A client that has gone away is part of some tests.
    let _ = stream.write_all(text.as_bytes()).await;
    if !close {
        std::future::pending::<()>().await;
    }
}
