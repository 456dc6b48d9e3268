//! The binary `agentic`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentic_cli::main()
}
