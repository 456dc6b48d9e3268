//! The ports as messages: what `/internal/v1` carries, with no promise of stability.
//!
//! One list names every method of every port. From it come [`Call`], the message; [`serve`], which answers one from
//! [`Ports`]; and [`remote`], the ports that are made of a [`Transport`]. A method that is missing from the list does
//! not compile.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    agent::AgentInfo,
    allowance::{AgentAllowance, ModelQuota, UsageAnswer},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    error::{Error, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, ModelName, TaskId},
    job::Job,
    lane::{Head, Lane},
    limit::{MeterKey, Reading, Scope},
    port::{
        Admission, AgentRegistry, AllowanceStore, Append, Assign, Assigned, Beat, BeatAnswer, Block,
        CancelTask, Claim, CreateMany, Created, Defer, Difference, Edit, EndAttempt, EntryPage, EventLog,
        EventPage, ExpiredJobs, Extend, Finish, Finished, Heard, Heartbeat, Lanes, Ledger, ParkLane, Ports,
        Progress, ReadEntries, Reap, Register, Renew, Replan, Report, ResetUsage, SetBudget, SetDraining,
        Settings, Settle, StartAttempt, StartJob, TaskStore, Unpark, VoidJob,
    },
    task::{Page, Task, TaskFilter, TaskStatus},
};

/// The longest that [`EventLog::wait`] waits when it is called from afar; a longer one answers `false` by then.
pub const MAX_WAIT: Duration = Duration::from_mins(1);

/// What carries a call to the ports and brings their answer back.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Has `call` served elsewhere, in at most [`Call::waits`] and what the way takes.
    ///
    /// # Errors
    /// What [`serve`] said there; `Unavailable` when it was not reached, or did not answer in time.
    async fn call(&self, call: Call) -> Result<Value>;
}

/// The ports that are served at the other end of `transport`.
pub fn remote(transport: Arc<dyn Transport>) -> Ports {
    let port = Arc::new(Remote(transport));
    Ports {
        tasks: Arc::clone(&port) as _,
        agents: Arc::clone(&port) as _,
        allowances: Arc::clone(&port) as _,
        events: Arc::clone(&port) as _,
        settings: Arc::clone(&port) as _,
        ledger: port,
    }
}

/// Every port, as calls.
#[derive(Debug)]
struct Remote(Arc<dyn Transport>);

impl Remote {
    async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let method = call.method();
        let answer = self.0.call(call).await?;
        serde_json::from_value(answer)
            .map_err(|error| Error::backend_from(format!("reading the answer of {method}"), error))
    }
}

impl Call {
    /// How long its answer may take by its own wish: the timeout of a wait, at most [`MAX_WAIT`]; else zero.
    pub fn waits(&self) -> Duration {
        match self {
            Self::EventsWait { timeout, .. } => (*timeout).min(MAX_WAIT),
            _ => Duration::ZERO,
        }
    }

    /// The call within the bounds that hold from afar.
    fn bounded(mut self) -> Self {
        let waits = self.waits();
        if let Self::EventsWait { timeout, .. } = &mut self {
            *timeout = waits;
        }
        self
    }
}

fn encode(call: &str, answer: impl Serialize) -> Result<Value> {
    serde_json::to_value(answer)
        .map_err(|error| Error::backend_from(format!("writing the answer of {call}"), error))
}

