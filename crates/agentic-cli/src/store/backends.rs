//! Where everything of a fleet is kept: in one store, or tasks, agents and allowances apart.

use std::{path::Path, sync::Arc, time::Duration};

use agentic_core::{
    clock::{Clock, SystemClock},
    error::{Error, Result},
    event::Side,
    port::Ports,
};
use agentic_dispatch::{Outbox, Saga};
use agentic_store_sqlite::ServeLock;
use uuid::Uuid;

use super::{Opened, StoreOptions, StoreUrl};

/// Where everything of a fleet is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrls {
    /// Tasks, events and settings, and what has no other place.
    pub store: StoreUrl,
    /// Agents; absent = in the store.
    pub registry: Option<StoreUrl>,
    /// Allowances, meters and reservations; absent = in the store.
    pub allowance: Option<StoreUrl>,
}

/// The ports of a fleet, and what hands on the events of those stores that are not the tasks'.
#[derive(Debug, Clone)]
pub struct Backends {
    /// The ports; their ledger is the store's own where everything is in one, else a [`Saga`].
    pub ports: Ports,
    /// For [`agentic_dispatch::Fleet::apart`].
    pub outboxes: Vec<Outbox>,
    /// What the fleet takes the time from: that of the tasks' store.
    pub clock: Arc<dyn Clock>,
}

impl Backends {
    /// The first of `stores` keeps the tasks, those of the other two numbers agents and allowances.
    ///
    /// Events are deleted on the other stores when they are older than `keep_events` and were handed on. The clock is this
    /// machine's.
    ///
    /// # Errors
    /// `Invalid` for a number that no store has; `Unavailable`.
    pub async fn of(
        stores: &[Ports],
        agents: usize,
        allowances: usize,
        keep_events: Duration,
    ) -> Result<Self> {
        let store = |index: usize| {
            stores.get(index).ok_or_else(|| Error::invalid("stores", format!("there is no store {index}")))
        };
        let (tasks, clock) = (store(0)?, Arc::new(SystemClock));
        if (agents, allowances) == (0, 0) {
            return Ok(Self { ports: tasks.clone(), outboxes: Vec::new(), clock });
        }
        let apart = Ports {
            agents: Arc::clone(&store(agents)?.agents),
            allowances: Arc::clone(&store(allowances)?.allowances),
            ..tasks.clone()
        };
        let mut outboxes = Vec::new();
        for (index, other) in stores.iter().enumerate().skip(1) {
            let sides = [(agents, Side::Agents), (allowances, Side::Allowances)];
            let here = sides.into_iter().filter(|(at, _)| *at == index).map(|(_, side)| side).collect();
            outboxes.push(Outbox::open(other, tasks, here, keep_events).await?);
        }
        Ok(Self { ports: Ports { ledger: Arc::new(Saga::new(apart.clone())), ..apart }, outboxes, clock })
    }
}

impl From<StoreUrl> for BackendUrls {
    fn from(store: StoreUrl) -> Self {
        Self { store, registry: None, allowance: None }
    }
}

impl BackendUrls {
    /// Opens all of them, each once: URLs that mean the same back end are one, however they are written.
    ///
    /// Events are deleted on the other stores when they are older than `keep_events` and were handed on.
    ///
    /// # Errors
    /// What a back end says when it cannot be opened.
    pub async fn open(&self, options: &StoreOptions, keep_events: Duration) -> Result<Backends> {
        let Opened { ports, clock } = self.store.open(options).await?;
        let mut opened = vec![(place(&self.store), ports)];
        let agents = find_or_open(&mut opened, self.registry.as_ref(), options).await?;
        let allowances = find_or_open(&mut opened, self.allowance.as_ref(), options).await?;
        let stores: Vec<Ports> = opened.into_iter().map(|(_, ports)| ports).collect();
        Ok(Backends { clock, ..Backends::of(&stores, agents, allowances, keep_events).await? })
    }

    /// Takes the lock of the one server of each file.
    ///
    /// # Errors
    /// `Unavailable` while another server holds one.
    pub fn lock(&self) -> Result<Vec<ServeLock>> {
        let mut places: Vec<StoreUrl> = Vec::new();
        let mut locks = Vec::new();
        for url in [Some(&self.store), self.registry.as_ref(), self.allowance.as_ref()].into_iter().flatten()
        {
            if !places.contains(&place(url)) {
                places.push(place(url));
                locks.extend(url.lock()?);
            }
        }
        Ok(locks)
    }
}

/// The same URL for the same file, as far as paths tell.
fn place(url: &StoreUrl) -> StoreUrl {
    let StoreUrl::Sqlite(path) = url else { return url.clone() };
    let real = path.canonicalize().or_else(|_| {
        // It is made when it is opened.
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        directory.canonicalize().map(|directory| directory.join(path.file_name().unwrap_or_default()))
    });
    StoreUrl::Sqlite(real.unwrap_or_else(|_| path.clone()))
}

