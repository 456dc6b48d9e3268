//! Allowances, quotas, budgets and usage over HTTP.

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota, UsageAnswer, UsageRecord, UsageReport},
    budget::Budget,
    error::Result,
    id::{AgentId, ModelName},
    limit::Scope,
    port::{Difference, EntryPage},
    rpc::MAX_WAIT,
};
use reqwest::Method;

use crate::Client;

impl Client {
    /// Reads all allowances, ascending by agent.
    pub async fn allowances(&self) -> Result<Vec<AgentAllowance>> {
        self.get(&["api", "allowances"]).list().await
    }

    /// Reads an agent's allowance.
    pub async fn allowance(&self, agent: &AgentId) -> Result<AgentAllowance> {
        self.get(&["api", "allowances", agent.as_str()]).answer().await
    }

    /// Sets an agent's allowance; repeated.
    pub async fn set_allowance(&self, allowance: &AgentAllowance) -> Result<()> {
        let path = ["api", "allowances", allowance.agent_id.as_str()];
        self.call(Method::PUT, &path).body(allowance)?.done().await
    }

    /// Removes an agent's allowance.
    pub async fn delete_allowance(&self, agent: &AgentId) -> Result<()> {
        self.call(Method::DELETE, &["api", "allowances", agent.as_str()]).done().await
    }

    /// Reads what an agent used today.
    pub async fn usage(&self, agent: &AgentId) -> Result<UsageRecord> {
        self.get(&["api", "usage", agent.as_str()]).answer().await
    }

    /// Sets an agent's day to zero; answers with what it used now.
    pub async fn reset_usage(&self, agent: &AgentId) -> Result<UsageRecord> {
        self.post(&["api", "allowances", agent.as_str(), "reset"]).answer().await
    }

    /// Reads a page of an agent's ledger, newest first; `cursor` is that of the page before.
    pub async fn ledger(&self, agent: &AgentId, cursor: Option<&str>, limit: usize) -> Result<EntryPage> {
        // In the query: an agent may be called as a route below is.
        let call = self.get(&["api", "ledger"]).query("agent", agent).maybe_query("cursor", cursor);
        call.query("limit", limit).answer().await
    }

    /// Recomputes every meter from the ledger; answers with what differs. The server reads all of it, and may take a while.
    pub async fn verify_ledger(&self) -> Result<Vec<Difference>> {
        self.get(&["api", "ledger", "verify"]).wait(MAX_WAIT).answer().await
    }

    /// Charges what a job used so far; repeated, as figures are cumulative.
    pub async fn report_usage(&self, report: &UsageReport) -> Result<UsageAnswer> {
        self.post(&["api", "usage"]).repeat_if(true).body(report)?.answer().await
    }

    /// Reads all quotas, ascending by model.
    pub async fn models(&self) -> Result<Vec<ModelQuota>> {
        self.get(&["api", "models"]).list().await
    }

    /// Reads a model's quota.
    pub async fn model(&self, model: &ModelName) -> Result<ModelQuota> {
        self.get(&["api", "models", model.as_str()]).answer().await
    }

    /// Sets a model's quota; repeated.
    pub async fn set_model(&self, quota: &ModelQuota) -> Result<()> {
        self.call(Method::PUT, &["api", "models", quota.model.as_str()]).body(quota)?.done().await
    }

    /// Removes a model's quota.
    pub async fn delete_model(&self, model: &ModelName) -> Result<()> {
        self.call(Method::DELETE, &["api", "models", model.as_str()]).done().await
    }

    /// Reads all budgets, ascending by scope, and how they stand.
    pub async fn budgets(&self) -> Result<Vec<Budget>> {
        self.get(&["api", "budgets"]).list().await
    }

    /// Reads a budget, and how it stands.
    pub async fn budget(&self, scope: &Scope) -> Result<Budget> {
        self.get(&["api", "budgets", &scope.to_string()]).answer().await
    }

    /// Sets a budget: the one of that version, whichever there is if the version is 0, and only then repeated.
    pub async fn set_budget(&self, budget: &Budget) -> Result<Budget> {
        self.call(Method::PUT, &["api", "budgets", &budget.scope.to_string()])
            .repeat_if(budget.version == 0)
            .body(budget)?
            .answer()
            .await
    }

    /// Removes a budget.
    pub async fn delete_budget(&self, scope: &Scope) -> Result<()> {
        self.call(Method::DELETE, &["api", "budgets", &scope.to_string()]).done().await
    }
}
