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
    // The panic's message is on standard error already.
    panic::catch_unwind(|| commands::run(cli)).unwrap_or(BUG).into()
}
