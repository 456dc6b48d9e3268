//! The one place that writes to standard output and standard error.

use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin, stdout};

use agentic_core::text::visible;
use serde::Serialize;

use super::{Table, json};
use crate::failure::{Failure, Kind};

/// How much of an answer is read, in bytes.
const MAX_LINE: u64 = 1_024;

/// What shows the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Screen {
    /// A file, or another program.
    None,
    /// A terminal without colours.
    Plain,
    /// A terminal with colours.
    Coloured,
}

/// Where output goes, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Whether programs read it.
    pub is_json: bool,
    /// What reads standard output.
    out: Screen,
    /// Whether standard error is a terminal, on which progress can move.
    is_lively: bool,
}

#[expect(clippy::unused_self, reason = "output goes through one value, whether or not its kind matters")]
impl Printer {
    /// A printer for this process.
    ///
    /// Colours only on a terminal that has them, and never with `NO_COLOR`.
    pub(crate) fn new(is_json: bool, no_color: bool, dumb: bool) -> Self {
        let out = match (stdout().is_terminal(), no_color || dumb) {
            (false, _) => Screen::None,
            (true, true) => Screen::Plain,
            (true, false) => Screen::Coloured,
        };
        Self { is_json, out, is_lively: !dumb && !is_json && stderr().is_terminal() }
    }

    /// Whether progress can be drawn over itself.
    pub(crate) fn is_lively(self) -> bool {
        self.is_lively
    }

    /// A line of the result.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = stdout().lock();
        writeln!(out, "{}", visible(text))?;
        Ok(out.flush()?)
    }

    /// A result of several lines: each is made visible by itself.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut out = stdout().lock();
        for line in text.lines() {
            writeln!(out, "{}", visible(line))?;
        }
        Ok(out.flush()?)
    }

    /// A result for programs.
    pub(crate) fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.raw(&json::pretty(value)?)
    }

    /// One of a stream of results for programs, on a line of its own.
    pub(crate) fn json_line<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.json_item("", value)
    }

    /// One of an array of results for programs, on a line of its own after `lead`.
    pub(crate) fn json_item<T: Serialize + ?Sized>(self, lead: &str, value: &T) -> Result<(), Failure> {
        self.raw(&format!("{lead}{}", json::line(value)?))
    }

    /// A table.
    pub(crate) fn table(self, table: Table) -> Result<(), Failure> {
        self.raw(&table.render(self.out))
    }

    /// What this program made itself and knows to be safe.
    pub(crate) fn raw(self, text: &str) -> Result<(), Failure> {
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// Talk: what a person may want to know; programs are spared it.
    pub(crate) fn note(self, text: &str) {
        if self.is_json {
            return;
        }
        let mut err = stderr().lock();
        for line in text.lines() {
            // Nobody is left to be told that talk could not be written.
            let _ = writeln!(err, "{}", visible(line));
        }
    }

    /// Asks a person, who says yes or no.
    ///
    /// # Errors
    /// A usage failure where nobody is there to be asked.
    pub(crate) fn confirm(self, question: &str) -> Result<bool, Failure> {
        if self.is_json || !stdin().is_terminal() || !stderr().is_terminal() {
            return Err(Failure::usage("nobody is there to be asked").hint("--yes answers beforehand"));
        }
        let mut err = stderr().lock();
        write!(err, "{} [y/N] ", visible(question))?;
        err.flush()?;
        let mut answer = String::new();
        stdin().lock().take(MAX_LINE).read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Why the program ends with an error.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.kind == Kind::Closed {
            return;
        }
        if self.is_json {
            if let Ok(text) = json::line(failure) {
                let _ = writeln!(stderr().lock(), "{text}");
            }
            return;
        }
        self.note(&format!("error: {}", failure.error));
        for hint in &failure.hints {
            self.note(&format!("  hint: {hint}"));
        }
    }
}
