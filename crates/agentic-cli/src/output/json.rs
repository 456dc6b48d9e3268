//! JSON that is safe on a terminal.

use std::fmt::Write;

use serde::Serialize;

use crate::failure::Failure;

/// JSON on several lines.
pub(super) fn pretty<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(escape).map_err(broken)
}

/// JSON on one line.
pub(super) fn line<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map(escape).map_err(broken)
}

fn broken(error: serde_json::Error) -> Failure {
    Failure::because("the answer cannot be written as JSON", &error)
}

/// Writes what a terminal would act on as JSON's own escapes, so that a program still reads the same text.
///
/// Such characters can stand only inside strings, since what JSON has outside of them is ASCII.
fn escape(json: String) -> String {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return json;
    }
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && agentic_core::text::visible(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() {
            // All of them are below U+10000. Writing to a string cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_reads_back() {
        let text = "a\u{1b}[2J\u{9b}x\u{202e}\u{7f}ä\n";
        let json = pretty(&[text]).unwrap();
        assert!(json.chars().all(|c| c == '\n' || !c.is_control()), "{json:?}");
        assert!(!json.contains('\u{202e}'));
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap()[0], text);
    }
}
