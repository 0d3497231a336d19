//! `crieur completions` and `crieur man`: what packagers install beside the program.

use clap::CommandFactory;

use super::{Outcome, Result, print, temporary};
use crate::cli::{self, Cli};

pub(super) fn shell(arguments: &cli::Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "crieur", &mut script);
    print(&script)?;
    Ok(Outcome::Done)
}

pub(super) fn man() -> Result {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(temporary)?;
    print(&page)?;
    Ok(Outcome::Done)
}
