//! The `crieur` program: arguments in, exit code out.

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use crieur::cli::Cli;
use crieur::commands;
use mimalloc::MiMalloc;

/// A build asks for memory a few hundred times for each posting, on all processors. Where programs are
/// linked to musl, its own allocator would take longer than everything else.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `EX_SOFTWARE` of `sysexits.h`: a bug.
const BUG: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The panic's message is on standard error already.
    panic::catch_unwind(|| commands::run(cli)).unwrap_or(BUG).into()
}
