//! Runs the commands of the getting-started guide, as a reader would, on a server of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};

use crate::{command, port::free_port, readme, workspace};

/// The page whose commands run.
const GUIDE: &str = "docs/guide/getting-started.md";
/// How many seconds they may take.
const SECONDS: &str = "120";

/// Ends what the page started, the last first: workers before their server.
const ENDING: &str = r#"set -v
trap 'for job in $(jobs -p | tac); do kill "$job"; wait "$job" || true; done' EXIT
"#;

/// Runs every command of the page in an empty home, and fails with the first that does.
pub(crate) fn run(agentic: &Path) -> Result<()> {
    let home = workspace::target_dir()?.join("guide");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let page =
        fs::read_to_string(workspace::root().join(GUIDE)).with_context(|| format!("cannot read {GUIDE}"))?;
    let script = home.join("guide.sh");
    fs::write(&script, script_of(&page))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let programs = agentic.parent().context("the binary has no folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut bash = Command::new("timeout");
    bash.args([SECONDS, "bash", "-euo", "pipefail"]).arg(&script).current_dir(&home);
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("AGENTIC_") || name.starts_with("XDG_"))
    {
        bash.env_remove(name);
    }
    bash.env("HOME", &home).env("PATH", format!("{}:{path}", programs.display()));
    bash.env("AGENTIC_LISTEN", address.to_string()).env("AGENTIC_BASE_URL", format!("http://{address}"));
    command::run(&mut bash).with_context(|| format!("a command of {GUIDE} failed"))
}

/// The page's commands, each shown before it runs; a reader waits until the server answers, and so does the script.
fn script_of(page: &str) -> String {
    let mut script = String::from(ENDING);
    for line in readme::raw_shell_lines(page) {
        script.push_str(line);
        script.push('\n');
        if line.starts_with("agentic serve") {
            script.push_str(
                "for _ in $(seq 100); do agentic status >/dev/null 2>&1 && break; sleep 0.1; done\n",
            );
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_waits_for_the_server() {
        let script = script_of("```sh\nagentic serve &\nagentic list\n```\n```text\nno\n```\n");
        let lines: Vec<&str> = script.lines().skip(2).collect();
        assert_eq!((lines[0], lines[2]), ("agentic serve &", "agentic list"));
        assert!(lines[1].contains("agentic status") && lines.len() == 3, "{script}");
    }
}
