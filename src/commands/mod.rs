//! One file a command: each reads, calls the core, writes and reports.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::cli::{Cli, Command};
use crate::clock::Now;
use crate::diagnostics::{Diagnostic, Tally};

mod build;
mod check;
mod completions;
mod confirmations;
mod explain;
mod init;
mod ledger;
mod list;
mod locks;
mod mailing;
mod new;
mod opened;
mod preview;
mod receive;
mod recipients;
mod remind;
mod run;
mod serve;
mod shell;
mod simulate;
mod status;
mod table;
mod unsubscribe;

use opened::{Opened, Texts, Unopened};
use shell::{Level, Shell, print, set_color};

/// How a command ended, when it did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Done,
    /// Done, but something needs a person.
    Attention,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong.
    #[error("{0:#}")]
    Usage(anyhow::Error),
    /// The site's settings, folders or templates are wrong.
    #[error("{0:#}")]
    Configuration(anyhow::Error),
    /// The same, already reported with source lines.
    #[error("the site's settings cannot be used")]
    Reported,
    /// Something may well work the next time.
    #[error("{0:#}")]
    Temporary(anyhow::Error),
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Attention => 1,
        }
    }
}

impl Failure {
    /// The exit code, after `sysexits.h`.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Configuration(_) | Self::Reported => 78,
            Self::Temporary(_) => 75,
        }
    }
}

/// The result of a command.
pub type Result<T = Outcome> = std::result::Result<T, Failure>;

fn configuration(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Configuration(error.into())
}

fn temporary(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Temporary(error.into())
}

/// What cannot be written: for good, where somebody has to change permissions, or for now.
fn unwritable(path: &Path, error: io::Error) -> Failure {
    let is_lasting = crate::private::needs_a_person(&error);
    let error = anyhow::Error::new(error).context(format!("cannot write `{}`", path.display()));
    if is_lasting { configuration(error) } else { temporary(error) }
}

/// Runs a command, says why it failed if it did, and returns the exit code.
pub fn run(cli: Cli) -> u8 {
    set_color(cli.global.color);
    // A variable that is empty says nothing; an option that is names no time.
    let is_unset = |now: &&str| {
        now.is_empty() && std::env::var_os("CRIEUR_NOW").is_some_and(|now| now.is_empty())
    };
    let now = Now::parse(cli.global.now.as_deref().filter(|now| !is_unset(now)));
    let shell = Shell {
        global: cli.global,
        now: *now.as_ref().unwrap_or(&Now::Clock),
        zone: OnceLock::new(),
    };
    let outcome = match now {
        Ok(_) => shell.dispatch(cli.command),
        Err(message) => Err(Failure::Usage(anyhow::anyhow!("--now: {message}"))),
    };
    match outcome {
        Ok(outcome) => outcome.code(),
        Err(failure) => {
            shell.fail(&failure);
            failure.code()
        }
    }
}

impl Shell {
    fn dispatch(&self, command: Command) -> Result {
        match command {
            Command::Init(arguments) => init::run(self, &arguments),
            Command::New(arguments) => new::run(self, &arguments),
            Command::Check(arguments) => check::run(self, &arguments),
            Command::List(arguments) => list::run(self, &arguments),
            Command::Build(arguments) => build::run(self, &arguments),
            Command::Remind(arguments) => remind::run(self, &arguments),
            Command::Run(arguments) => run::run(self, &arguments),
            Command::Simulate(arguments) => simulate::run(self, &arguments),
            Command::Explain(arguments) => explain::run(self, &arguments),
            Command::Status(arguments) => status::run(self, &arguments),
            Command::Preview(arguments) => preview::run(self, &arguments),
            Command::Unsubscribe(arguments) => unsubscribe::run(self, &arguments),
            Command::Forget(arguments) => unsubscribe::forget(self, &arguments),
            Command::Recipients(arguments) => recipients::run(self, &arguments),
            Command::Serve(arguments) => serve::run(self, &arguments),
            Command::Receive(arguments) => receive::run(self, &arguments),
            Command::Ledger(arguments) => ledger::run(self, &arguments),
            Command::Completions(arguments) => completions::shell(&arguments),
            Command::Man => completions::man(),
        }
    }
}

/// What a tally asks of the exit code.
fn outcome(diagnostics: &[Diagnostic], strict: bool) -> Outcome {
    let tally = Tally::of(diagnostics);
    if tally.errors > 0 || (strict && tally.warnings > 0) {
        Outcome::Attention
    } else {
        Outcome::Done
    }
}
