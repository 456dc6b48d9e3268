//! The binary `agentic`.

use std::process::ExitCode;

/// Answering a request allocates many little things, which was a tenth of a server's time with glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    agentic_cli::main()
}
