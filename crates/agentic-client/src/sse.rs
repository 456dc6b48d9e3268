//! Server-sent events, cut out of a stream of bytes (WHATWG HTML, §9.2.6).
//!
//! Only the `data` of an event is read: its id and type stand in there too. Lines end with a line feed, as servers of
//! agentic write them.

use std::collections::VecDeque;

use agentic_core::{
    error::{Error, Result},
    event::Event,
};

/// The most bytes that are held for one event.
const MAX_EVENT: usize = 4 << 20;

/// Takes bytes as they come, and gives events as they are complete.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    data: Vec<u8>,
    complete: VecDeque<Event>,
}

impl Decoder {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// `Backend` for an event that is none, or above 4 MiB.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.data.len() + piece.len() > MAX_EVENT {
                return Err(Error::backend("reading an event above 4 MiB"));
            }
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// Gives the next complete event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.complete.pop_front()
    }

    fn end_line(&mut self) -> Result<()> {
        let line = self.line.trim_ascii_end();
        if line.is_empty() && !self.data.is_empty() {
            let event = serde_json::from_slice(&self.data);
            self.complete.push_back(event.map_err(|error| Error::backend_from("reading an event", error))?);
            self.data.clear();
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.data.extend_from_slice(data);
            self.data.push(b'\n');
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = ": alive\n\nid: 1\nevent: task_created\r\ndata: {\"id\":1,\"type\":\"task_created\",\r\n\
        data:\"timestamp\":\"2026-01-01T00:00:00Z\",\"payload\":{\"title\":\"ä\"}}\r\n\r\nretry: 5\n\n\
        data: {\"id\":2,\"type\":\"task_claimed\",\"timestamp\":\"2026-01-01T00:00:00Z\"}\n\n";

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        for size in 1..TWO.len() {
            let mut decoder = Decoder::default();
            for bytes in TWO.as_bytes().chunks(size) {
                decoder.feed(bytes).unwrap();
            }
            let first = decoder.pop().unwrap();
            assert_eq!((first.id, first.payload.unwrap()["title"].as_str()), (1, Some("ä")), "{size}");
            assert_eq!(decoder.pop().unwrap().id, 2);
            assert_eq!(decoder.pop(), None);
        }
    }

    #[test]
    fn an_event_is_complete_at_its_blank_line() {
        let mut decoder = Decoder::default();
        let (before, last) = TWO.as_bytes().split_at(TWO.len() - 1);
        decoder.feed(before).unwrap();
        assert_eq!(decoder.pop().unwrap().id, 1);
        assert_eq!(decoder.pop(), None);
        decoder.feed(last).unwrap();
        assert_eq!(decoder.pop().unwrap().id, 2);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let line = format!("data: {}\n", "x".repeat(1 << 20));
        let mut decoder = Decoder::default();
        let fed = (0..9).take_while(|_| decoder.feed(line.as_bytes()).is_ok()).count();
        assert_eq!(fed, 3);
        let mut decoder = Decoder::default();
        let endless = "x".repeat(1 << 10);
        let fed = (0..9_999).take_while(|_| decoder.feed(endless.as_bytes()).is_ok()).count();
        assert_eq!(fed, 4 << 10);
    }

    #[test]
    fn nonsense_is_told() {
        assert_eq!(Decoder::default().feed(b"data: nonsense\n\n").unwrap_err().code(), "backend");
    }
}
