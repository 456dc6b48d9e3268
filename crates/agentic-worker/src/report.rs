//! What a command says of itself while it runs.
//!
//! A command may append JSON lines to the file that `AGENTIC_REPORT_FILE` names: `{"progress": 40, "notes": "…"}`, and
//! cumulative `{"tokens_in": …, "tokens_out": …, "cost_micros": …, "requests": …}`. Tokens may come by category, `input`,
//! `cache_read`, `cache_write`, `output` and `reasoning`, in the place of their totals or beside them. `{"resets_at": "…"}`
//! says that the provider's usage limit is used up until then: a command that fails after it gives its attempt back, and
//! nothing more of the model is given to the agent until then. Any subset of these fields may stand on one line. The
//! latest progress, notes and reset count, and the highest of each figure. Lines that are longer than 64 KiB, are not such
//! JSON, have a progress above 100, or totals that are not the sums of their categories are counted and otherwise ignored.

use std::{
    io::{self, SeekFrom},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    usage::{Categories, Figures},
};
use nix::fcntl::OFlag;
use serde::Deserialize;
use tokio::{
    fs::{File, OpenOptions, symlink_metadata},
    io::{AsyncReadExt, AsyncSeekExt},
};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// The most bytes that are read at once.
const MAX_READ: usize = 1024 * 1024;
/// The most bytes that are read after the command has ended.
const MAX_REST: usize = 64 * MAX_READ;

/// What a command has reported so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// 0–100.
    pub progress: Option<u8>,
    /// Free text, without NUL characters.
    pub notes: Option<String>,
    /// What it used since it began.
    pub figures: Figures,
    /// Until when the provider's usage limit is used up.
    pub resets_at: Option<Timestamp>,
}

/// Follows a report file: one that grows, is cut, is replaced, or is not there.
#[derive(Debug)]
pub struct ReportReader {
    path: PathBuf,
    open: Option<Open>,
    line: Vec<u8>,
    skipping: bool,
    standing: Standing,
    malformed: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    id: (u64, u64),
    offset: u64,
}

impl ReportReader {
    /// A reader of the file at `path`, from its start.
    pub fn new(path: PathBuf) -> Self {
        let standing = Standing::default();
        Self { path, open: None, line: Vec::new(), skipping: false, standing, malformed: 0 }
    }

