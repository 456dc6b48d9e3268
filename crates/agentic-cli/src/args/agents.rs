//! The commands about agents.

use agentic_core::id::AgentId;
use clap::{Args, Subcommand};

/// `agents`.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
}

/// What to do with agents; without one, they are listed.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AgentCommand {
    /// List them
    List,
    /// Show one
    Show {
        /// Its id
        agent: AgentId,
    },
    /// Give it no more work; what it runs goes on
    Drain {
        /// Its id
        agent: AgentId,
    },
    /// Give it work again
    Resume {
        /// Its id
        agent: AgentId,
    },
    /// Forget it; what it runs ends with its leases
    Remove {
        /// Its id
        agent: AgentId,
    },
}
