//! `crieur remind`: sends the digests that are due.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use rayon::prelude::*;

use super::mailing::{self, Audience, Languages, PAGE, ledger_failure, masked};
use super::{
    Opened, Outcome, Result, Shell, configuration, confirmations, outcome, print, temporary,
};
use crate::cli;
use crate::clock::{Deadline, Now};
use crate::diagnostics::{Diagnostic, plural};
use crate::dispatch::Report;
use crate::ledger::{self, Addressee, Doubtful, Ledger, Mark, Planned, Run, Suppressions};
use crate::mail::{Composer, message};
use crate::posting::Posting;
use crate::private;
use crate::reminders::recipients::key;
use crate::reminders::{Digest, Item, Recipient, Today};
use crate::site::{InDoubt, Transport};

mod sending;

use sending::{Jobs, finished, outgoing, send};

/// How often a message that may have arrived is sent again, before a person has to look.
const MAX_DOUBTS: u32 = 10;

pub(super) fn run(shell: &Shell, arguments: &cli::Remind) -> Result {
    let opened = shell.site()?;
    let mut loaded = opened.postings()?;
    if !arguments.dry_run {
        opened.remember(loaded.learned.take());
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
    // A run that acts as if it was another time has all the time that it needs.
    let began = (shell.now == Now::Clock).then(|| Deadline::after(Duration::ZERO));
    let audience = || Audience::new(opened, postings, &arguments.recipient);
    let today = Today::new(&opened.site, postings, opened.now);
    let mut languages = Languages::new(opened)?;
    if arguments.dry_run {
        return rehearse(shell, opened, audience()?, &today, &mut languages);
    }

    // Whatever is wrong with settings and list is said before anything is written.
    let audience_for_plan = audience()?;
    if opened.site.mail.from.is_none() || !arguments.recipient.is_empty() {
        let people = mailing::ledger_to_read(opened)?;
        let mut wanted = audience()?;
        while !wanted.next(&people, PAGE)?.is_empty() {
            if opened.site.mail.from.is_none() {
                return Err(configuration(message::Error::NoSender));
            }
        }
        wanted.problems()?;
    }
    let private = opened.layout.private();
    let _lock = lock(&private)?;
    let transport = mailing::transport(opened)?;
    let signer = mailing::signer(opened)?;
    let mut ledger = mailing::sound_ledger(opened)?;
    let _heart = ledger.hold().map_err(ledger_failure)?;
    let keys = ledger.renewed_keys(opened.now).map_err(ledger_failure)?;
    ledger.forget_requests(opened.now).map_err(ledger_failure)?;
    if opened.site.subscribe.url.is_some() {
        let (transport, signer, keys, now) =
            (transport.as_ref(), signer.as_ref(), &keys, opened.now);
        // Digests do not wait for a slow server that long, nor for a form that somebody floods.
        let until = Deadline::after(CONFIRMATIONS);
        let is_over = &|| until.left().is_none();
        let post = confirmations::Post { shell, opened, transport, signer, keys, now, is_over };
        match post.send(&mut ledger, &mut languages, &mut confirmations::Postponed::new()) {
            Ok(0) => {}
            Ok(sent) => shell.say(&format!("{} sent", plural(sent, "confirmation"))),
            Err(failure) => shell.complain(&format!("confirmations could not be sent: {failure}")),
        }
    }
    let suppressed = ledger.suppressions().map_err(ledger_failure)?;

    let settled = settle(shell, opened, &mut ledger, &today, &suppressed, &audience)?;
    let only: Vec<String> = arguments.recipient.iter().map(|email| key(email)).collect();
    let Plan { planned, readers, problems } =
        plan(&mut ledger, (audience_for_plan, &only), &today, &suppressed, &mut languages)?;
    // What waits for others, where only some are meant, waits for the next run.
    let others = if only.is_empty() {
        0
    } else {
        let waiting = ledger.unsent().map_err(ledger_failure)?.waiting as usize;
        waiting.saturating_sub(planned)
    };
    shell.report(&problems);
    let mut outcome = outcome(&problems, false);
    if readers == Some(0) && ledger.has_digests().map_err(ledger_failure)? {
        shell.complain("there is nobody on the mailing list any more: is it where it was?");
        outcome = outcome.max(Outcome::Attention);
    }
    for problem in &languages.problems {
        shell.complain(problem);
    }
    if planned + settled.again == 0 {
        if ledger.was_interrupted().map_err(ledger_failure)? {
            // What a run sent that was killed stands in no backup.
            let number = ledger.begin_run(0, opened.now).map_err(ledger_failure)?;
            let ended_at = Some(shell.now.instant(opened.site.timezone));
            ledger.end_run(number, &Run { ended_at, ..Run::default() }).map_err(ledger_failure)?;
            mailing::keep(shell, opened, &ledger, opened.now);
        }
        let in_doubt = ledger.unsent().map_err(ledger_failure)?.in_doubt;
        let held = in_doubt.saturating_sub(settled.unwanted());
        if held > 0 {
            let held = plural(held as usize, "digest");
            shell.complain(&format!(
                "{held} may have arrived, and waits for you: see `crieur status`"
            ));
        }
        return Ok((outcome.max(attention(held)), "no digest is due".to_owned()));
    }
    let composer = Composer::new(&opened.site, signer.as_ref(), &keys, opened.now);
    let unwanted = settled.unwanted();
    let mut waiting = Jobs::new(opened, &today, (only, settled.left_alone), began);
    let jobs = &mut |ledger: &Ledger, after| waiting.next(ledger, after);
    let digests = planned + settled.again;
    let report = send(shell, opened, &mut ledger, transport.as_ref(), digests, jobs, &|work| {
        outgoing(work, opened, &keys, &composer, &languages)
    })?;
    let report = Report {
        deferred: report.deferred.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX)),
        in_doubt: report.in_doubt.saturating_sub(unwanted),
        ..report
    };
    finished(shell, opened, &report).map(|(reminded, line)| (outcome.max(reminded), line))
}

