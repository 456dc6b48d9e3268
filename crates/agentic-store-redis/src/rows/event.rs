//! Events: entries of a stream.

use agentic_core::{
    clock::Timestamp,
    error::Result,
    event::{Event, EventId},
};

use crate::{
    error::unreadable,
    reply::{Reply, misshapen},
};

/// The number in the id of an entry.
pub(crate) fn stream_id(text: &str) -> Result<EventId> {
    let number = text.split_once('-').map_or(text, |(number, _)| number);
    number.parse().map_err(|_| misshapen("an entry of the log has no number"))
}

/// An event from its entry: the id and the cells.
pub(crate) fn event(mut entry: Reply) -> Result<Event> {
    let id = stream_id(&entry.text()?)?;
    let cells = entry.cells()?;
    let filled = |name: &str| cells.text(name).filter(|text| !text.is_empty());
    Ok(Event {
        id,
        kind: cells.must("type")?,
        task_id: filled("task").map(str::parse).transpose()?,
        agent_id: filled("agent").map(str::parse).transpose()?,
        timestamp: Timestamp::from_millis(cells.must("at")?),
        payload: filled("payload").map(|json| serde_json::from_str(json).map_err(unreadable)).transpose()?,
    })
}
