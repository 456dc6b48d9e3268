//! The end of what a command printed.

use std::future;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of one stream that are kept.
pub(crate) const LIMIT: usize = 64 * 1024;

/// Reads a pipe to its end, and keeps the last [`LIMIT`] bytes.
#[derive(Debug)]
pub(crate) struct Tail<R> {
    pipe: Option<R>,
    kept: Vec<u8>,
    cut: bool,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin + Send> Tail<R> {
    pub(crate) fn new(pipe: Option<R>) -> Self {
        Self { pipe, kept: Vec::new(), cut: false, buffer: vec![0; 16 * 1024].into() }
    }

    /// Reads once; never ready again after the end. Nothing is lost when it is dropped.
    pub(crate) async fn fill(&mut self) {
        let Some(pipe) = &mut self.pipe else { return future::pending().await };
        match pipe.read(&mut self.buffer).await {
            Ok(0) | Err(_) => self.pipe = None,
            Ok(read) => {
                self.kept.extend_from_slice(&self.buffer[..read]);
                // Twice the limit, so that the front is moved once in a while and not with every read.
                if self.kept.len() > 2 * LIMIT {
                    self.kept.drain(..self.kept.len() - LIMIT);
                    self.cut = true;
                }
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn finish(&mut self) {
        while self.pipe.is_some() {
            self.fill().await;
        }
    }

    /// What is kept, as text that a task can carry: begun at a character, invalid bytes and NUL replaced.
    pub(crate) fn text(&self) -> String {
        let mut kept = &self.kept[self.kept.len().saturating_sub(LIMIT)..];
        if self.cut || kept.len() < self.kept.len() {
            let inside = kept.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count();
            kept = &kept[inside..];
        }
        String::from_utf8_lossy(kept).replace('\0', "\u{fffd}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail(input: &[u8]) -> String {
        let mut tail = Tail::new(Some(input));
        tail.finish().await;
        tail.text()
    }

    #[tokio::test]
    async fn short_output_is_kept_whole() {
        assert_eq!(tail(b"").await, "");
        assert_eq!(tail("grün\n".as_bytes()).await, "grün\n");
        assert_eq!(tail(b"a\0b\xff").await, "a\u{fffd}b\u{fffd}");
    }

    #[tokio::test]
    async fn long_output_is_cut_in_front_at_a_character() {
        for more in 0..4 {
            let input = format!("{}{}", "€".repeat(100_000), "x".repeat(more));
            let text = tail(input.as_bytes()).await;
            assert!(text.len() <= LIMIT && text.len() > LIMIT - 3, "{}", text.len());
            assert!(input.ends_with(&text));
        }
    }
}
