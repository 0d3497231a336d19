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
use crate::clock::{Deadline, Now};
use crate::diagnostics::plural;
use crate::dispatch::{self, Dispatch, Event, Job, Outgoing, Pace, Report, Unsendable};
use crate::ledger::{Doubtful, Ledger, Mark, Planned, Run};
use crate::mail::transport::{self, Unavailable};
use crate::mail::{Composer, message};
use crate::posting::{Moment, Posting};
use crate::private;
use crate::reminders::{self, Digest, Recipient, Today};
use crate::site::{InDoubt, Transport};

/// How often a message that may have arrived is sent again, before a person has to look.
const MAX_DOUBTS: u32 = 10;

pub(super) fn run(shell: &Shell, arguments: &cli::Remind) -> Result {
    let opened = shell.site()?;
    let mut loaded = opened.postings()?;
    if !arguments.dry_run {
        opened.remember(&mut loaded);
    }
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
    let mut audience = reminders::audience(list, postings, opened.site.reminders.owners);
    mailing::narrowed(&mut audience, &arguments.recipient)?;
    if opened.site.mail.from.is_none() && !audience.is_empty() {
        return Err(configuration(message::Error::NoSender));
    }
    let languages = Languages::new(opened, &audience)?;
    for problem in &languages.problems {
        shell.complain(problem);
    }
    let today = Today::new(&opened.site, postings, opened.now);
    let ids = postings.iter().map(|posting| posting.id.as_str());
    if arguments.dry_run {
        let ledger = mailing::ledger_to_read(opened)?;
        mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);
        let sent = ledger.sent(ids, today.day()).map_err(ledger_failure)?;
        let mut line = show(&today.digests(&audience, &sent), &languages)?;
        let doubtful = ledger.doubtful().map_err(ledger_failure)?;
        let again = doubtful.iter().filter(|digest| !digest.held && digest.day == today.day());
        match again.count() {
            0 => {}
            n => {
                line.push_str(&format!(
                    ", and {} that may have arrived again",
                    plural(n, "digest")
                ));
            }
        }
        return Ok((outcome, line));
    }

    let private = opened.layout.private();
    let _lock = lock(&private)?;
    // Whatever is wrong with the settings is said before anything is written.
    let transport = mailing::transport(opened)?;
    let signer = mailing::signer(opened)?;
    let mut ledger = Ledger::open(&private).map_err(ledger_failure)?;
    let secret = ledger.secret().map_err(ledger_failure)?;
    mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);

    let again = settle(shell, opened, &mut ledger, &today, &audience)?;
    let sent = ledger.sent(ids, today.day()).map_err(ledger_failure)?;
    let digests = today.digests(&audience, &sent);
    let planned: Vec<Planned> = digests.iter().map(planned).collect();
    let numbers = ledger.plan(&planned, opened.now).map_err(ledger_failure)?;
    let mut jobs = again;
    jobs.extend(numbers.into_iter().zip(&digests).map(|(id, digest)| Job {
        id,
        recipient: digest.recipient.key(),
        work: Work::New(digest),
        until: until(shell, opened, digest),
    }));
    if jobs.is_empty() {
        let held = ledger.unsent().map_err(ledger_failure)?.in_doubt;
        return Ok((outcome.max(attention(held)), "no digest is due".to_owned()));
    }
    let composer = Composer::new(&opened.site, signer.as_ref(), &secret, opened.now);
    let report = send(shell, opened, &mut ledger, transport.as_ref(), jobs, &|work| {
        outgoing(work, &composer, &languages)
    })?;
    finished(shell, opened, &report).map(|(reminded, line)| (outcome.max(reminded), line))
}

fn attention(problems: u32) -> Outcome {
    if problems > 0 { Outcome::Attention } else { Outcome::Done }
}

/// When a digest no longer says what is so: at the end of its day, or when the first of its
/// postings closes. A run that acts as if it was another time has all the time it needs.
fn until(shell: &Shell, opened: &Opened, digest: &Digest<'_>) -> Option<Deadline> {
    if shell.now != Now::Clock {
        return None;
    }
    let zone = opened.site.timezone;
    let ends = digest.items.iter().filter_map(|item| item.posting.closes).map(|end| end.end(zone));
    let first = ends.chain([Moment::Day(digest.day).end(zone)]).filter(|end| *end > opened.now);
    first.min().and_then(|end| Some(Deadline::after((end - opened.now).to_std().ok()?)))
}

