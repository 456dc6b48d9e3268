//! Dispatchers and the reaper beside a server.

use std::time::Duration;

use agentic_core::{agent::AgentSpec, api::CreateTask};
use agentic_server::run_fleet;
use agentic_testkit::given::id;
use tokio_util::sync::CancellationToken;

use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_crew_gives_tasks_to_agents_until_it_is_stopped() {
    let world = World::start().await;
    let stop = CancellationToken::new();
    let crew = tokio::spawn(run_fleet(world.fleet.clone(), 2, stop.clone()));
    let agent = world.client.register_agent(&AgentSpec::new(id("a")).into()).await.unwrap();
    let task = world.client.create_task(&CreateTask::new("x")).await.unwrap();
    let assigned = world.client.assignments(&agent.id, agent.incarnation, SOON).await.unwrap();
    assert_eq!(assigned[0].id, task.id);
    stop.cancel();
    tokio::time::timeout(SOON, crew).await.expect("it ends at once").unwrap();
}
