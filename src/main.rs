//! The `crieur` program: arguments in, exit code out.

use std::panic::{self, UnwindSafe};
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
    ended(|| commands::run(cli)).into()
}

/// The exit code of what is run, also where it panics. The panic's message is on standard error already.
fn ended(run: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    panic::catch_unwind(run).unwrap_or(BUG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_has_an_exit_code_of_its_own() {
        assert_eq!(ended(|| panic!("as a bug does")), 70);
        assert_eq!(ended(|| 75), 75);
    }
}
