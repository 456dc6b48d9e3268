//! The commands in the documents: they exist, with the flags that are shown, and those of the first guide run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;

use crate::{Args, guide, tidy, workspace};

/// Holds every command in a shell block of a document against the help of the program.
pub(crate) fn run() -> Result<()> {
    let agentic = workspace::build("dev", &["agentic-cli"], "agentic")?;
    let mut helps = Helps { agentic, seen: BTreeMap::new() };
    let mut wrong = Vec::new();
    for file in tidy::documents(&workspace::root())? {
        for line in shell_lines(&file.text) {
            for command in commands(&line) {
                if let Err(problem) = check(&command, &mut helps)? {
                    wrong.push(format!("{}: `{line}`: {problem}", file.path));
                }
            }
        }
    }
    for problem in &wrong {
        eprintln!("{problem}");
    }
    ensure!(wrong.is_empty(), "{} commands in the documents do not exist", wrong.len());
    guide::run(&helps.agentic)
}

/// The lines of all `sh` blocks.
pub(crate) fn raw_shell_lines(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = language == "sh";
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

/// The lines of all `sh` blocks, continued lines joined.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in raw_shell_lines(text) {
        match line.strip_suffix('\\') {
            Some(part) => open.push_str(part),
            None => lines.push(std::mem::take(&mut open) + line),
        }
    }
    lines
}

/// The words of each `agentic` and `cargo xtask` command in a line, up to `--`, a comment, or the command's end.
fn commands(line: &str) -> Vec<Vec<String>> {
    let spaced =
        line.replace("$(", " $( ").replace([')', '"', '\''], " ").replace('|', " | ").replace(';', " ; ");
    let words: Vec<&str> = spaced.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let starts = index == 0 || matches!(words[index - 1], "$(" | "|" | "&&" | "||" | "&" | ";" | "exec");
        let name = match *word {
            "agentic" if starts => 1,
            "cargo" if starts && words.get(index + 1) == Some(&"xtask") => 2,
            _ => continue,
        };
        let ends = |word: &&&str| !matches!(**word, "--" | "|" | "&&" | "||" | "&" | ";" | "$(" | ">" | "<");
        let rest = words[index + name..].iter().take_while(ends).map(|word| (*word).to_owned());
        found.push([words[index + name - 1].to_owned()].into_iter().chain(rest).collect());
    }
    found
}

/// What is wrong with a command, if anything.
fn check(command: &[String], helps: &mut Helps) -> Result<std::result::Result<(), String>> {
    let mut path = Vec::new();
    let mut help = helps.of(&command[0], &path)?;
    for word in &command[1..] {
        if let Some(flag) = word.strip_prefix("--") {
            let flag = format!("--{}", flag.split('=').next().unwrap_or_default());
            if !help.split(|c: char| !c.is_alphanumeric() && c != '-').any(|known| known == flag) {
                return Ok(Err(format!("there is no {flag}")));
            }
        } else if is_subcommand(&help, word) {
            path.push(word.clone());
            help = helps.of(&command[0], &path)?;
        } else if help.contains("\nCommands:\n") {
            return Ok(Err(format!("there is no {word}")));
        }
    }
    Ok(Ok(()))
}

fn is_subcommand(help: &str, word: &str) -> bool {
    let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let block = commands.split("\n\n").next().unwrap_or_default();
    block.lines().any(|line| line.split_whitespace().next() == Some(word))
}

/// The help texts of both programs, each asked for once.
struct Helps {
    agentic: PathBuf,
    seen: BTreeMap<String, String>,
}

impl Helps {
    fn of(&mut self, program: &str, path: &[String]) -> Result<String> {
        let key = format!("{program} {}", path.join(" "));
        if !self.seen.contains_key(&key) {
            let help = if program == "xtask" { own_help(path) } else { asked(&self.agentic, path)? };
            self.seen.insert(key.clone(), help);
        }
        Ok(self.seen[&key].clone())
    }
}

fn own_help(path: &[String]) -> String {
    let mut command = Args::command();
    for word in path {
        command = command.find_subcommand(word).cloned().unwrap_or(command);
    }
    command.render_long_help().to_string()
}

fn asked(agentic: &Path, path: &[String]) -> Result<String> {
    let mut command = Command::new(agentic);
    let output = command.args(path).arg("--help").output().context("cannot run agentic")?;
    ensure!(output.status.success(), "agentic {} --help ended with {}", path.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_shell_blocks() {
        let text = "`agentic no`\n```sh\nagentic serve \\\n  --listen X &\n```\n```text\nagentic no\n```\n";
        assert_eq!(shell_lines(text), ["agentic serve   --listen X &"]);
        let found = commands("id=1; agentic logs \"$(agentic submit \"a b\" --label x)\" # agentic no");
        assert_eq!(found, [vec!["agentic", "logs"], vec!["agentic", "submit", "a", "b", "--label", "x"]]);
        assert_eq!(
            commands("agentic worker --agent-id a -- sh -c x"),
            [vec!["agentic", "worker", "--agent-id", "a"]]
        );
        assert_eq!(commands("cargo xtask ci docs"), [vec!["xtask", "ci", "docs"]]);
    }

    #[test]
    fn flags_and_subcommands_are_held_against_the_help() {
        let mut helps = Helps { agentic: PathBuf::new(), seen: BTreeMap::new() };
        let check = |line: &str, helps: &mut Helps| check(&commands(line)[0], helps).unwrap();
        assert_eq!(check("cargo xtask test-backends --backend sqlite", &mut helps), Ok(()));
        assert_eq!(check("cargo xtask nothing", &mut helps), Err("there is no nothing".to_owned()));
        assert_eq!(check("cargo xtask test --fast", &mut helps), Err("there is no --fast".to_owned()));
    }
}
