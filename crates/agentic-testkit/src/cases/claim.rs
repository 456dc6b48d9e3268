//! Claiming: the compare-and-set with exactly one winner.

use agentic_core::{error::ConflictCode, task::TaskStatus};
use futures_util::future::join_all;

use crate::{
    Fixture,
    expect::conflict,
    given::{claim, job, t, task},
};

/// Of sixteen agents that claim a task at once, one gets it; the others learn who.
pub async fn claim_has_one_winner(fx: &Fixture) {
    fx.create(task("a")).await;
    let agents: Vec<String> = (0..16).map(|i| format!("agent-{i}")).collect();
    let claims = agents.iter().map(|agent| {
        let (tasks, claim) = (fx.tasks.clone(), claim(&job("a", 1), agent, t(1)));
        tokio::spawn(async move { tasks.claim(claim).await })
    });
    let answers: Vec<_> = join_all(claims).await.into_iter().map(|answer| answer.unwrap()).collect();
    let won: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert_eq!((won[0].status, won[0].attempt), (TaskStatus::InProgress, 1));
    let winner = won[0].claimed_by.clone();
    for lost in answers.iter().filter(|answer| answer.is_err()) {
        assert_eq!(conflict(lost.clone(), ConflictCode::AlreadyClaimed), winner);
    }
    assert_eq!(fx.task("a", t(1)).await.claimed_by, winner);
}