    /// What was reported so far.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How many lines were ignored.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Reads what was appended, at most 1 MiB of it; the beginning of a line is kept for the next time.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub async fn poll(&mut self) -> io::Result<()> {
        self.follow().await?;
        self.read(MAX_READ).await.map(drop)
    }

    /// Reads the rest, at most 64 MiB of it, and takes a last line without an end.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.follow().await?;
        let read = self.read(MAX_REST).await;
        self.end_line();
        read.map(drop)
    }

    /// Opens the file that is there now, after the rest of the one that was, and goes back in one that was cut.
    async fn follow(&mut self) -> io::Result<()> {
        let meta = match symlink_metadata(&self.path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let id = (meta.dev(), meta.ino());
        if let Some(open) = &mut self.open
            && open.id == id
        {
            if meta.len() < open.offset {
                open.offset = open.file.seek(SeekFrom::Start(0)).await?;
                self.forget_line();
            }
            return Ok(());
        }
        self.read(MAX_READ).await?;
        self.forget_line();
        // The command may put anything there: never follow it elsewhere, and never wait for a writer.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).await?;
        let meta = file.metadata().await?;
        self.open = meta.is_file().then_some(Open { file, id: (meta.dev(), meta.ino()), offset: 0 });
        Ok(())
    }

    async fn read(&mut self, limit: usize) -> io::Result<usize> {
        let mut total = 0;
        let mut buffer = vec![0; 16 * 1024];
        while let Some(open) = &mut self.open
            && total < limit
        {
            let read = open.file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            open.offset += u64::try_from(read).unwrap_or(u64::MAX);
            total += read;
            self.take(&buffer[..read]);
        }
        Ok(total)
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(at) = bytes.iter().position(|&byte| byte == b'\n') {
            self.take_part(&bytes[..at]);
            self.end_line();
            bytes = &bytes[at + 1..];
        }
        self.take_part(bytes);
    }

    fn take_part(&mut self, part: &[u8]) {
        if self.skipping || self.line.len() + part.len() > MAX_LINE {
            self.line.clear();
            self.skipping = true;
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        let understood = !self.skipping && self.understand();
        if !understood {
            self.malformed += 1;
            if self.malformed == 1 {
                tracing::warn!(file = %self.path.display(), "a line of a report is not understood");
            }
        }
        self.forget_line();
    }

    fn forget_line(&mut self) {
        self.line.clear();
        self.skipping = false;
    }

    /// Takes in one line; `false` when it says nothing.
    fn understand(&mut self) -> bool {
        if self.line.trim_ascii().is_empty() {
            return true;
        }
        let Ok(said) = serde_json::from_slice::<Line>(&self.line) else { return false };
        if said == Line::default() || said.progress.is_some_and(|progress| progress > 100) {
            return false;
        }
        let Line { input, cache_read, cache_write, output, reasoning, .. } = said;
        let categories = Categories { input, cache_read, cache_write, output, reasoning };
        let totals = (said.tokens_in.unwrap_or_default(), said.tokens_out.unwrap_or_default());
        let Ok(tokens) = Figures::of_tokens(totals.0, totals.1, &categories) else { return false };
        let standing = &mut self.standing;
        standing.resets_at = said.resets_at.or(standing.resets_at);
        standing.progress = said.progress.or(standing.progress);
        standing.notes =
            said.notes.map(|notes| notes.replace('\0', "\u{fffd}")).or_else(|| standing.notes.take());
        let used = Figures { cost_micros: said.cost_micros, requests: said.requests, ..tokens };
        standing.figures = standing.figures.highest(used);
        true
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Line {
    progress: Option<u8>,
    notes: Option<String>,
    tokens_in: Option<Amount>,
    tokens_out: Option<Amount>,
    input: Option<Amount>,
    cache_read: Option<Amount>,
    cache_write: Option<Amount>,
    output: Option<Amount>,
    reasoning: Option<Amount>,
    resets_at: Option<Timestamp>,
    cost_micros: Option<Amount>,
    requests: Option<Amount>,
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
        time::Duration,
    };

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    struct Fixture {
        dir: TempDir,
        reader: ReportReader,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let reader = ReportReader::new(dir.path().join("report"));
            Self { dir, reader }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("report")
        }

        fn append(&self, text: impl AsRef<[u8]>) {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
            file.write_all(text.as_ref()).unwrap();
        }

        async fn poll(&mut self) -> (Option<u8>, u64, u64) {
            timeout(Duration::from_secs(10), self.reader.poll()).await.unwrap().unwrap();
            self.stands()
        }

        async fn finish(&mut self) -> (Option<u8>, u64, u64) {
            timeout(Duration::from_secs(10), self.reader.finish()).await.unwrap().unwrap();
            self.stands()
        }

        fn stands(&self) -> (Option<u8>, u64, u64) {
            let Standing { progress, figures, .. } = self.reader.standing();
            (*progress, figures.tokens().get(), self.reader.malformed())
        }
    }

    #[tokio::test]
    async fn lines_are_read_as_they_come() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.poll().await, (None, 0, 0), "no file yet");
        fixture.append("{\"progress\":40,\"notes\":\"a\\u0000b\"}\n{\"tokens_in\":5}\n{\"tok");
        assert_eq!(fixture.poll().await, (Some(40), 5, 0));
        fixture.append("ens_out\":7,\"cost_micros\":9,\"requests\":2}\r\n\n");
        assert_eq!(fixture.poll().await, (Some(40), 12, 0));
        let standing = fixture.reader.standing();
        assert_eq!(standing.notes.as_deref(), Some("a\u{fffd}b"));
        assert_eq!(standing.figures.cost_micros.unwrap().get(), 9);
        assert_eq!(standing.figures.requests.unwrap().get(), 2);
    }

    #[tokio::test]
    async fn categories_and_resets_are_read() {
        let mut fixture = Fixture::new();
        fixture.append("{\"input\":5,\"cache_read\":3,\"output\":2,\"reasoning\":1}\n");
        assert_eq!(fixture.poll().await, (None, 11, 0));
        assert_eq!(fixture.reader.standing().figures.cache_read.get(), 3);
        fixture.append("{\"tokens_in\":7,\"input\":5,\"cache_read\":3}\n");
        assert_eq!(fixture.poll().await, (None, 11, 1), "7 is not the sum");
        fixture.append("{\"resets_at\":\"2026-03-01T17:00:00Z\"}\n{\"resets_at\":\"soon\"}\n");
        assert_eq!(fixture.poll().await, (None, 11, 2));
        let resets_at = fixture.reader.standing().resets_at.unwrap();
        assert_eq!(resets_at.to_string(), "2026-03-01T17:00:00.000Z");
    }

    #[tokio::test]
    async fn figures_only_grow_and_progress_may_fall() {
        let mut fixture = Fixture::new();
        fixture.append("{\"tokens_in\":9,\"progress\":9}\n{\"tokens_in\":3,\"progress\":3}\n");
        assert_eq!(fixture.poll().await, (Some(3), 9, 0));
    }

    #[tokio::test]
    async fn what_is_not_understood_is_counted() {
        let mut fixture = Fixture::new();
        for bad in [
            "nonsense",
            "{\"tokens_in\":-1}",
            "{\"tokens_in\":1.5}",
            "{\"progress\":101}",
            "{\"nope\":1}",
            "[]",
        ] {
            fixture.append(format!("{bad}\n"));
        }
        fixture.append(b"\xff\xfe\n");
        fixture.append(format!("{{\"notes\":\"{}\"}}\n", "x".repeat(MAX_LINE)));
        fixture.append("{\"tokens_in\":1,\"unknown\":true}\n");
        assert_eq!(fixture.poll().await, (None, 1, 8));
    }

    #[tokio::test]
    async fn a_file_that_is_cut_or_replaced_is_followed() {
        let mut fixture = Fixture::new();
        fixture.append("{\"tokens_in\":1}\n{\"tokens_in\":2}\n{\"half");
        assert_eq!(fixture.poll().await, (None, 2, 0));
        fs::write(fixture.path(), "{\"progress\":1}\n").unwrap();
        assert_eq!(fixture.poll().await, (Some(1), 2, 0), "cut");
        fixture.append("{\"tokens_in\":3}\n");
        fs::rename(fixture.path(), fixture.dir.path().join("old")).unwrap();
        fixture.append("{\"progress\":2}\n");
        assert_eq!(fixture.poll().await, (Some(2), 3, 0), "replaced, the old one's end read");
        fs::remove_file(fixture.path()).unwrap();
        fixture.append("{\"progress\":4}\n");
        assert_eq!(fixture.poll().await, (Some(4), 3, 0), "removed and made again");
    }

    #[tokio::test]
    async fn the_last_line_needs_no_end() {
        let mut fixture = Fixture::new();
        fixture.append("{\"tokens_in\":4}\n{\"progress\":99}");
        assert_eq!(fixture.poll().await, (None, 4, 0));
        assert_eq!(fixture.finish().await, (Some(99), 4, 0));
    }

    #[tokio::test]
    async fn much_is_read_in_pieces_and_all_at_the_end() {
        let mut fixture = Fixture::new();
        let line = format!("{{\"notes\":\"{}\"}}\n", "x".repeat(MAX_LINE / 2));
        fixture.append(line.repeat(2 * MAX_READ / line.len() + 2));
        fixture.append("{\"tokens_in\":6}\n");
        assert_eq!(fixture.poll().await.1, 0);
        assert_eq!(fixture.finish().await, (None, 6, 0));
    }

    #[tokio::test]
    async fn what_is_no_file_is_left_alone() {
        let mut fixture = Fixture::new();
        let path = fixture.path();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(fixture.poll().await, (None, 0, 0), "a pipe without a writer");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(fixture.reader.poll().await.is_err(), "a link to somewhere else");
        assert_eq!(fixture.reader.malformed(), 0);
    }
}
