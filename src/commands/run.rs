//! `crieur run`: builds, then reminds. This is what cron calls.

use super::{Result, Shell, build, remind};
use crate::cli;

pub(super) fn run(shell: &Shell, arguments: &cli::Run) -> Result {
    let opened = shell.site()?;
    // A build that fails must not keep anybody from being reminded: its failure is told afterwards.
    let (built, postings) = match build::build(shell, &opened, arguments.out.clone(), false) {
        Ok((outcome, postings)) => (Ok(outcome), postings),
        Err(failure) => {
            shell.complain(&format!("not published: {failure}"));
            (Err(failure), opened.postings()?.postings)
        }
    };
    let nobody_in_particular = cli::Remind { dry_run: false, recipient: Vec::new() };
    let reminded = remind::remind(shell, &opened, &postings, &nobody_in_particular)?;
    Ok(built?.max(reminded))
}
