//! `agentic ledger`.

use agentic_client::Client;
use agentic_core::{
    allowance::CostBasis,
    amount::Amount,
    clock::Timestamp,
    id::AgentId,
    job::{Entry, Move},
    limit::Meter,
    port::EntryPage,
    task::Page,
};

use crate::{
    args::LedgerCommand,
    failure::Failure,
    output::{Table, figure, or_dash, window},
    session::Session,
};

/// Shows and checks what moved the meters.
pub(crate) async fn ledger(session: &Session, command: LedgerCommand) -> Result<(), Failure> {
    let client = session.client()?;
    match command {
        LedgerCommand::Verify => verify(session, &client).await,
        LedgerCommand::Show { agent, limit, since } => {
            let since = since.map(|since| since.before(session.now()));
            let page = read(&client, &agent, limit, since).await?;
            if session.printer.is_json { session.printer.json(&page) } else { print(session, &agent, &page) }
        }
    }
}

async fn verify(session: &Session, client: &Client) -> Result<(), Failure> {
    let differences = client.verify_ledger().await?;
    if session.printer.is_json {
        session.printer.json(&differences)?;
    } else if differences.is_empty() {
        session.printer.line("every meter is the sum of its entries")?;
    } else {
        let mut table = Table::new(&["LIMIT", "BUCKET", "METER", "ENTRIES", "DIFFERENCE"]);
        for found in &differences {
            table.row([
                found.key.to_string(),
                found.bucket.to_string(),
                found.meter.to_string(),
                found.entries.to_string(),
                found.meter.saturating_sub(found.entries).to_string(),
            ]);
        }
        session.printer.table(table)?;
    }
    match differences.len() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 meter is not the sum of its entries")),
        count => Err(Failure::failed(format!("{count} meters are not the sum of their entries"))),
    }
}

/// Reads at most `limit` entries, newest first, none from before `since`.
async fn read(
    client: &Client,
    agent: &AgentId,
    limit: usize,
    since: Option<Timestamp>,
) -> Result<EntryPage, Failure> {
    let mut all = EntryPage::default();
    loop {
        let want = (limit - all.entries.len()).min(Page::MAX_LIMIT);
        let page = client.ledger(agent, all.next.as_deref(), want).await?;
        let before = all.entries.len() + page.entries.len();
        all.entries
            .extend(page.entries.into_iter().filter(|entry| since.is_none_or(|since| entry.at >= since)));
        if all.entries.len() < before {
            return Ok(EntryPage { next: None, ..all });
        }
        (all.next, all.opening) = (page.next, page.opening);
        if all.next.is_none() || all.entries.len() >= limit {
            return Ok(all);
        }
    }
}

fn print(session: &Session, agent: &AgentId, page: &EntryPage) -> Result<(), Failure> {
    let mut table = Table::new(&["AT", "KIND", "JOB", "MODEL", "COST IS", "MOVED"]);
    for Entry { kind, at, job, model, cost_source, moves, .. } in &page.entries {
        let (job, model) = (or_dash(job.as_ref()), or_dash(model.as_ref()));
        let source = or_dash(cost_source.map(CostBasis::as_str));
        table.row([at.to_string(), kind.to_string(), job, model, source, moved(moves)]);
    }
    if !page.opening.is_empty() {
        let [at, kind, job, model, source] = ["-", "opening", "-", "-", "-"].map(str::to_owned);
        table.row([at, kind, job, model, source, moved(&page.opening)]);
    }
    if table.is_empty() {
        session.printer.note(&format!("nothing was booked for {agent}"));
        return Ok(());
    }
    session.printer.table(table)?;
    if page.next.is_some() {
        session.printer.note("older entries follow; --limit says how many are shown");
    }
    Ok(())
}

/// What moved by how much: `+7 tokens (agent:a day, model:m day); +1 jobs (agent:a day)`.
fn moved(moves: &[Move]) -> String {
    let mut groups: Vec<(Meter, i64, Vec<String>)> = Vec::new();
    for Move { key, delta, .. } in moves {
        let name = format!("{} {}", key.scope, window(key.window));
        match groups.iter_mut().find(|(meter, by, _)| *meter == key.meter && by == delta) {
            Some((_, _, names)) => names.push(name),
            None => groups.push((key.meter, *delta, vec![name])),
        }
    }
    let words = groups.iter().map(|(meter, delta, names)| {
        let sign = if *delta < 0 { '-' } else { '+' };
        let by = figure(*meter, Amount::saturating(delta.unsigned_abs()));
        format!("{sign}{by} {meter} ({})", names.join(", "))
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use agentic_core::limit::{MeterKey, Scope, Window};

    use super::*;

    #[test]
    fn what_moved_is_told_once_for_all_that_moved_alike() {
        let agent = || Scope::Agent("a".parse().unwrap());
        let model = || Scope::Model("v/m".parse().unwrap());
        let step =
            |scope, meter, window, delta| Move { key: MeterKey { scope, meter, window }, bucket: 5, delta };
        let moves = [
            step(agent(), Meter::Tokens, Window::Day, -7),
            step(model(), Meter::Tokens, Window::Day, -7),
            step(model(), Meter::Cost, Window::Lifetime, 30),
        ];
        let told = "-7 tokens (agent:a day, model:v/m day); +$0.00003 cost (model:v/m lifetime)";
        assert_eq!(moved(&moves), told);
        assert_eq!(moved(&[]), "");
    }
}
