//! `crieur unsubscribe` and `crieur forget`: what the ledger knows of a person wins over the list.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::mailing::{self, ledger_failure, masked};
use super::{Failure, Outcome, Result, Shell, remind};
use crate::cli;
use crate::ledger::Reason;
use crate::reminders::recipients::key;
use crate::text;

pub(super) fn run(shell: &Shell, arguments: &cli::Unsubscribe) -> Result {
    let opened = shell.site()?;
    let email = checked(&arguments.email)?;
    // Nobody waits for the end of a run: what it has not sent yet does not leave any more.
    let mut ledger = mailing::ledger(&opened)?;
    let who = masked(&email);
    let line = if arguments.undo {
        if ledger.release(&email).map_err(ledger_failure)? {
            format!("{who} is written to again, if it is on the list")
        } else {
            format!("{who} was not unsubscribed")
        }
    } else if ledger.suppress(&email, Reason::Unsubscribed, opened.now).map_err(ledger_failure)? {
        format!("{who} is not written to any more")
    } else {
        format!("{who} had already been unsubscribed")
    };
    mailing::keep(shell, &opened, &ledger, opened.now);
    shell.say(&line);
    Ok(Outcome::Done)
}

pub(super) fn forget(shell: &Shell, arguments: &cli::Forget) -> Result {
    let opened = shell.site()?;
    let email = checked(&arguments.email)?;
    let private = opened.layout.private();
    let _lock = remind::lock(&private)?;
    let mut ledger = mailing::ledger(&opened)?;
    let messages = ledger.forget(&private, &email, opened.now).map_err(ledger_failure)?;
    let outbox = mailing::outbox(&opened.layout);
    let mut files: Vec<PathBuf> =
        messages.iter().map(|(day, message_id)| outbox.path(*day, message_id)).collect();
    // Previews, messages that the ledger does not know any more, and what a run that was killed
    // left half written: whose they are stands in them, and not in their names.
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    files.extend(inside(&private.join("preview")));
    files.extend(inside(&outbox.folder).into_iter().filter(|file| {
        let text = fs::read(file).unwrap_or_default();
        file.extension().is_none_or(|end| end != "eml")
            || String::from_utf8_lossy(&text).to_lowercase().contains(&email)
    }));
    for file in files {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::Temporary(
                    anyhow!(error).context(format!("cannot delete `{}`", file.display())),
                ));
            }
            _ => {}
        }
    }
    let (list, _) = mailing::listed(&opened)?;
    shell.say(&format!("{} is forgotten, and never written to again", masked(&email)));
    if list.iter().any(|recipient| recipient.key() == email) {
        let path = opened.layout.recipients(&opened.site);
        let place = opened.layout.relative(&path);
        shell.complain(&format!("the address still stands in `{place}`: delete it there, too"));
        return Ok(Outcome::Attention);
    }
    Ok(Outcome::Done)
}

fn checked(email: &str) -> Result<String> {
    let email = key(email);
    text::is_address(&email)
        .then_some(email)
        .with_context(|| "that is not a mail address")
        .map_err(Failure::Usage)
}
