//! `agentic list`.

use agentic_core::task::{Page, Task, TaskFilter};

use crate::{
    args::ListArgs,
    failure::Failure,
    output::{Printer, Table, ago, list_or_dash, or_dash},
    session::Session,
};

/// Lists tasks, oldest first, each page as it comes.
pub(crate) async fn list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let filter = TaskFilter {
        status: args.status,
        labels: args.label.into_iter().collect(),
        priority: args.priority,
        project: args.project,
        claimed_by: args.claimed_by,
    };
    let client = session.client()?;
    let mut pages = Pages { session, printed: 0 };
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut page = Page::first(0);
    loop {
        page.limit = usize::try_from(left).unwrap_or(usize::MAX).min(Page::MAX_LIMIT);
        let answer = client.list_tasks(&filter, &page).await?;
        left = left.saturating_sub(answer.tasks.len() as u64);
        pages.print(&answer.tasks)?;
        match answer.next {
            Some(next) if left > 0 => page.cursor = Some(next),
            more => return pages.end(more.is_some()),
        }
    }
}

/// Pages on their way out: one JSON array with a task a line, or one table after another.
struct Pages<'a> {
    session: &'a Session,
    printed: u64,
}

impl Pages<'_> {
    fn printer(&self) -> Printer {
        self.session.printer
    }

    fn print(&mut self, tasks: &[Task]) -> Result<(), Failure> {
        if self.printer().is_json {
            for task in tasks {
                self.printer().json_item(if self.printed == 0 { "[" } else { "," }, task)?;
                self.printed += 1;
            }
            return Ok(());
        }
        self.printed += tasks.len() as u64;
        if tasks.is_empty() { Ok(()) } else { self.printer().table(table(self.session, tasks)) }
    }

    fn end(self, has_more: bool) -> Result<(), Failure> {
        if self.printer().is_json {
            return self.printer().raw(if self.printed == 0 { "[]" } else { "]" });
        }
        if self.printed == 0 {
            self.printer().note("no task matches");
        } else if has_more {
            self.printer().note("there are more: --all, or a higher --limit");
        }
        Ok(())
    }
}

fn table(session: &Session, tasks: &[Task]) -> Table {
    let now = session.now();
    let mut table = Table::new(&["ID", "STATUS", "PRIORITY", "TRY", "AGENT", "AGE", "LABELS", "TITLE"]);
    for task in tasks {
        table.row([
            task.id.to_string(),
            task.status.to_string(),
            task.priority.to_string(),
            task.attempt.to_string(),
            or_dash(task.claimed_by.as_ref()),
            ago(task.created_at, now),
            list_or_dash(&task.labels),
            task.title.clone(),
        ]);
    }
    table
}
