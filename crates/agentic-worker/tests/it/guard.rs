//! The guard: statuses, standard input, signals, and the death of its worker.

use std::{
    env, fs,
    io::{BufRead, BufReader, PipeReader, Read, pipe},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// The example program that is a guard by itself; built with the tests.
pub(crate) fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/guard");
    assert!(program.exists(), "{} is missing: build the examples", program.display());
    program
}

fn guarded(lifeline: impl Into<Stdio>, input: &Path, script: &str) -> (Child, BufReader<PipeReader>) {
    let (reader, writer) = pipe().unwrap();
    let mut command = Command::new(program());
    command.arg(input).args(["--", "sh", "-c", script]).process_group(0);
    let child = command.stdin(lifeline).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    (child, BufReader::new(reader))
}

fn group(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn status_and_input_pass_through() {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), "the task\n").unwrap();
    let (reader, _worker) = pipe().unwrap();
    let (mut child, mut output) = guarded(reader.try_clone().unwrap(), input.path(), "cat; exit 7");
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(7), "the task\n"));
    let (mut child, _output) = guarded(reader, input.path(), "kill -9 $$");
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn a_command_that_cannot_start_is_said_so() {
    let (reader, _worker) = pipe().unwrap();
    let mut command = Command::new(program());
    command.args(["/dev/null", "--", "/no/such/program"]).process_group(0).stdin(reader);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/program"));
}

#[test]
fn it_stays_for_the_grace_of_its_command() {
    let (reader, _worker) = pipe().unwrap();
    let script = "trap 'echo saved; exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let (mut child, mut output) = guarded(reader, Path::new("/dev/null"), script);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    killpg(group(&child), Signal::SIGTERM).unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("up\nsaved\n", Some(3)));
}

#[test]
fn a_worker_killed_by_sigkill_takes_the_tree_along() {
    let (reader, writer) = pipe().unwrap();
    // Stands for the worker: it holds the lifeline and does nothing else.
    let mut worker = Command::new("sleep").arg("1000").stdout(writer).spawn().unwrap();
    let script = "trap '' TERM; (trap '' TERM; sleep 1000) & echo up; wait";
    let (mut child, mut output) = guarded(reader, Path::new("/dev/null"), script);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Ends when nobody holds the other end: the whole tree is gone.
    assert_eq!(output.read_line(&mut line).unwrap(), 0);
}
