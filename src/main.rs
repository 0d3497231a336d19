//! The `crieur` program: arguments in, exit code out.

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use crieur::cli::Cli;
use crieur::commands;

/// `EX_SOFTWARE` of `sysexits.h`: a bug.
const BUG: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::set_color(cli.global.color);
    match panic::catch_unwind(|| commands::dispatch(cli)) {
        Ok(Ok(outcome)) => ExitCode::from(outcome.code()),
        Ok(Err(failure)) => {
            commands::show(&failure);
            ExitCode::from(failure.code())
        }
        // The panic's message is on standard error already.
        Err(_) => ExitCode::from(BUG),
    }
}
