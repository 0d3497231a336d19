//! `crieur unsubscribe` and `crieur forget`: what the ledger knows of a person wins over the list.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::mailing::{self, ledger_failure, masked};
use super::{Failure, Opened, Outcome, Result, Shell, locks};
use crate::cli;
use crate::ledger::{self, Ledger, Reason};
use crate::reminders::recipients::key;
use crate::text;

pub(super) fn run(shell: &Shell, arguments: &cli::Unsubscribe) -> Result {
    let opened = shell.site()?;
    let email = checked(&arguments.email)?;
    // Nobody waits for the end of a run: what it has not sent yet does not leave any more.
    let mut ledger = mailing::ledger(&opened)?;
    let who = masked(&email);
    let is_known = arguments.undo || is_in_ledger(&opened, &ledger, &email);
    let line = if arguments.undo {
        if ledger.release(&email).map_err(ledger_failure)? {
            format!("{who} is written to again, if it is on the list")
        } else {
            format!("{who} was not unsubscribed")
        }
    } else if ledger.suppress(&email, Reason::Unsubscribed, opened.now).map_err(ledger_failure)? {
        if is_known || is_on_list(&opened, &email) {
            format!("{who} is not written to any more")
        } else {
            format!("{who} is not written to, and was not: is it the right address?")
        }
    } else {
        format!("{who} had already been unsubscribed")
    };
    let kept = mailing::keep(shell, &opened, &ledger, opened.now);
    shell.say(&line);
    Ok(kept)
}

pub(super) fn forget(shell: &Shell, arguments: &cli::Forget) -> Result {
    let opened = shell.site()?;
    let email = checked(&arguments.email)?;
    let private = opened.layout.private();
    let _lock = locks::only_run(&private)?;
    let mut ledger = mailing::ledger(&opened)?;
    let is_known = is_in_ledger(&opened, &ledger, &email);
    // What fails in one place must not keep the address in another.
    let mut failures: Vec<Failure> = Vec::new();
    let forgotten = ledger.forget(&private, &email, opened.now).map_err(ledger_failure);
    let messages = forgotten.unwrap_or_else(|failure| {
        failures.push(failure);
        Vec::new()
    });
    let outbox = mailing::outbox(&opened.layout);
    let mut files: Vec<PathBuf> =
        messages.iter().map(|(day, message_id)| outbox.path(*day, message_id)).collect();
    // Previews, messages that the ledger does not know any more, and what a run that was killed
    // left half written: whose they are stands in them, and not in their names.
    files.extend(inside(&private.join("preview"))?);
    for file in inside(&outbox.folder)? {
        let is_message = file.extension().is_some_and(|end| end == "eml");
        let text =
            if is_message { at(&file, "read", fs::read(&file)) } else { Ok(Some(Vec::new())) };
        match text {
            Ok(text) => {
                let text = text.map(|text| String::from_utf8_lossy(&text).to_lowercase());
                if !is_message || text.is_some_and(|text| names(&text, &email)) {
                    files.push(file);
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    for file in files {
        failures.extend(at(&file, "delete", fs::remove_file(&file)).err());
    }
    let mut failures = failures.into_iter();
    if let Some(first) = failures.next() {
        for other in failures {
            shell.complain(&other.to_string());
        }
        shell.complain("not all of it is forgotten: mend that, and forget the address once more");
        return Err(first);
    }
    let (list, _) = mailing::listed(&opened)?;
    let who = masked(&email);
    let is_listed = list.iter().any(|recipient| recipient.key() == email);
    shell.say(&if is_known || is_listed {
        format!("{who} is forgotten, and never written to again")
    } else {
        format!("nothing was known of {who}, and it is never written to: is it the right address?")
    });
    if is_listed {
        let path = opened.layout.recipients(&opened.site);
        let place = opened.layout.relative(&path);
        shell.complain(&format!("the address still stands in `{place}`: delete it there, too"));
        return Ok(Outcome::Attention);
    }
    Ok(Outcome::Done)
}

/// Whether the ledger knows an address: somebody subscribes or asked to, left, or something was sent to it.
/// Only a word depends on it: where it cannot be found out, it is known.
fn is_in_ledger(opened: &Opened, ledger: &Ledger, email: &str) -> bool {
    let find = || -> ledger::Result<bool> {
        Ok(ledger.knows(email)?
            || ledger.subscriber(email)?.is_some()
            || ledger.suppressed(email)?.is_some()
            || ledger.asked(opened.now)?.iter().any(|(asked, _)| key(asked) == email))
    };
    find().unwrap_or(true)
}

/// The same of the mailing list in the site's files.
fn is_on_list(opened: &Opened, email: &str) -> bool {
    let Ok(mut list) = mailing::List::new(opened) else { return true };
    list.any(|recipient| recipient.is_ok_and(|recipient| recipient.key() == email))
}

/// What a folder holds; nothing where there is none.
fn inside(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = at(folder, "read", fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let path = |entry: io::Result<fs::DirEntry>| Ok(at(folder, "read", entry)?.map(|e| e.path()));
    entries.filter_map(|entry| path(entry).transpose()).collect()
}

/// What came of something done to a file; nothing where there is none. Whose file it is that cannot
/// be read is not known, so nobody is told that all is gone.
fn at<T>(path: &Path, what: &str, done: io::Result<T>) -> Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let context = format!("cannot {what} `{}`", path.display());
            Err(Failure::Temporary(anyhow!(error).context(context)))
        }
        Ok(done) => Ok(Some(done)),
    }
}

/// Whether an address stands in a text, and not only as a part of another one.
fn names(text: &str, email: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    text.match_indices(email).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + email.len()..]);
        // A full stop may end a sentence.
        let mut follows = after.chars();
        let goes_on = match follows.next() {
            Some('.') => follows.next().is_some_and(char::is_alphanumeric),
            next => next.is_some_and(is_part),
        };
        !before.ends_with(is_part) && !goes_on
    })
}

fn checked(email: &str) -> Result<String> {
    // In small letters one may be none any more.
    text::is_address(email)
        .then(|| key(email))
        .with_context(|| "that is not a mail address")
        .map_err(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_not_another_one_that_ends_or_begins_like_it() {
        let email = "ann@example.org";
        for text in ["To: ann@example.org", "<ann@example.org>,", "to ann@example.org.", email] {
            assert!(names(text, email), "{text}");
        }
        for text in
            ["joann@example.org", "ann@example.org.uk", "ann@example.orga", "j.ann@example.org"]
        {
            assert!(!names(text, email), "{text}");
        }
    }
}
