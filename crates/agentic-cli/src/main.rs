//! The binary `agentic`.
fn main() {}
