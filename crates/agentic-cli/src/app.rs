//! The program: arguments, settings, a command, an exit code.

use std::process::ExitCode;

use agentic_core::clock::SystemClock;
use clap::{CommandFactory, Parser, error::ErrorKind};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    args::{Cli, Command, ConfigCommand, Global},
    command, config,
    config::{World, env},
    demo,
    failure::Failure,
    output::Printer,
    session::Session,
};

/// Runs the program; answers with its exit code.
pub fn main() -> ExitCode {
    let world = World::of_process();
    let printer = |json: bool| {
        Printer::new(json, world.variable(env::NO_COLOR).is_some(), world.variable(env::TERM) == Some("dumb"))
    };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, printer(asks_for_json())),
    };
    let printer = printer(cli.global.json);
    match run(cli, printer, world) {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Whether errors are read by a program, before the arguments are understood.
fn asks_for_json() -> bool {
    std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// Help and version on standard output; what was not understood on standard error.
fn not_understood(error: &clap::Error, printer: Printer) -> ExitCode {
    if !error.use_stderr() || !printer.is_json {
        // Nobody is left to be told that it could not be written.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let failure = Failure::usage(match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing",
        _ => first,
    });
    let failure = failure.hint("agentic --help says what there is");
    printer.failure(&failure);
    failure.exit_code()
}

fn run(cli: Cli, printer: Printer, world: World) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    // What needs no settings must not fail because of them.
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "agentic", &mut script);
            return printer.raw(String::from_utf8_lossy(&script).trim_end()).map(|()| ExitCode::SUCCESS);
        }
        Command::Guard(args) => return Ok(agentic_worker::guard::main(&args.input, &args.command)),
        Command::DemoAgent => return Ok(demo::agent::main(&world)),
        _ => {}
    }
    let mut flags = global_flags(&global);
    flags.extend(command_flags(&command));
    let loaded = config::load(world, global.config.as_deref(), flags)?;
    for word in &loaded.words {
        printer.note(&format!("note: {word}"));
    }
    let session = Session { printer, loaded, clock: SystemClock };
    perform(&session, command, global.verbose).map_err(|failure| session.advise(failure))?;
    Ok(ExitCode::SUCCESS)
}

/// What flags set, by key.
type Flags = Vec<(&'static str, Value, &'static str)>;

fn global_flags(global: &Global) -> Flags {
    let mut flags = Flags::new();
    let Global { base_url, token, .. } = global;
    flags.extend(base_url.as_ref().map(|url| ("base_url", Value::from(url.as_str()), "--base-url")));
    flags.extend(token.as_ref().map(|token| ("token", Value::from(token.as_str()), "--token")));
    flags
}

fn command_flags(command: &Command) -> Flags {
    match command {
        Command::Serve(serve) => serve.settings(),
        Command::Up(up) => up.serve.settings(),
        Command::Backup(backup) => backup.settings(),
        Command::Worker(worker) => worker.agent.settings(),
        _ => Flags::new(),
    }
}

fn perform(session: &Session, command: Command, verbose: u8) -> Result<(), Failure> {
    log(session, &command, verbose);
    match command {
        Command::Serve(_) => server()?.block_on(command::serve(session)),
        Command::Worker(args) => server()?.block_on(command::worker(session, args)),
        Command::Up(args) => server()?.block_on(command::up(session, args)),
        Command::Demo(args) => server()?.block_on(demo::run(session, args)),
        Command::Backup(args) => client()?.block_on(command::backup(session, &args.to)),
        Command::Submit(args) => client()?.block_on(command::submit(session, args)),
        Command::List(args) => client()?.block_on(command::list(session, args)),
        Command::Show(args) => client()?.block_on(command::show(session, &args.task)),
        Command::Logs(args) => client()?.block_on(command::logs(session, &args.task)),
        Command::Status => client()?.block_on(command::status(session)),
        Command::Explain(args) => client()?.block_on(command::explain(session, args)),
        Command::Lanes => client()?.block_on(command::lanes(session)),
        Command::Ledger { command } => client()?.block_on(command::ledger(session, command)),
        Command::Edit(args) => client()?.block_on(command::edit(session, args)),
        Command::Cancel(args) => client()?.block_on(command::cancel(session, args)),
        Command::Requeue(args) => client()?.block_on(command::requeue(session, &args.task)),
        Command::Agents(args) => client()?.block_on(command::agents(session, args.command)),
        Command::Allowance { command } => client()?.block_on(command::allowance(session, command)),
        Command::Model { command } => client()?.block_on(command::model(session, command)),
        Command::Budget { command } => client()?.block_on(command::budget(session, command)),
        Command::Config { command: ConfigCommand::Show } => command::config_show(session),
        Command::Completions { .. } | Command::DemoAgent | Command::Guard(_) => Ok(()),
    }
}

/// Logs to standard error: what runs for long as the settings say, the others only when asked to say more.
fn log(session: &Session, command: &Command, verbose: u8) {
    let is_server = matches!(command, Command::Serve(_) | Command::Up(_) | Command::Worker(_));
    let directives = match verbose {
        0 if is_server => session.loaded.settings.log.as_str(),
        0 => return,
        1 => "debug,hyper=info,hyper_util=info,reqwest=info",
        _ => "trace",
    };
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(directives);
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if session.printer.is_json {
        logger.json().try_init()
    } else {
        logger.with_ansi(session.printer.is_lively()).try_init()
    };
    if set.is_err() {
        session.printer.note("note: nothing is logged, as something else logs already");
    }
}

/// A runtime for a few calls.
fn client() -> Result<Runtime, Failure> {
    started(Builder::new_current_thread().enable_all().build())
}

/// A runtime for what runs for long.
fn server() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    // Half of the cores, if tokio's own variable does not say otherwise: stores and agents need the others, and a thread that
    // is woken to find that another one has the work already costs a third of a heartbeat.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads((cores / 2).max(1));
    }
    started(builder.enable_all().build())
}

fn started(runtime: std::io::Result<Runtime>) -> Result<Runtime, Failure> {
    runtime.map_err(|error| Failure::because("cannot start", &error))
}