/// Makes everything of the one list. A line is
/// `"wire name" Variant method(&borrowed: Type, …, owned: Type, …) -> Answer => where.the.caller's.time.is;`,
/// the last part only where the method takes a time. Borrowed arguments come first, as in the ports.
macro_rules! calls {
    ($($port:ident: $trait:ident {
        $($name:literal $call:ident $method:ident($(&$by:ident: $borrowed:tt),* $(,)? $($arg:ident: $owned:ty),*)
            -> $answer:ty $(=> $root:ident $(.$field:ident)*)?;)*
    })*) => {
        /// One call of one port method; in JSON `{"method": "tasks.get", "args": {"id": "t-1", "now": …}}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "method", content = "args")]
        pub enum Call {
            $($(
                #[doc = concat!("[`", stringify!($trait), "::", stringify!($method), "`].")]
                #[serde(rename = $name)]
                $call {
                    $(/** As the method takes it. */ $by: <$borrowed as ToOwned>::Owned,)*
                    $(/** As the method takes it. */ $arg: $owned,)*
                },
            )*)*
        }

        impl Call {
            /// The method's name in JSON.
            pub const fn method(&self) -> &'static str {
                match self { $($(Self::$call { .. } => $name,)*)* }
            }

            /// The time that the caller gives; a server refuses one too far from its own. `None` where the answer
            /// does not depend on it.
            pub fn now(&self) -> Option<Timestamp> {
                match self {
                    $($($(Self::$call { $root, .. } => Some(Timestamp::clone(&$root $(.$field)*)),)?)*)*
                    _ => None,
                }
            }
        }

        /// Answers one call.
        ///
        /// # Errors
        /// Those of the method.
        pub async fn serve(ports: &Ports, call: Call) -> Result<Value> {
            match call.bounded() {
                $($(Call::$call { $($by,)* $($arg),* } => {
                    encode($name, ports.$port.$method($(&$by,)* $($arg),*).await?)
                })*)*
            }
        }

        $(
            #[async_trait]
            impl $trait for Remote {
                $(async fn $method(&self, $($by: &$borrowed,)* $($arg: $owned),*) -> Result<$answer> {
                    self.ask(Call::$call { $($by: $by.to_owned(),)* $($arg),* }).await
                })*
            }
        )*
    };
}

