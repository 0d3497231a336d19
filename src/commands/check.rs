//! `crieur check`: every problem in the site.

use super::{Failure, Result, Shell, Unopened, open, outcome, print};
use crate::cli::{self, CheckFormat};
use crate::diagnostics::{Diagnostic, Tally, plural};

pub(super) fn run(shell: &Shell, arguments: &cli::Check) -> Result {
    let mut opened = match open(&shell.layout()) {
        Ok(opened) => opened,
        Err(Unopened::Missing(error)) => return Err(Failure::Configuration(error)),
        Err(Unopened::Problems(problems)) => {
            print(show(shell, &problems, arguments.format)?.as_bytes())?;
            return Err(Failure::Reported);
        }
    };
    opened.now = shell.now.instant(opened.site.timezone);
    let loaded = opened.postings()?;
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(super::mailing::recipients(&opened)?.1);
    print(show(shell, &diagnostics, arguments.format)?.as_bytes())?;
    shell.say(&format!(
        "{}: {}",
        plural(loaded.postings.len(), "posting"),
        Tally::of(&diagnostics)
    ));
    Ok(outcome(&diagnostics, arguments.strict))
}

fn show(shell: &Shell, diagnostics: &[Diagnostic], format: CheckFormat) -> Result<String> {
    let prefix = shell.prefix();
    Ok(match format {
        CheckFormat::Human => diagnostics
            .iter()
            .map(|diagnostic| format!("{}\n\n", diagnostic.human(&prefix)))
            .collect(),
        CheckFormat::Github => diagnostics
            .iter()
            .map(|diagnostic| format!("{}\n", diagnostic.github(&prefix)))
            .collect(),
        CheckFormat::Json => super::list::json(diagnostics)?,
    })
}
