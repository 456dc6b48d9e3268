//! A guard by itself: what `WorkerConfig::guard` needs of a program that is no `agentic`.
//!
//! Called by a worker as `guard FILE -- COMMAND ARGS…`.

use std::{env, ffi::OsString, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    match args.as_slice() {
        [file, dashes, command @ ..] if dashes == "--" => {
            agentic_worker::guard::main(Path::new(file), command)
        }
        _ => ExitCode::from(2),
    }
}
