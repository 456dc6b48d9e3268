//! Agents as they are stored.

use agentic_core::{agent::AgentInfo, engine::AgentRow, error::Result};

use crate::sql::{Cells, Columns, Sql, Table};

/// Reads agents; the rest of the statement says which.
macro_rules! select_agent {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, capabilities, models, status, draining, last_heartbeat, max_load, registered_at,
                incarnation, deregistered FROM agents ",
            $rest
        )
    };
}

pub(crate) const AGENT: &str = select_agent!("WHERE id = ?1");
pub(crate) const AGENTS: &str = select_agent!("WHERE deregistered = 0 ORDER BY id");
pub(crate) const SILENT: &str = "SELECT id FROM agents INDEXED BY agents_alive
    WHERE status <> 'offline' AND last_heartbeat < ?1 ORDER BY id LIMIT ?2";

static WRITE_AGENTS: Table = Table::new(
    "agents (id, name, capabilities, models, status, draining, last_heartbeat, max_load, registered_at,
        incarnation, deregistered)",
    11,
    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities,
        models = excluded.models, status = excluded.status, draining = excluded.draining,
        last_heartbeat = excluded.last_heartbeat, max_load = excluded.max_load,
        registered_at = excluded.registered_at, incarnation = excluded.incarnation,
        deregistered = excluded.deregistered",
);

/// Reads the columns of `select_agent`.
pub(crate) fn read(columns: &mut Columns<'_>) -> Result<AgentRow> {
    let info = AgentInfo {
        id: columns.parse()?,
        name: columns.get()?,
        capabilities: columns.json()?,
        models: columns.json()?,
        status: columns.named()?,
        draining: columns.get()?,
        last_heartbeat: columns.at()?,
        current_load: 0,
        max_load: columns.get()?,
        registered_at: columns.at()?,
        incarnation: columns.unsigned()?,
    };
    Ok(AgentRow { info, deregistered: columns.get()? })
}

/// Writes agents, new or changed.
pub(crate) fn write<'a>(
    sql: Sql<'_>,
    changes: impl Iterator<Item = (Option<&'a AgentRow>, &'a AgentRow)>,
) -> Result<()> {
    let mut cells = Cells::default();
    for (_, AgentRow { info, deregistered }) in changes {
        cells
            .text(info.id.as_str())
            .text(&info.name)
            .json(&info.capabilities)?
            .json(&info.models)?
            .text(info.status.as_str())
            .int(info.draining)
            .at(info.last_heartbeat)
            .int(info.max_load)
            .at(info.registered_at)
            .int_cut(info.incarnation)
            .int(*deregistered);
    }
    sql.insert(&WRITE_AGENTS, &cells)
}
