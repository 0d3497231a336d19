//! `crieur status`: the last runs, what waits, what failed.

use super::mailing::{self, ledger_failure};
use super::{Outcome, Result, Shell, locks, print, temporary};
use crate::cli::{self, DataFormat};
use crate::diagnostics::plural;
use crate::ledger::{Run, Status, Trouble};
use crate::posting::moment::rfc3339;

pub(super) fn run(shell: &Shell, arguments: &cli::Status) -> Result {
    let opened = shell.site()?;
    let today = opened.today();
    let status = mailing::sound_ledger_to_read(&opened)?.status(today).map_err(ledger_failure)?;
    let text = match arguments.format {
        DataFormat::Json => {
            format!("{}\n", serde_json::to_string_pretty(&status).map_err(temporary)?)
        }
        DataFormat::Table => {
            table(&status, opened.site.timezone, locks::is_at_work(&opened.layout.private()))
        }
    };
    print(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn table(status: &Status, zone: chrono_tz::Tz, is_at_work: bool) -> String {
    let mut lines = Vec::new();
    if status.runs.is_empty() {
        lines.push("no run has sent anything yet".to_owned());
    }
    for (number, run) in status.runs.iter().take(5).enumerate() {
        let Run { planned, sent, deferred, refused, in_doubt, .. } = *run;
        let counts = mailing::counted(
            format!("{sent} of {} sent", plural(planned as usize, "digest")),
            [(refused, "refused"), (deferred, "not taken yet"), (in_doubt, "in doubt")],
        );
        let started = rfc3339(&run.started_at.with_timezone(&zone));
        let end = match (&run.ended_at, &run.error) {
            (None, _) if number == 0 && is_at_work => "; it is at work".to_owned(),
            (None, _) => "; it did not end".to_owned(),
            (_, Some(error)) => format!("; {error}"),
            _ => String::new(),
        };
        lines.push(format!("{started}: {counts}{end}"));
    }
    for (n, what) in [
        (status.waiting, "wait for the next run"),
        (status.in_doubt, "may or may not have arrived (see `crieur ledger settle`)"),
    ] {
        if n > 0 {
            lines.push(format!("{} {what}", plural(n as usize, "digest")));
        }
    }
    for Trouble { recipient, day, state, attempts, reason } in &status.troubles {
        let tried = if *attempts > 1 { format!(", tried {attempts} times") } else { String::new() };
        let reason = reason.as_deref().unwrap_or("no reason is known");
        lines.push(format!("{day} {recipient}: {}{tried}: {reason}", state.replace('_', " ")));
    }
    if status.suppressed > 0 {
        lines.push(match status.suppressed {
            1 => "1 address is not written to any more".to_owned(),
            n => format!("{n} addresses are not written to any more"),
        });
    }
    format!("{}\n", lines.join("\n"))
}
