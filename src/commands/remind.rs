//! `crieur remind`: sends the digests that are due.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;

use super::mailing::{self, Languages, ledger_failure, masked, without_addresses};
use super::{Level, Opened, Outcome, Result, Shell, configuration, outcome, print, temporary};
use crate::cli;
use crate::diagnostics::plural;
use crate::dispatch::{self, Dispatch, Event, Job, Outgoing, Pace, Report, Unsendable};
use crate::ledger::{self, Doubtful, Ledger, Mark, Planned};
use crate::mail::transport::Unavailable;
use crate::mail::{Composer, message};
use crate::posting::Posting;
use crate::reminders::{Digest, Recipient, Today};
use crate::site::{InDoubt, Transport};

pub(super) fn run(shell: &Shell, arguments: &cli::Remind) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings()?;
    shell.report(&loaded.diagnostics);
    let outcome = outcome(&loaded.diagnostics, false);
    let (reminded, line) = remind(shell, &opened, &loaded.postings, arguments)?;
    shell.say(&line);
    Ok(outcome.max(reminded))
}

/// Sends the digests that are due for a site that is open already, and says so on one line.
pub(super) fn remind(
    shell: &Shell,
    opened: &Opened,
    postings: &[Posting],
    arguments: &cli::Remind,
) -> Result<(Outcome, String)> {
    let (list, problems) = mailing::recipients(opened)?;
    shell.report(&problems);
    let outcome = outcome(&problems, false);
    let mut audience = mailing::audience(opened, list, postings);
    mailing::narrowed(&mut audience, &arguments.recipient)?;
    if opened.site.mail.from.is_none() && !audience.is_empty() {
        return Err(configuration(message::Error::NoSender));
    }
    let today = Today::new(&opened.site, postings, opened.now);
    let ids = postings.iter().map(|posting| posting.id.as_str());
    if arguments.dry_run {
        let ledger = mailing::ledger_to_read(opened)?;
        mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);
        let sent = ledger.sent(ids).map_err(ledger_failure)?;
        let languages = Languages::new(opened, &audience)?;
        let line = show(&today.digests(&audience, &sent), &languages)?;
        return Ok((outcome, line));
    }

    let private = opened.layout.private();
    let _lock = lock(&private)?;
    // Whatever is wrong with the settings is said before anything is written.
    let transport = mailing::transport(opened)?;
    let signer = mailing::signer(opened)?;
    let languages = Languages::new(opened, &audience)?;
    let mut ledger = Ledger::open(&private).map_err(ledger_failure)?;
    let secret = ledger.secret().map_err(ledger_failure)?;
    mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);

    let again = settle(shell, opened, &mut ledger, &today, &audience)?;
    let sent = ledger.sent(ids).map_err(ledger_failure)?;
    let digests = today.digests(&audience, &sent);
    let planned: Vec<Planned> = digests.iter().map(planned).collect();
    let numbers = ledger.plan(&planned, opened.now).map_err(ledger_failure)?;
    let mut jobs: Vec<Job<Work<'_>>> = again;
    jobs.extend(numbers.into_iter().zip(&digests).map(|(id, digest)| Job {
        id,
        recipient: digest.recipient.key(),
        work: Work::New(digest),
    }));
    if jobs.is_empty() {
        let held = ledger.unsent().map_err(ledger_failure)?.in_doubt;
        return Ok((outcome.max(attention(held)), "no digest is due".to_owned()));
    }

    let composer = mailing::composer(&opened.site, signer.as_ref(), &secret, opened.now);
    let retry_after: Vec<Duration> = if opened.site.mail.transport == Transport::File {
        Vec::new()
    } else {
        let seconds = opened.site.mail.smtp.retry_after.iter();
        seconds.map(|seconds| Duration::from_secs((*seconds).into())).collect()
    };
    let dispatch = Dispatch {
        transport: transport.as_ref(),
        in_doubt: opened.site.reminders.in_doubt,
        retry_after: &retry_after,
        pace: opened.site.mail.smtp.rate_per_second.map(Pace::new),
        now: opened.now,
    };
    let number = ledger.begin_run(jobs.len(), opened.now).map_err(ledger_failure)?;
    let report = dispatch.run(
        &mut ledger,
        jobs,
        &|work: &Work<'_>| outgoing(work, &composer, &languages),
        &mut |event| tell(shell, event),
    );
    let report = match report {
        Ok(report) => report,
        Err(dispatch::Error::Ledger(error)) => return Err(ledger_failure(error)),
        Err(dispatch::Error::Compose(error)) => return Err(configuration(error)),
    };
    let run = ledger::Run {
        ended_at: Some(opened.now),
        sent: report.sent,
        deferred: report.deferred,
        refused: report.refused,
        in_doubt: report.in_doubt,
        error: report.stopped.as_ref().map(ToString::to_string),
        ..ledger::Run::default()
    };
    ledger.end_run(number, &run).map_err(ledger_failure)?;
    if report.sent > 0
        && let Err(error) = ledger.back_up(&private, opened.now)
    {
        shell.complain(&format!("there is no new backup of the ledger: {error}"));
    }
    finished(shell, opened, &report).map(|(reminded, line)| (outcome.max(reminded), line))
}

