//! Tables.

use agentic_core::text::visible;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, presets::NOTHING};

use super::printer::Screen;

/// A table in the making; every text in it is made visible.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Whether it has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text. On a terminal it fits the width; elsewhere each row is one line.
    pub(super) fn render(self, screen: Screen) -> String {
        let colour = screen == Screen::Coloured;
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(match screen {
            Screen::None => ContentArrangement::Disabled,
            Screen::Plain | Screen::Coloured => ContentArrangement::Dynamic,
        });
        if colour {
            table.enforce_styling();
        }
        let bold =
            |name| if colour { Cell::new(name).add_attribute(Attribute::Bold) } else { Cell::new(name) };
        table.set_header(self.head.iter().map(bold));
        for row in self.rows {
            table.add_row(row.into_iter().map(|text| {
                let cell = Cell::new(visible(&text));
                match colour_of(&text).filter(|_| colour) {
                    Some(colour) => cell.fg(colour),
                    None => cell,
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

/// Words that mean the same everywhere have the same colour everywhere.
fn colour_of(text: &str) -> Option<Color> {
    match text {
        "completed" | "available" | "ok" => Some(Color::Green),
        "failed" | "offline" | "exceeded" | "FAILED" => Some(Color::Red),
        "in_progress" | "busy" => Some(Color::Cyan),
        "blocked" | "warning" => Some(Color::Yellow),
        "cancelled" => Some(Color::DarkGrey),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_without_escapes() {
        let mut table = Table::new(&["ID", "TITLE"]);
        table.row(["t-1".into(), "x\n\u{1b}[31my".into()]);
        table.row(["t-22".into(), "z".repeat(300)]);
        let text = table.render(Screen::None);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.starts_with("ID    TITLE"), "{text:?}");
    }

    #[test]
    fn colours_are_on_words_of_ours_only() {
        let mut table = Table::new(&["STATUS", "TITLE"]);
        table.row(["failed".into(), "\u{1b}[32mcompleted".into()]);
        let text = table.render(Screen::Coloured);
        assert!(text.contains('\u{1b}') && !text.contains("\u{1b}[32m"), "{text:?}");
    }
}
