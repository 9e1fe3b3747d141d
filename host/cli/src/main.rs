//! `portreeve`: runs third-party integrations as WebAssembly components and offers them as
//! MCP tools.
//!
//! **Architecture invariant:** argument parsing and presentation only. What a command does
//! is done by the floors below; one file in `commands` for each command.

mod cargo;
mod commands;
mod context;
mod error;
mod exit;
mod logging;
mod output;
mod places;
mod progress;
mod prompt;
mod review;
mod session;
mod sources;
mod text;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser};

use crate::commands::Command;
use crate::context::Context;
use crate::output::Output;

/// Runs third-party integrations as WebAssembly components and offers them as MCP tools.
///
/// A plugin is one component file. It gets nothing that it doesn't ask for and that you
/// don't grant in portreeve.toml, and every resource that it can use has a limit.
#[derive(Parser)]
#[command(name = "portreeve", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Print results (and errors) as JSON on standard output.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// The directory of portreeve.toml; searched upwards from here by default.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PORTREEVE_PROJECT",
        help_heading = "Global options"
    )]
    project: Option<std::path::PathBuf>,
    /// Say more on standard error; repeat for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  portreeve init                                    make this directory a project
  portreeve add plugins/markdown                    install a plugin
  portreeve call markdown__render --arg markdown=#  call one of its tools
  portreeve serve --print-client-config             what to paste into an MCP client
  portreeve doctor                                  what is wrong, and what to do

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by policy.";

fn main() -> ExitCode {
    keep_no_core();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.global.json);
    match cli.command.run(&Context::new(&cli.global, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error, output),
    }
}

/// A crash leaves no picture of memory behind: there may be secrets in it.
fn keep_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering it is always allowed; where it is not, nothing else is wrong.
    let _ = setrlimit(Resource::Core, none);
}

/// Shows help, the version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody to tell when the terminal is gone.
    let _ = error.print();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return ExitCode::SUCCESS;
    }
    // The arguments could not be parsed, so that this option has to be looked for.
    if std::env::args().any(|arg| arg == "--json") {
        let message = error.render().to_string();
        let _ = error::print_json(exit::Exit::Usage, message.trim(), &[]);
    }
    exit::Exit::Usage.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            assert!(
                help.is_some_and(|help| help.contains(&format!("portreeve {name}"))),
                "{name}"
            );
        }
    }
}