fn attention(problems: u32) -> Outcome {
    if problems > 0 { Outcome::Attention } else { Outcome::Done }
}

/// What a message is made from.
enum Work<'a> {
    /// A digest of today.
    New(&'a Digest<'a>),
    /// A message that may have arrived.
    Again(Outgoing),
}

fn outgoing(
    work: &Work<'_>,
    composer: &Composer<'_>,
    languages: &Languages,
) -> std::result::Result<Outgoing, Unsendable<message::Error>> {
    match work {
        Work::Again(outgoing) => Ok(outgoing.clone()),
        Work::New(digest) => match languages.compose(composer, digest) {
            Ok(mail) => Ok(Outgoing {
                from: mail.from,
                to: mail.to,
                day: digest.day,
                message_id: mail.message_id,
                bytes: mail.bytes,
            }),
            // One that cannot be composed must not stop the others.
            Err(message::Error::Message(reason)) => Err(Unsendable::This(reason)),
            Err(error) => Err(Unsendable::Any(error)),
        },
    }
}

fn planned(digest: &Digest<'_>) -> Planned {
    Planned {
        recipient: digest.recipient.key(),
        day: digest.day,
        entries: digest.items.iter().map(crate::reminders::Item::entry).collect(),
    }
}

/// Decides about what an earlier run left in doubt, and returns what is sent again.
fn settle<'a>(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    today: &Today<'_>,
    audience: &[Recipient],
) -> Result<Vec<Job<Work<'a>>>> {
    ledger.doubt_interrupted().map_err(ledger_failure)?;
    let outbox = mailing::outbox(&opened.layout);
    let (mut marks, mut again) = (Vec::new(), Vec::new());
    for doubtful in ledger.doubtful().map_err(ledger_failure)? {
        let Doubtful { id, day, .. } = doubtful;
        let recipient = audience.iter().find(|recipient| recipient.key() == doubtful.recipient);
        if outbox.has(day, &doubtful.message_id) {
            marks.push((id, Mark::Sent));
        } else if opened.site.mail.transport == Transport::File {
            // Files leave no doubt: it is not there.
            marks.push((id, Mark::Deferred("the run ended before it was written".to_owned())));
        } else if doubtful.held {
        } else if opened.site.reminders.in_doubt == InDoubt::Hold {
            marks.push((id, Mark::Held("the run ended before the answer came".to_owned())));
            shell.complain(&format!(
                "the digest of {day} to {} may have arrived; it is held: see `crieur status`",
                masked(&doubtful.recipient)
            ));
        } else if day != today.day() {
            // Its words are yesterday's. What still matters of it is planned anew.
            marks.push((id, Mark::Abandoned));
        } else if let Some(recipient) = recipient
            && today.still_says(&doubtful.entries)
        {
            let (from, to) = message::envelope(&opened.site, recipient).map_err(configuration)?;
            let Doubtful { message_id, message: bytes, .. } = doubtful;
            again.push(Job {
                id,
                recipient: doubtful.recipient,
                work: Work::Again(Outgoing { from, to, day, message_id, bytes }),
            });
        }
        // Else it says what is no longer so, or nobody wants it: today it stays as it is.
    }
    ledger.mark(&marks, opened.now).map_err(ledger_failure)?;
    Ok(again)
}