calls! {
    tasks: TaskStore {
        "tasks.create_many" TasksCreateMany create_many(create: CreateMany) -> Vec<Created> => create.now;
        "tasks.get" TasksGet get(&id: TaskId, now: Timestamp) -> Task => now;
        "tasks.list" TasksList list(&filter: TaskFilter, &page: Page, now: Timestamp) -> Vec<Task> => now;
        "tasks.counts" TasksCounts counts() -> BTreeMap<TaskStatus, u64>;
        "tasks.attempt" TasksAttempt attempt(&job: JobId) -> Option<Attempt>;
        "tasks.assigned" TasksAssigned assigned(&agent: AgentId, incarnation: u64, limit: usize) -> Vec<Task>;
        "tasks.lanes" TasksLanes lanes(limit: usize) -> Lanes;
        "tasks.ready" TasksReady ready(&lane: Lane, limit: usize) -> Vec<Head>;
        "tasks.promote_due" TasksPromoteDue promote_due(now: Timestamp, limit: usize) -> usize => now;
        "tasks.next_due" TasksNextDue next_due() -> Option<Timestamp>;
        "tasks.park" TasksPark park(park: ParkLane) -> ();
        "tasks.unpark" TasksUnpark unpark(unpark: Unpark) -> usize;
        "tasks.claim" TasksClaim claim(claim: Claim) -> Task => claim.now;
        "tasks.start" TasksStart start(start: StartAttempt) -> Task => start.now;
        "tasks.renew" TasksRenew renew(renew: Renew) -> Task => renew.now;
        "tasks.progress" TasksProgress progress(progress: Progress) -> Task => progress.now;
        "tasks.end_attempt" TasksEndAttempt end_attempt(end: EndAttempt) -> Finished => end.now;
        "tasks.edit" TasksEdit edit(edit: Edit) -> Task => edit.now;
        "tasks.defer" TasksDefer defer(defer: Defer) -> Task => defer.now;
        "tasks.block" TasksBlock block(block: Block) -> Task => block.now;
        "tasks.cancel" TasksCancel cancel(cancel: CancelTask) -> Task => cancel.now;
        "tasks.requeue" TasksRequeue requeue(&id: TaskId, now: Timestamp) -> Task => now;
        "tasks.expired" TasksExpired expired(now: Timestamp, limit: usize) -> Vec<(Task, Attempt)> => now;
        "tasks.history" TasksHistory history(&id: TaskId, after: EventId, limit: usize) -> Vec<Event>;
        "tasks.prune" TasksPrune prune(before: Timestamp, limit: usize, now: Timestamp) -> usize => now;
    }
    agents: AgentRegistry {
        "agents.register" AgentsRegister register(register: Register) -> AgentInfo => register.now;
        "agents.deregister" AgentsDeregister deregister(&id: AgentId, now: Timestamp) -> () => now;
        "agents.get" AgentsGet get(&id: AgentId) -> AgentInfo;
        "agents.list" AgentsList list() -> Vec<AgentInfo>;
        "agents.heartbeat" AgentsHeartbeat heartbeat(heartbeat: Heartbeat) -> AgentInfo => heartbeat.now;
        "agents.set_draining" AgentsSetDraining set_draining(set: SetDraining) -> AgentInfo => set.now;
        "agents.reap" AgentsReap reap(reap: Reap) -> Vec<AgentId> => reap.now;
    }
    allowances: AllowanceStore {
        "allowances.allowance" AllowancesAllowance allowance(&agent: AgentId) -> Option<AgentAllowance>;
        "allowances.set_allowance" AllowancesSetAllowance
            set_allowance(allowance: AgentAllowance, now: Timestamp) -> () => now;
        "allowances.delete_allowance" AllowancesDeleteAllowance
            delete_allowance(&agent: AgentId, now: Timestamp) -> () => now;
        "allowances.allowances" AllowancesAllowances allowances() -> Vec<AgentAllowance>;
        "allowances.model_quota" AllowancesModelQuota model_quota(&model: ModelName) -> Option<ModelQuota>;
        "allowances.set_model_quota" AllowancesSetModelQuota
            set_model_quota(quota: ModelQuota, now: Timestamp) -> () => now;
        "allowances.delete_model_quota" AllowancesDeleteModelQuota
            delete_model_quota(&model: ModelName, now: Timestamp) -> () => now;
        "allowances.model_quotas" AllowancesModelQuotas model_quotas() -> Vec<ModelQuota>;
        "allowances.budgets" AllowancesBudgets budgets() -> Vec<Budget>;
        "allowances.set_budget" AllowancesSetBudget set_budget(set: SetBudget) -> Budget => set.now;
        "allowances.delete_budget" AllowancesDeleteBudget
            delete_budget(&scope: Scope, now: Timestamp) -> () => now;
        "allowances.limits_revision" AllowancesLimitsRevision limits_revision() -> u64;
        "allowances.readings" AllowancesReadings
            readings(&keys: [MeterKey], now: Timestamp) -> Vec<Reading> => now;
        "allowances.active_jobs" AllowancesActiveJobs
            active_jobs(&agents: [AgentId], now: Timestamp) -> Vec<u32> => now;
        "allowances.job" AllowancesJob job(&job: JobId) -> Option<Job>;
        "allowances.admit" AllowancesAdmit admit(admission: Admission) -> Job => admission.now;
        "allowances.start" AllowancesStart start(start: StartJob) -> Job => start.now;
        "allowances.extend" AllowancesExtend extend(extend: Extend) -> Job => extend.now;
        "allowances.replan" AllowancesReplan replan(replan: Replan) -> Job => replan.now;
        "allowances.report" AllowancesReport report(report: Report) -> UsageAnswer => report.now;
        "allowances.settle" AllowancesSettle settle(settle: Settle) -> Job => settle.now;
        "allowances.void" AllowancesVoid void(void: VoidJob) -> () => void.now;
        "allowances.expired" AllowancesExpired expired(expired: ExpiredJobs) -> Vec<Job> => expired.now;
        "allowances.reset_usage" AllowancesResetUsage reset_usage(reset: ResetUsage) -> () => reset.now;
        "allowances.entries" AllowancesEntries entries(read: ReadEntries) -> EntryPage;
        "allowances.verify" AllowancesVerify verify() -> Vec<Difference>;
    }
    events: EventLog {
        "events.append" EventsAppend append(append: Append) -> ();
        "events.after" EventsAfter after(cursor: EventId, limit: usize) -> EventPage;
        "events.last" EventsLast last() -> EventId;
        "events.wait" EventsWait wait(cursor: EventId, timeout: Duration) -> bool;
        "events.trim" EventsTrim trim(before: Timestamp, limit: usize) -> usize;
    }
    settings: Settings {
        "settings.get" SettingsGet get(&key: str) -> Option<String>;
        "settings.put" SettingsPut put(&key: str, value: Option<String>) -> ();
    }
    ledger: Ledger {
        "ledger.assign" LedgerAssign assign(assign: Assign) -> Assigned => assign.claim.now;
        "ledger.start" LedgerStart start(start: StartAttempt) -> Task => start.now;
        "ledger.beat" LedgerBeat beat(beat: Beat) -> Vec<BeatAnswer> => beat.now;
        "ledger.heartbeat" LedgerHeartbeat heartbeat(beat: Beat) -> Heard => beat.now;
        "ledger.finish" LedgerFinish finish(finish: Finish) -> Finished => finish.end.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ConflictCode,
        event::{EventType, NewEvent},
        memory::Memory,
        task::NewTask,
    };

    /// Serves what comes, over the same JSON as a real way would.
    #[derive(Debug)]
    struct Loopback(Ports);

    #[async_trait]
    impl Transport for Loopback {
        async fn call(&self, call: Call) -> Result<Value> {
            let json = serde_json::to_string(&call).unwrap();
            let read: Call = serde_json::from_str(&json).unwrap();
            assert_eq!(read, call);
            serve(&self.0, read).await
        }
    }

    fn fleet() -> Ports {
        remote(Arc::new(Loopback(Memory::new().ports())))
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(5)
    }

    #[tokio::test]
    async fn ports_answer_through_calls() {
        let fleet = fleet();
        let id: TaskId = "t".parse().unwrap();
        let create = CreateMany::new(vec![NewTask::new(id.clone(), "x")], now());
        let created = fleet.tasks.create_many(create.clone()).await.unwrap();
        assert_eq!(created[0].task.id, id);
        assert_eq!(fleet.tasks.get(&id, now()).await.unwrap().created_at, now());
        assert_eq!(fleet.tasks.counts().await.unwrap()[&TaskStatus::Pending], 1);
        let page = Page::first(10);
        assert_eq!(fleet.tasks.list(&TaskFilter::default(), &page, now()).await.unwrap().len(), 1);
        assert_eq!(fleet.tasks.attempt(&JobId::new(id, 1)).await.unwrap(), None);
        let refused = fleet.tasks.create_many(create).await.unwrap_err();
        assert!(refused.is_conflict(ConflictCode::Exists), "{refused}");

        fleet.settings.put("paused", Some("yes".into())).await.unwrap();
        assert_eq!(fleet.settings.get("paused").await.unwrap().as_deref(), Some("yes"));
        let agents = ["a".parse().unwrap(), "b".parse().unwrap()];
        assert_eq!(fleet.allowances.active_jobs(&agents, now()).await.unwrap(), [0, 0]);
        fleet.events.append(vec![NewEvent::new(EventType::LimitsChanged, now())].into()).await.unwrap();
        let last = fleet.events.last().await.unwrap();
        assert_eq!(fleet.events.after(last - 1, 10).await.unwrap().cursor, last);
        assert!(fleet.events.wait(last - 1, Duration::from_millis(1)).await.unwrap());
        assert!(!fleet.events.wait(last, Duration::ZERO).await.unwrap());
    }

    #[test]
    fn a_wait_is_bounded() {
        let wait = |secs| Call::EventsWait { cursor: 0, timeout: Duration::from_secs(secs) };
        assert_eq!(wait(3_600).bounded(), wait(60));
        assert_eq!(wait(60).bounded(), wait(60));
        assert_eq!((wait(61).waits(), wait(1).waits()), (MAX_WAIT, Duration::from_secs(1)));
        assert_eq!(Call::TasksCounts {}.waits(), Duration::ZERO);
    }

    #[test]
    fn the_callers_time_is_found() {
        let id: TaskId = "t".parse().unwrap();
        assert_eq!(Call::TasksGet { id, now: now() }.now(), Some(now()));
        let create = CreateMany::new(vec![], now());
        assert_eq!(Call::TasksCreateMany { create }.now(), Some(now()));
        assert_eq!(Call::TasksCounts {}.now(), None);
    }

    #[test]
    fn the_wire_is_method_and_args() {
        let call = Call::SettingsGet { key: "k".into() };
        let json = serde_json::json!({"method": "settings.get", "args": {"key": "k"}});
        assert_eq!(serde_json::to_value(&call).unwrap(), json);
        assert_eq!(call.method(), "settings.get");
        assert!(serde_json::from_str::<Call>(r#"{"method":"tasks.nope","args":{}}"#).is_err());
    }
}
