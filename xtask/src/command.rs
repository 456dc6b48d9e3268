//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Write, stdout},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// A cargo command at the root of the repository.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    workspace::at_root(command)
}

/// Says what it runs, runs it, and fails if that fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Says what it runs, runs it, and answers how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    eprintln!("$ {}", shown(command));
    command.status().with_context(|| format!("cannot run {}", shown(command)))
}

/// As [`status`], and hands each line of the standard output on to `line` after it was passed through.
pub(crate) fn tee(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    eprintln!("$ {}", shown(command));
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    if let Some(output) = child.stdout.take() {
        for read in BufReader::new(output).lines() {
            let read = read?;
            writeln!(stdout(), "{read}")?;
            line(&read);
        }
    }
    Ok(child.wait()?)
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let name = |word: &OsStr| word.to_string_lossy().into_owned();
    let mut words: Vec<String> = words.map(name).collect();
    if let Some(program) = words.first_mut()
        && let Some((_, file)) = program.rsplit_once('/')
    {
        *program = file.to_owned();
    }
    words.join(" ")
}
