//! `agentic budget`.

use agentic_core::{
    budget::{Budget, BudgetLimit},
    error::Error,
};
use serde_json::json;

use crate::{
    args::BudgetCommand,
    failure::Failure,
    output::{Table, figure, or_dash, window},
    session::Session,
};

/// Shows and sets further limits of any scope.
pub(crate) async fn budget(session: &Session, command: BudgetCommand) -> Result<(), Failure> {
    let client = session.client()?;
    match command {
        BudgetCommand::List => {
            let budgets = client.budgets().await?;
            if budgets.is_empty() {
                session.printer.note("there is no budget; allowances and quotas hold alone");
            }
            if session.printer.is_json { session.printer.json(&budgets) } else { print(session, &budgets) }
        }
        BudgetCommand::Get { scope } => one(session, client.budget(&scope).await?),
        BudgetCommand::Set { scope, limits } => {
            let named = limits.named();
            if named.is_empty() {
                return Err(Failure::usage("name a limit, such as --daily-tokens 1000000"));
            }
            if limits.resets_at.is_some() && named.iter().all(|limit| limit.anchor.is_none()) {
                let detail = "--resets-at is for windows that begin at their first use, such as --limit tokens:5h:1000";
                return Err(Failure::usage(detail));
            }
            let stands = match client.budget(&scope).await {
                Err(Error::NotFound { .. }) => Budget::new(scope),
                found => found?,
            };
            let scope = client.set_budget(&changed(stands, named)).await?.scope;
            one(session, client.budget(&scope).await?)
        }
        BudgetCommand::Lift { scope } => {
            let stands = client.budget(&scope).await?;
            if stands.hold.is_none() {
                session.printer.note(&format!("{scope} is not on hold"));
            }
            if stands.limits.is_empty() {
                client.delete_budget(&scope).await?;
            } else {
                client.set_budget(&bare(Budget { hold: None, ..stands })).await?;
            }
            told(session, &scope.to_string(), "lifted", "is not on hold any more")
        }
        BudgetCommand::Delete { scope } => {
            client.delete_budget(&scope).await?;
            told(session, &scope.to_string(), "deleted", "has no budget any more")
        }
    }
}

/// What is named takes the place of the same meter and window, or is added; cap 0 removes.
fn changed(stands: Budget, named: Vec<BudgetLimit>) -> Budget {
    let mut next = bare(stands);
    for limit in named {
        let same = |other: &BudgetLimit| (other.meter, other.window) == (limit.meter, limit.window);
        match next.limits.iter().position(same) {
            Some(at) if limit.cap.is_zero() => drop(next.limits.remove(at)),
            Some(at) => {
                let anchor = limit.anchor.or(next.limits[at].anchor);
                next.limits[at] = BudgetLimit { anchor, ..limit };
            }
            None if limit.cap.is_zero() => {}
            None => next.limits.push(limit),
        }
    }
    next
}

/// The budget without what is only read.
fn bare(mut budget: Budget) -> Budget {
    for limit in &mut budget.limits {
        limit.standing = None;
    }
    budget
}

fn told(session: &Session, scope: &str, done: &str, words: &str) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(&json!({ "scope": scope, "done": done }));
    }
    session.printer.line(&format!("{scope} {words}"))
}

fn one(session: &Session, budget: Budget) -> Result<(), Failure> {
    if session.printer.is_json { session.printer.json(&budget) } else { print(session, &[budget]) }
}

fn print(session: &Session, budgets: &[Budget]) -> Result<(), Failure> {
    let mut table =
        Table::new(&["SCOPE", "METER", "WINDOW", "USED", "RESERVED", "CAP", "RESETS AT", "SHADOW"]);
    for budget in budgets {
        if let Some(hold) = &budget.hold {
            session
                .printer
                .note(&format!("{} is on hold until {} ({})", budget.scope, hold.until, hold.reason));
        }
        for limit in &budget.limits {
            let figure = |amount| figure(limit.meter, amount);
            let standing = limit.standing.as_ref();
            table.row([
                budget.scope.to_string(),
                limit.meter.to_string(),
                window(limit.window),
                or_dash(standing.map(|standing| figure(standing.used))),
                or_dash(standing.map(|standing| figure(standing.reserved))),
                figure(limit.cap),
                or_dash(standing.and_then(|standing| standing.resets_at)),
                match (limit.shadow, standing.and_then(|standing| standing.would_refuse)) {
                    (true, Some(refused)) => format!("would have refused {refused}"),
                    (true, None) => "yes".to_owned(),
                    (false, _) => "-".to_owned(),
                },
            ]);
        }
    }
    if table.is_empty() { Ok(()) } else { session.printer.table(table) }
}
