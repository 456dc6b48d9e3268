//! A fleet, its server and a client.

use std::{net::SocketAddr, sync::Arc};

use agentic_client::Client;
use agentic_core::{
    clock::ManualClock,
    error::{Error, Result},
    event::EventId,
    memory::Memory,
    port::{Append, EventLog, EventPage, Ports},
};
use agentic_dispatch::{DefaultAllowance, Fleet, Policy};
use agentic_server::{Server, ServerBuilder};
use agentic_testkit::given::t;
use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::HeaderMap,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The admin token of every world.
pub(crate) const TOKEN: &str = "the-admin-token-of-the-tests";

/// A server over memory, whose clock stands at `t(0)` until it is moved.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) clock: ManualClock,
    pub(crate) client: Client,
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::over(Memory::new().ports(), |server| server).await
    }

    pub(crate) async fn over(ports: Ports, set_up: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let clock = ManualClock::at(t(0));
        let policy = Policy { default_allowance: Some(DefaultAllowance::default()), ..Policy::default() };
        let fleet = Fleet::new(ports, Arc::new(clock.clone()), policy).unwrap();
        let server = set_up(Server::builder(fleet.clone()).admin_token(TOKEN)).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let client = Client::builder(format!("http://{addr}")).token(TOKEN).retries(0).build().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.serve(listener, stop.clone()));
        Self { fleet, clock, client, addr, stop, running }
    }

    /// Sends one request with the token, as JSON where there is a body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        let request = self.request(method, path);
        let request =
            if body.is_empty() { request } else { request.header("content-type", "application/json") };
        self.send(request.body(body.to_owned()).unwrap()).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header("host", self.addr.to_string());
        request.header("authorization", format!("Bearer {TOKEN}"))
    }

    pub(crate) async fn send(&self, request: Request<impl Into<Bytes>>) -> Reply {
        let response = self.open(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends one request on a connection of its own, and reads the head of its answer.
    pub(crate) async fn open(&self, request: Request<impl Into<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let stream = tokio::net::TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request.map(|body| Full::new(body.into()))).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// That it is a whole problem, with this status and code; answers with its JSON.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{text}"
        );
        let json = self.json();
        assert_eq!(
            (json["status"].as_u64(), json["code"].as_str()),
            (Some(status.into()), Some(code)),
            "{text}"
        );
        for field in ["title", "detail"] {
            assert!(json[field].as_str().is_some_and(|words| !words.is_empty()), "{field}: {text}");
        }
        json
    }
}

/// What the log of a fleet does when it is asked for its end, as a health check asks.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It panics.
    Panic,
    /// It says that it is away.
    Away,
    /// It fails for a reason that is nobody's business.
    Broken,
    /// It tells that it was asked, and answers when it is told to.
    Hold { asked: Arc<Notify>, answer: Arc<Notify> },
}

/// A log with a fault; nothing else is ever asked of it.
#[derive(Debug)]
struct Faulty(Fault);

/// Ports whose log has a fault.
pub(crate) fn with_fault(fault: Fault) -> Ports {
    Ports { events: Arc::new(Faulty(fault)), ..Memory::new().ports() }
}

#[async_trait]
impl EventLog for Faulty {
    async fn append(&self, _: Append) -> Result<()> {
        Err(Error::backend("appending"))
    }

    async fn after(&self, _: EventId, _: usize) -> Result<EventPage> {
        Err(Error::backend("reading"))
    }

    async fn last(&self) -> Result<EventId> {
        match &self.0 {
            Fault::Panic => panic!("as in a bug, with a secret"),
            Fault::Away => Err(Error::unavailable("the store")),
            Fault::Broken => Err(Error::backend_from("reading", std::io::Error::other("a secret path"))),
            Fault::Hold { asked, answer } => {
                asked.notify_one();
                answer.notified().await;
                Ok(0)
            }
        }
    }

    async fn wait(&self, _: EventId, _: std::time::Duration) -> Result<bool> {
        Err(Error::backend("waiting"))
    }

    async fn trim(&self, _: agentic_core::clock::Timestamp, _: usize) -> Result<usize> {
        Err(Error::backend("trimming"))
    }
}