/// Which of the open back ends a URL means; opens it if it means none of them.
async fn find_or_open(
    opened: &mut Vec<(StoreUrl, Ports)>,
    url: Option<&StoreUrl>,
    options: &StoreOptions,
) -> Result<usize> {
    let Some(place) = url.map(place) else { return Ok(0) };
    if let Some(index) = opened.iter().position(|(other, _)| *other == place) {
        return Ok(index);
    }
    let ports = place.open(options).await?.ports;
    for (index, (other, known)) in opened.iter().enumerate() {
        if may_be_one(other, &place) && are_one(known, &ports).await? {
            return Ok(index);
        }
    }
    opened.push((place, ports));
    Ok(opened.len() - 1)
}

/// Whether two URLs may mean one back end although they are written otherwise.
fn may_be_one(one: &StoreUrl, other: &StoreUrl) -> bool {
    use StoreUrl::{Http, Redis, Sqlite};
    matches!((one, other), (Sqlite(_), Sqlite(_)) | (Redis(_), Redis(_)) | (Http(_), Sqlite(_) | Redis(_)))
}

/// Whether what is put into one is found in the other: a host has many names, and a copy of a store is another one.
async fn are_one(one: &Ports, other: &Ports) -> Result<bool> {
    let key = format!("probe.{}", Uuid::now_v7());
    other.settings.put(&key, Some(String::new())).await?;
    let found = one.settings.get(&key).await;
    other.settings.put(&key, None).await?;
    Ok(found?.is_some())
}

#[cfg(test)]
mod tests {
    use agentic_core::event::{EventType, NewEvent};

    use super::*;

    fn urls(store: &str, registry: Option<&str>, allowance: Option<&str>) -> BackendUrls {
        let apart = |key, url: Option<&str>| url.map(|url| StoreUrl::parse_for(key, url).unwrap());
        BackendUrls {
            store: store.parse().unwrap(),
            registry: apart("registry", registry),
            allowance: apart("allowance", allowance),
        }
    }

    async fn opened(urls: &BackendUrls) -> Backends {
        urls.open(&StoreOptions::new(), Duration::from_hours(1)).await.unwrap()
    }

    fn is_saga(backends: &Backends) -> bool {
        format!("{:?}", backends.ports.ledger).starts_with("Saga")
    }

    #[tokio::test]
    async fn one_store_keeps_its_own_ledger() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.db"), dir.path().join("b.db")).unwrap();
        let sqlite = |path: &str| format!("sqlite:{}/{path}", dir.path().display());
        let twice = sqlite("d/../a.db");
        for (store, registry, allowance) in [
            ("memory:".to_owned(), None, None),
            ("memory:".to_owned(), Some("memory:".to_owned()), Some("memory:".to_owned())),
            (sqlite("a.db"), Some(twice.clone()), None),
            (sqlite("a.db"), None, Some(sqlite("b.db"))),
            (sqlite("a.db"), Some(sqlite("b.db")), Some(twice)),
        ] {
            let urls = urls(&store, registry.as_deref(), allowance.as_deref());
            let locks = urls.lock().unwrap().len();
            assert_eq!(locks, usize::from(store != "memory:"), "{urls:?}");
            let backends = opened(&urls).await;
            assert!(!is_saga(&backends) && backends.outboxes.is_empty(), "{urls:?}");
        }
    }

    #[tokio::test]
    async fn a_copy_is_another_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let sqlite = |name: &str| format!("sqlite:{}", path(name).display());
        drop(opened(&urls(&sqlite("a.db"), None, None)).await);
        std::fs::copy(path("a.db"), path("copy.db")).unwrap();
        let copied = opened(&urls(&sqlite("a.db"), Some(&sqlite("copy.db")), None)).await;
        assert!(is_saga(&copied));
    }

    #[tokio::test]
    async fn stores_apart_have_a_saga_and_an_outbox_each() {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = |name: &str| format!("sqlite:{}", dir.path().join(name).display());
        let both = urls(&sqlite("a.db"), Some("memory:"), Some("memory:"));
        let each = urls("memory:", Some(&sqlite("b.db")), Some(&sqlite("c.db")));
        assert_eq!((both.lock().unwrap().len(), each.lock().unwrap().len()), (1, 2));
        for (urls, outboxes) in [(both, 1), (each, 2)] {
            let backends = opened(&urls).await;
            assert!(is_saga(&backends));
            assert_eq!(backends.outboxes.len(), outboxes);
            let agent = agentic_core::agent::AgentSpec::new("a".parse().unwrap());
            let now = agentic_core::clock::Timestamp::EPOCH;
            let ports = &backends.ports;
            ports.agents.register(agentic_core::port::Register { agent, now }).await.unwrap();
            let own = NewEvent::new(EventType::LimitsChanged, now);
            ports.events.append(vec![own].into()).await.unwrap();
            for outbox in &backends.outboxes {
                outbox.relay().await.unwrap();
            }
            let told = ports.events.after(0, 10).await.unwrap().events;
            let kinds: Vec<EventType> = told.iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [EventType::LimitsChanged, EventType::AgentRegistered]);
        }
    }
}
