//! `crieur ledger`: for the day on which something is wrong with it.

use anyhow::anyhow;

use super::mailing::{self, ledger_failure, masked};
use super::{Failure, Outcome, Result, Shell, configuration, locks, print, temporary};
use crate::cli;
use crate::diagnostics::plural;
use crate::ledger::{self, Ledger, Mark, Restored};
use crate::private;
use crate::reminders::recipients::key;
use crate::site::{LedgerPlace, Site};

pub(super) fn run(shell: &Shell, arguments: &cli::Ledger) -> Result {
    match arguments {
        cli::Ledger::Check => check(shell),
        cli::Ledger::Restore => restore(shell),
        cli::Ledger::Move => bring(shell),
        cli::Ledger::Settle(arguments) => settle(shell, arguments),
    }
}

/// A ledger on a server is looked after there. Settings that cannot be read say nothing of one.
fn refuse_server(shell: &Shell) -> Result<()> {
    let text = std::fs::read_to_string(shell.layout().settings()).unwrap_or_default();
    match Site::parse(&text).map(|site| site.ledger) {
        Ok(LedgerPlace::Server(_)) => Err(ledger_failure(ledger::Error::Elsewhere)),
        _ => Ok(()),
    }
}

fn check(shell: &Shell) -> Result {
    refuse_server(shell)?;
    let private = shell.layout().private();
    match ledger::check(&private).map_err(ledger_failure)? {
        None => shell.say("there is no ledger yet: nothing was sent"),
        Some(found) if found.is_empty() => shell.say("the ledger is sound"),
        Some(found) => {
            print(found.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
            let help =
                "put together what can be read of it and its last backup: crieur ledger restore";
            shell.complain(&format!("the ledger is damaged; {help}"));
            return Ok(Outcome::Attention);
        }
    }
    Ok(Outcome::Done)
}

fn restore(shell: &Shell) -> Result {
    refuse_server(shell)?;
    let private = shell.layout().private();
    let _lock = locks::only_run(&private)?;
    let _absence = locks::absence(&private)?;
    let Restored { digests, backup, unusable, damaged, incomplete } = ledger::restore(&private)
        .map_err(|error| match error {
            ledger::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Failure::Usage(anyhow!(error))
            }
            // To say that this command helps would lead in a circle.
            ledger::Error::Damaged(why) => configuration(anyhow!(
                "the ledger cannot be put together ({why}): move what is damaged out of `.crieur/backups`, and put a backup of your own there"
            )),
            error => ledger_failure(error),
        })?;
    shell.say(&format!("the ledger knows of {} again", plural(digests as usize, "digest")));
    for backup in &unusable {
        shell.complain(&format!(
            "the backup `{}` is damaged, too, and was not used",
            backup.display()
        ));
    }
    if let Some(backup) = backup {
        shell.say(&format!("from the backup `{}`", backup.display()));
    }
    // Whoever may do everything may do it for somebody else.
    let file = ledger::file(&private);
    let beside = ["-wal", "-shm"].map(|end| {
        let mut name = file.clone().into_os_string();
        name.push(end);
        name.into()
    });
    let locks = [locks::RUN, locks::PRESENCE].map(|name| private.join(name));
    let made = [file].into_iter().chain(beside).chain(locks).chain(damaged.clone());
    for path in made {
        if let Err(error) = private::give_to_owner(&private, &path) {
            shell.complain(&format!(
                "`{}` does not belong to the user who has the site: {error}",
                path.display()
            ));
        }
    }
    if let Some(damaged) = damaged {
        let how = if incomplete { "what could be read of" } else { "all of" };
        shell.say(&format!("and {how} the damaged one, now `{}`", damaged.display()));
    }
    if incomplete {
        shell.complain(
            "what was sent after the backup, and could not be read, may be sent once more; and who left after it may be written to again",
        );
        return Ok(Outcome::Attention);
    }
    Ok(Outcome::Done)
}

/// From the file to the server. The file is put aside: two ledgers would be one too many.
fn bring(shell: &Shell) -> Result {
    let opened = shell.site()?;
    let Some(address) = mailing::server(&opened)? else {
        let why = "`ledger` in `content/site.yaml` names no server to move the ledger to";
        return Err(Failure::Usage(anyhow!(why)));
    };
    let private = opened.layout.private();
    let path = ledger::file(&private);
    if !path.exists() {
        let shown = opened.layout.relative(&path);
        return Err(Failure::Usage(anyhow!("there is no ledger in `{shown}`")));
    }
    let _lock = locks::only_run(&private)?;
    let _absence = locks::absence(&private)?;
    let file = Ledger::open(&private).map_err(ledger_failure)?;
    file.refuse_damage().map_err(ledger_failure)?;
    let mut server = Ledger::connect(&address).map_err(ledger_failure)?;
    let Some(rows) = file.copy_to(&mut server).map_err(ledger_failure)? else {
        let why = "there is a ledger on the server already: nothing was moved";
        return Err(Failure::Usage(anyhow!(why)));
    };
    // What is in its log goes into the file when it is closed.
    drop(file);
    let aside = private.join(ledger::MOVED);
    std::fs::rename(&path, &aside).map_err(temporary)?;
    let aside = opened.layout.relative(&aside);
    shell.say(&format!(
        "the ledger is on the server, {}; the file is now `{aside}`, to be deleted once the server has a backup",
        plural(rows, "row")
    ));
    Ok(Outcome::Done)
}

fn settle(shell: &Shell, arguments: &cli::Settle) -> Result {
    let opened = shell.site()?;
    let private = opened.layout.private();
    let _lock = locks::only_run(&private)?;
    let mut ledger = mailing::sound_ledger(&opened)?;
    let wanted: Vec<String> = arguments.recipient.iter().map(|email| key(email)).collect();
    ledger.doubt_interrupted().map_err(ledger_failure)?;
    let doubtful = ledger.doubtful().map_err(ledger_failure)?;
    for email in &wanted {
        if !doubtful.iter().any(|doubtful| doubtful.recipient == *email) {
            return Err(Failure::Usage(anyhow!("no digest to `{}` is in doubt", masked(email))));
        }
    }
    let marks: Vec<(i64, Mark)> = doubtful
        .iter()
        .filter(|doubtful| wanted.is_empty() || wanted.contains(&doubtful.recipient))
        .map(|doubtful| (doubtful.id, if arguments.lost { Mark::Abandoned } else { Mark::Sent }))
        .collect();
    ledger.mark(&marks, opened.now).map_err(ledger_failure)?;
    let how = if arguments.lost { "lost" } else { "arrived" };
    shell.say(&format!("{} settled as {how}", plural(marks.len(), "digest")));
    Ok(Outcome::Done)
}
