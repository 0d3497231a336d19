//! `crieur check`: every problem in the site.

use super::{Failure, Result, Shell, Unopened, open, outcome, print};
use crate::cli::{self, CheckFormat};
use crate::diagnostics::{Code, Diagnostic, Severity, Tally, plural};
use crate::site::{InDoubt, SETTINGS, Site, Smtp, Transport};

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
    let mut diagnostics = without_effect(&opened.site);
    diagnostics.extend(loaded.diagnostics);
    diagnostics.extend(super::remind::recipients(&opened)?.1);
    print(show(shell, &diagnostics, arguments.format)?.as_bytes())?;
    shell.say(&format!(
        "{}: {}",
        plural(loaded.postings.len(), "posting"),
        Tally::of(&diagnostics)
    ));
    Ok(outcome(&diagnostics, arguments.strict))
}

/// Settings that are understood and do nothing yet: nobody should rely on them unawares.
fn without_effect(site: &Site) -> Vec<Diagnostic> {
    [
        (site.reminders.owners, "reminders.owners"),
        (site.reminders.in_doubt == InDoubt::Hold, "reminders.in_doubt"),
        (site.mail.transport != Transport::File, "mail.transport"),
        (site.mail.smtp != Smtp::default(), "mail.smtp"),
        (site.mail.dkim.is_some(), "mail.dkim"),
        (site.unsubscribe.url.is_some(), "unsubscribe.url"),
    ]
    .into_iter()
    .filter(|(given, _)| *given)
    .map(|(_, key)| {
        let message =
            format!("`{key}` has no effect in this version: digests go to files, unsigned");
        Diagnostic::new(Severity::Note, Code::InvalidValue, SETTINGS, message)
    })
    .collect()
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