/// Sends, and enters what became of it.
fn send<'a>(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    transport: &dyn transport::Transport,
    jobs: Vec<Job<Work<'a>>>,
    compose: &(impl Fn(&Work<'a>) -> Composed + Sync),
) -> Result<Report> {
    let settings = &opened.site.mail.smtp;
    let retry_after: Vec<Duration> = if opened.site.mail.transport == Transport::File {
        Vec::new()
    } else {
        settings.retry_after.iter().map(|seconds| Duration::from_secs((*seconds).into())).collect()
    };
    let dispatch = Dispatch {
        transport,
        in_doubt: opened.site.reminders.in_doubt,
        retry_after: &retry_after,
        pace: settings.rate_per_second.map(Pace::new),
        now: opened.now,
    };
    let number = ledger.begin_run(jobs.len(), opened.now).map_err(ledger_failure)?;
    let report = dispatch.run(ledger, jobs, compose, &mut |event| tell(shell, event));
    let ended_at = Some(shell.now.instant(opened.site.timezone));
    let report = match report {
        Ok(report) => report,
        Err(dispatch::Error::Ledger(error)) => return Err(ledger_failure(error)),
        Err(dispatch::Error::Compose(error)) => {
            let run = Run { ended_at, error: Some(error.to_string()), ..Run::default() };
            ledger.end_run(number, &run).map_err(ledger_failure)?;
            return Err(configuration(error));
        }
    };
    for recipient in ledger.suppress_refused(report.sent > 0, opened.now).map_err(ledger_failure)? {
        let who = masked(&recipient);
        let line = format!("{who}: refused too often, and not written to any more");
        shell.log(Level::Warning, &line, json!({ "recipient": who }));
    }
    let stopped = report.stopped.as_ref().map(|why| without_addresses(&why.to_string()));
    let run = Run {
        ended_at,
        sent: report.sent,
        deferred: report.deferred,
        refused: report.refused,
        in_doubt: report.in_doubt,
        error: stopped.or_else(|| report.unsendable.clone()),
        ..Run::default()
    };
    ledger.end_run(number, &run).map_err(ledger_failure)?;
    if report.sent > 0 {
        let today = opened.now.with_timezone(&opened.site.timezone).date_naive();
        ledger.prune(today).map_err(ledger_failure)?;
        if let Err(error) = ledger.back_up(&opened.layout.private(), opened.now) {
            shell.complain(&format!("there is no new backup of the ledger: {error}"));
        }
    }
    Ok(report)
}

/// A message, or why there is none.
type Composed = std::result::Result<Outgoing, Unsendable<message::Error>>;

/// What a message is made from.
enum Work<'a> {
    /// A digest of today.
    New(&'a Digest<'a>),
    /// A message that may have arrived.
    Again(Outgoing),
}

fn outgoing(work: &Work<'_>, composer: &Composer<'_>, languages: &Languages) -> Composed {
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
            Err(error @ (message::Error::Message(_) | message::Error::Template(_))) => {
                Err(Unsendable::This(error.to_string()))
            }
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
        let is_held = opened.site.reminders.in_doubt == InDoubt::Hold
            || doubtful.doubts >= MAX_DOUBTS
            || doubtful.held;
        if outbox.has(day, &doubtful.message_id) {
            marks.push((id, Mark::Sent));
        } else if opened.site.mail.transport == Transport::File {
            // Files leave no doubt: it is not there.
            marks.push((id, Mark::Abandoned));
        } else if is_held {
            if !doubtful.held {
                marks.push((id, Mark::Held("it may have arrived".to_owned())));
                shell.complain(&format!(
                    "the digest of {day} to {} may have arrived, and is held: see `crieur status`",
                    masked(&doubtful.recipient)
                ));
            }
        } else if day < today.day() || (day == today.day() && !today.still_says(&doubtful.entries))
        {
            // Its words are no longer so. What still matters of it is planned anew.
            marks.push((id, Mark::Abandoned));
        } else if let Some(recipient) = recipient
            && day == today.day()
        {
            let (from, to) = message::envelope(&opened.site, recipient).map_err(configuration)?;
            let Doubtful { message_id, message: bytes, .. } = doubtful;
            again.push(Job {
                id,
                recipient: doubtful.recipient,
                work: Work::Again(Outgoing { from, to, day, message_id, bytes }),
                until: None,
            });
        }
        // Else nobody wants it any more, or the clock went back: it stays as it is.
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
    if level != Level::Info || shell.global.verbose > 0 {
        let fields = json!({ "recipient": who, "message_id": event.message_id });
        shell.log(level, &format!("{who}: {}", without_addresses(&what)), fields);
    }
}

/// What a run asks of its operator.
fn finished(shell: &Shell, opened: &Opened, report: &Report) -> Result<(Outcome, String)> {
    let digests = plural(report.sent as usize, "digest");
    let sent = match opened.site.mail.transport {
        Transport::File => format!("{digests} in `{}.crieur/outbox`", shell.prefix()),
        _ => format!("{digests} sent"),
    };
    let line = mailing::counted(
        sent,
        [
            (report.refused, "refused"),
            (report.deferred, "not taken yet"),
            (report.in_doubt, "in doubt"),
        ],
    );
    if let Some(why) = &report.unsendable {
        // A template that fails for everybody is the site's to mend, one that fails for some is
        // worth a look.
        let why = without_addresses(why);
        if report.sent == 0 {
            return Err(configuration(anyhow!("{line}; {why}")));
        }
        shell.complain(&format!("not every digest could be composed: {why}"));
    }
    let waits = report.deferred > 0
        || (report.in_doubt > 0 && opened.site.reminders.in_doubt == InDoubt::Resend);
    let why = report.stopped.as_ref().map(ToString::to_string).unwrap_or_default();
    let why = without_addresses(&why);
    match &report.stopped {
        Some(Unavailable::Misconfigured(_)) => Err(configuration(anyhow!("{line}; {why}"))),
        Some(Unavailable::Away(_)) if waits => {
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
        let is_lasting = matches!(
            error.kind(),
            io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::IsADirectory
        );
        let error = anyhow!(error).context(format!("cannot use `{}`", folder.display()));
        if is_lasting { configuration(error) } else { temporary(error) }
    };
    private::folder(folder).map_err(failed)?;
    let file = private::file(&path).map_err(failed)?;
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
