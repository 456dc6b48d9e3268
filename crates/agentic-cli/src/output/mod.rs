//! Output: results on standard output, talk on standard error.

mod json;
mod printer;
mod table;
mod words;

pub(crate) use printer::Printer;
pub(crate) use table::Table;
pub(crate) use words::{ago, amount_or_unlimited, figure, list_or_dash, meter_key, or_dash, window};