/// How long a run goes on to send confirmations, before the digests.
const CONFIRMATIONS: Duration = Duration::from_mins(1);

/// What was planned.
struct Plan {
    /// How many digests are to be sent.
    planned: usize,
    /// How many people may be written to; nothing where another machine read the list.
    readers: Option<usize>,
    /// What there is to say about the list.
    problems: Vec<Diagnostic>,
}

/// Enters the digests that are due, in one transaction, while the list is read; where another
/// machine did that a moment ago, there is nothing to enter.
fn plan(
    ledger: &mut Ledger,
    (mut audience, only): (Audience, &[String]),
    today: &Today<'_>,
    suppressed: &Suppressions,
    languages: &mut Languages<'_>,
) -> Result<Plan> {
    let Some(mut planning) = ledger.plan(today.day(), only, today.now()).map_err(ledger_failure)?
    else {
        let planned = ledger.free(today.day()).map_err(ledger_failure)?;
        for language in ledger.languages(today.day()).map_err(ledger_failure)? {
            if let Ok(language) = language.parse() {
                languages.learn(&language)?;
            }
        }
        return Ok(Plan { planned, readers: None, problems: Vec::new() });
    };
    let mut readers = 0;
    loop {
        let recipients = audience.next(&planning, PAGE)?;
        if recipients.is_empty() {
            break;
        }
        readers += recipients.len();
        let told: Vec<(&Recipient, String)> = recipients
            .iter()
            .map(|recipient| (recipient, recipient.key()))
            .filter(|(_, key)| !suppressed.contains(key))
            .collect();
        let keys: Vec<&str> = told.iter().map(|(_, key)| key.as_str()).collect();
        let pasts = planning.pasts(&keys, today.day()).map_err(ledger_failure)?;
        let digests: Vec<Planned> = told
            .into_par_iter()
            .zip(pasts)
            .filter_map(|((recipient, key), past)| {
                Some(planned(key, &today.due(recipient, &past)?))
            })
            .collect();
        planning.enter_all(&digests).map_err(ledger_failure)?;
        for language in recipients.iter().filter_map(|recipient| recipient.language.as_ref()) {
            languages.learn(language)?;
        }
    }
    let problems = audience.problems()?;
    let planned = planning.commit().map_err(ledger_failure)?;
    Ok(Plan { planned, readers: Some(readers), problems })
}

