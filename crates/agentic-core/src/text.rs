//! Text of strangers, made fit to be printed.

use std::borrow::Cow;

/// Makes visible what a terminal would act on, or a reader be misled by, and leaves the rest alone.
///
/// Control characters (C0, DEL, C1: so every ANSI escape), line and paragraph separators, and the marks that reorder
/// text (the bidirectional ones of Unicode's UAX #9) are written as Rust escapes: `\n`, `\u{1b}`, `\u{202e}`. The
/// answer is always one line; text of several lines is printed line by line.
///
/// ```
/// assert_eq!(agentic_core::text::visible("done\u{1b}[2J"), "done\\u{1b}[2J");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown() {
        for (text, shown) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}]0;x\u{7}", r"\u{1b}]0;x\u{7}"),
            ("\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\u{0}"),
            ("user\u{202e}txt.exe\u{2066}\u{2069}", r"user\u{202e}txt.exe\u{2066}\u{2069}"),
            ("\u{2028}\u{200f}", r"\u{2028}\u{200f}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["", "plain", "Grüße, 日本, 👩‍💻", r"C:\new"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
