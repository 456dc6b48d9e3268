//! The admin token of a data directory.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use agentic_core::error::{Error, Result};

/// The file's name in the data directory.
const NAME: &str = "token";
/// The most bytes of a token file that are read.
const MAX_LEN: u64 = 1_024;

/// The admin token of the data directory `dir`: what stands in `DIR/token`, which is made at the first call (256
/// random bits, readable by its owner only) and with it the directory.
///
/// # Errors
/// `Backend` when the file cannot be made or read; `Invalid` when others may read it, or it does not hold a token.
pub fn admin_token(dir: &Path) -> Result<String> {
    let path = dir.join(NAME);
    let failed = |what: &str, error: io::Error| {
        Error::backend_from(format!("{what} the admin token {}", path.display()), error)
    };
    match read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("reading", error)),
        Ok(found) => return check(&path, found),
    }
    create(dir, &path).map_err(|error| failed("making", error))?;
    // Whoever was first made it, whole.
    let found = read(&path).map_err(|error| failed("reading", error))?;
    check(&path, found)
}

/// What a token file holds, and its mode.
struct Found {
    text: String,
    mode: u32,
}

fn read(path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(Found { text, mode })
}

fn check(path: &Path, found: Found) -> Result<String> {
    let path = path.display();
    if found.mode & 0o077 != 0 {
        let detail =
            format!("{path} can be used by others: run chmod 600 on it, or delete it to get a new one");
        return Err(Error::invalid("admin_token", detail));
    }
    let token = found.text.trim_end();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("{path} does not hold a token: delete it to get a new one");
        return Err(Error::invalid("admin_token", detail));
    }
    Ok(token.to_owned())
}

/// Makes the file in one step: it is there whole, or not at all; one that is there already stays.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let whole = dir.join(format!(".{NAME}.{}", random_hex(1)?));
    let written = write(&whole).and_then(|()| fs::hard_link(&whole, path));
    let removed = fs::remove_file(&whole);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        written => written?,
    }
    removed?;
    File::open(dir)?.sync_all()
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The mode at creation is cut by the umask, which may leave less than the owner needs.
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", random_hex(4)?)?;
    file.sync_all()
}

/// So many times 64 random bits from the system.
fn random_hex(words: usize) -> io::Result<String> {
    let mut text = String::new();
    for _ in 0..words {
        let word = getrandom::u64().map_err(io::Error::other)?;
        let _ = write!(text, "{word:016x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let token = admin_token(&data).unwrap();
        assert_eq!((token.len(), admin_token(&data).unwrap()), (64, token.clone()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join(NAME))), (0o700, 0o600));
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
        assert_ne!(admin_token(&dir.path().join("c")).unwrap(), token);
    }

    #[test]
    fn all_who_start_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let ask = || admin_token(dir.path()).unwrap();
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        admin_token(dir.path()).unwrap();
        for mode in [0o644, 0o640, 0o602] {
            fs::set_permissions(dir.path().join(NAME), Permissions::from_mode(mode)).unwrap();
            let refused = admin_token(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        for text in ["", "\n", "short", "a token with blanks in it"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(admin_token(dir.path()).is_err(), "{text:?}");
        }
    }
}