/// What became of a digest: what needs nobody is said only to those who ask.
fn tell(shell: &Shell, event: &Event) {
    let who = masked(&event.recipient);
    let (level, what) = match &event.mark {
        Mark::Sent => (Level::Info, "sent".to_owned()),
        Mark::Deferred(why) => (Level::Info, format!("not taken yet: {why}")),
        Mark::Refused { reason: why, .. } => (Level::Warning, format!("refused: {why}")),
        Mark::InDoubt(why) => (Level::Warning, format!("may have arrived: {why}")),
        Mark::Held(why) => (Level::Warning, format!("may have arrived, and is held: {why}")),
        Mark::Sending { .. } | Mark::Abandoned => return,
    };
    let fields = json!({ "recipient": who, "message_id": event.message_id });
    if level != Level::Info || shell.global.verbose > 0 {
        shell.log(level, &format!("{who}: {}", without_addresses(&what)), fields.clone());
    }
    if event.suppressed {
        let line = format!("{who}: refused too often, and not written to any more");
        shell.log(Level::Warning, &line, fields);
    }
}

/// What a run asks of its operator.
fn finished(shell: &Shell, opened: &Opened, report: &Report) -> Result<(Outcome, String)> {
    let count = |n: u32, what: &str| format!("{} {what}", plural(n as usize, "digest"));
    let mut parts = vec![match opened.site.mail.transport {
        Transport::File => format!(
            "{} in `{}.crieur/outbox`",
            plural(report.sent as usize, "digest"),
            shell.prefix()
        ),
        _ => count(report.sent, "sent"),
    }];
    let others = [
        (report.refused, "refused"),
        (report.deferred, "not taken yet"),
        (report.in_doubt, "in doubt"),
    ];
    parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    let line = parts.join(", ");
    let waits = report.deferred > 0
        || (report.in_doubt > 0 && opened.site.reminders.in_doubt == InDoubt::Resend);
    match &report.stopped {
        Some(Unavailable::Misconfigured(why)) => Err(configuration(anyhow!("{line}; {why}"))),
        Some(Unavailable::Away(why)) if waits => {
            Err(temporary(anyhow!("{line}; {why}; the next run tries again")))
        }
        _ if waits => Err(temporary(anyhow!("{line}; the next run tries again"))),
        _ => Ok((attention(report.refused + report.in_doubt), line)),
    }
}

/// One run at a time: whoever holds this file's lock sends.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("remind.lock");
    let failed = |error: io::Error| {
        temporary(anyhow!(error).context(format!("cannot use `{}`", folder.display())))
    };
    ledger::private_folder(folder).map_err(failed)?;
    let file = ledger::private_file(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(temporary(anyhow!("another run is sending digests"))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What a dry run prints: it writes nothing.
fn show(digests: &[Digest<'_>], languages: &Languages) -> Result<String> {
    let mut lines = String::new();
    for digest in digests {
        lines.push_str(&format!("{}: {}\n", digest.recipient.email, languages.subject(digest)));
        for item in &digest.items {
            lines.push_str(&format!("  {}\n", super::simulate::line(item)));
        }
    }
    print(lines.as_bytes())?;
    Ok(format!("{} would be sent", plural(digests.len(), "digest")))
}