/// What a dry run prints: it writes nothing.
fn rehearse(
    shell: &Shell,
    opened: &Opened,
    mut audience: Audience,
    today: &Today<'_>,
    languages: &mut Languages<'_>,
) -> Result<(Outcome, String)> {
    let ledger = mailing::ledger_to_read(opened)?;
    let suppressed = ledger.suppressions().map_err(ledger_failure)?;
    let mut count = 0;
    let mut lines = String::new();
    loop {
        let recipients = audience.next(&ledger, PAGE)?;
        if recipients.is_empty() {
            break;
        }
        if opened.site.mail.from.is_none() {
            return Err(configuration(message::Error::NoSender));
        }
        for recipient in &recipients {
            if let Some(language) = &recipient.language {
                languages.learn(language)?;
            }
            let key = recipient.key();
            if suppressed.contains(&key) {
                continue;
            }
            let past = ledger.past(&key, today.day()).map_err(ledger_failure)?;
            let Some(digest) = today.due(recipient, &past) else { continue };
            count += 1;
            lines.push_str(&format!("{}: {}\n", recipient.email, languages.subject(&digest)));
            for item in &digest.items {
                lines.push_str(&format!("  {}\n", super::simulate::line(item)));
            }
            if lines.len() > 1 << 16 {
                print(lines.as_bytes())?;
                lines.clear();
            }
        }
    }
    let problems = audience.problems()?;
    shell.report(&problems);
    for problem in &languages.problems {
        shell.complain(problem);
    }
    print(lines.as_bytes())?;
    let mut line = format!("{} would be sent", plural(count, "digest"));
    let doubtful = ledger.doubtful().map_err(ledger_failure)?;
    let again = doubtful.iter().filter(|digest| !digest.held && digest.day == today.day()).count();
    if again > 0 {
        let again = plural(again, "digest");
        line.push_str(&format!(", and {again} that may have arrived again"));
    }
    Ok((outcome(&problems, false), line))
}

fn attention(problems: u32) -> Outcome {
    if problems > 0 { Outcome::Attention } else { Outcome::Done }
}

fn planned(recipient: String, digest: &Digest<'_>) -> Planned {
    let Recipient { email, name, language, subscribed, .. } = digest.recipient;
    let language = language.as_ref().map(ToString::to_string);
    let (email, name, subscribed) = (email.clone(), name.clone(), *subscribed);
    Planned {
        recipient,
        addressee: Addressee { email, name, language, subscribed },
        day: digest.day,
        content: ledger::Content::new(&digest.items.iter().map(Item::entry).collect::<Vec<_>>()),
    }
}

/// What was decided about what an earlier run left in doubt.
struct Settled {
    /// How many of them are sent again.
    again: usize,
    /// Those that do not leave, and stay in doubt.
    left_alone: HashSet<i64>,
}

impl Settled {
    /// How many of what is in doubt wait for nobody.
    fn unwanted(&self) -> u32 {
        u32::try_from(self.left_alone.len()).unwrap_or(u32::MAX)
    }
}

/// Decides about what an earlier run left in doubt.
fn settle(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    today: &Today<'_>,
    suppressed: &Suppressions,
    audience: &impl Fn() -> Result<Audience>,
) -> Result<Settled> {
    ledger.doubt_interrupted().map_err(ledger_failure)?;
    let doubtful = ledger.doubtful().map_err(ledger_failure)?;
    let mut settled = Settled { again: 0, left_alone: HashSet::new() };
    if doubtful.is_empty() {
        return Ok(settled);
    }
    let keys: HashSet<&str> = doubtful.iter().map(|digest| digest.recipient.as_str()).collect();
    let mut listed = HashSet::new();
    let mut everybody = audience()?;
    loop {
        let recipients = everybody.next(ledger, PAGE)?;
        if recipients.is_empty() {
            break;
        }
        listed.extend(
            recipients
                .iter()
                .map(Recipient::key)
                .filter(|key| keys.contains(key.as_str()) && !suppressed.contains(key)),
        );
    }
    let outbox = mailing::outbox(&opened.layout);
    let mut marks = Vec::new();
    for doubtful in &doubtful {
        let Doubtful { id, day, .. } = *doubtful;
        let is_held = opened.site.reminders.in_doubt == InDoubt::Hold
            || doubtful.doubts >= MAX_DOUBTS
            || doubtful.held
            // Only the very same message may leave again, and it is lost.
            || doubtful.message.is_empty();
        if outbox.has(day, &doubtful.message_id) {
            marks.push((id, Mark::Sent));
        } else if opened.site.mail.transport == Transport::File && !doubtful.held {
            // Files leave no doubt: it is not there. What is held left another way.
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
        } else if day == today.day() && listed.contains(&doubtful.recipient) {
            settled.again += 1;
        } else {
            // Nobody wants it any more, or the clock went back: it stays as it is.
            settled.left_alone.insert(id);
        }
    }
    ledger.mark(&marks, opened.now).map_err(ledger_failure)?;
    Ok(settled)
}

/// One run at a time: whoever holds this file's lock sends.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("remind.lock");
    let failed = |error: io::Error| {
        let is_lasting = private::needs_a_person(&error);
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
