//! `crieur remind`: sends the digests that are due.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use chrono::NaiveDate;
use rayon::prelude::*;
use serde_json::json;

use super::mailing::{self, Audience, Languages, PAGE, ledger_failure, masked, without_addresses};
use super::{
    Level, Opened, Outcome, Result, Shell, configuration, confirmations, outcome, print, temporary,
};
use crate::cli;
use crate::clock::{Deadline, Now};
use crate::diagnostics::{Diagnostic, plural};
use crate::dispatch::{self, Dispatch, Event, Job, Outgoing, Pace, Report, Unsendable};
use crate::ledger::{self, Addressee, Doubtful, Ledger, Mark, Planned, Run, Suppressions, Waiting};
use crate::mail::transport::{self, Unavailable};
use crate::mail::{Composer, message};
use crate::posting::{Moment, Posting};
use crate::private;
use crate::reminders::{Digest, Item, Recipient, Today};
use crate::site::{InDoubt, Transport};
use crate::tokens::Keys;

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
    let mut ledger = mailing::ledger(opened)?;
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
    let (planned, problems) =
        plan(&mut ledger, audience_for_plan, &today, &suppressed, &mut languages)?;
    shell.report(&problems);
    let outcome = outcome(&problems, false);
    for problem in &languages.problems {
        shell.complain(problem);
    }
    if planned + settled.again == 0 {
        let held = ledger.unsent().map_err(ledger_failure)?.in_doubt;
        return Ok((outcome.max(attention(held)), "no digest is due".to_owned()));
    }
    let composer = Composer::new(&opened.site, signer.as_ref(), &keys, opened.now);
    let mut waiting = Jobs {
        today: &today,
        left_alone: settled.left_alone,
        contents: HashMap::new(),
        began,
        opened,
    };
    let jobs = &mut |ledger: &Ledger, after| waiting.next(ledger, after);
    let digests = planned + settled.again;
    let report = send(shell, opened, &mut ledger, transport.as_ref(), digests, jobs, &|work| {
        outgoing(work, opened, &keys, &composer, &languages)
    })?;
    finished(shell, opened, &report).map(|(reminded, line)| (outcome.max(reminded), line))
}

/// How long a run goes on to send confirmations, before the digests.
const CONFIRMATIONS: Duration = Duration::from_mins(1);
/// How many digests are taken from the ledger at once, to be sent.
const DIGESTS: usize = 256;
/// How many different digests are kept while they are sent.
const MAX_CONTENTS: usize = 10_000;

/// Enters the digests that are due, in one transaction, while the list is read; where another
/// machine did that a moment ago, there is nothing to enter. Returns how many they are, and what
/// there is to say about the list.
fn plan(
    ledger: &mut Ledger,
    mut audience: Audience,
    today: &Today<'_>,
    suppressed: &Suppressions,
    languages: &mut Languages<'_>,
) -> Result<(usize, Vec<Diagnostic>)> {
    let Some(mut planning) = ledger.plan(today.day(), today.now()).map_err(ledger_failure)? else {
        return Ok((ledger.free(today.day()).map_err(ledger_failure)?, Vec::new()));
    };
    loop {
        let recipients = audience.next(&planning, PAGE)?;
        if recipients.is_empty() {
            break;
        }
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
    Ok((planning.commit().map_err(ledger_failure)?, problems))
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

/// What digests of the same content are made from.
struct Content<'a> {
    items: Vec<Item<'a>>,
    /// Whether it can still be said: who planned it may have been another machine, a while ago.
    is_so: bool,
    until: Option<Deadline>,
}

/// Takes from the ledger what may leave.
struct Jobs<'a> {
    opened: &'a Opened,
    today: &'a Today<'a>,
    /// What is in doubt and does not leave in this run.
    left_alone: HashSet<i64>,
    contents: HashMap<i64, Arc<Content<'a>>>,
    /// When the run began, if the clock goes on.
    began: Option<Deadline>,
}

impl<'a> Jobs<'a> {
    fn next(
        &mut self,
        ledger: &Ledger,
        mut after: Option<i64>,
    ) -> ledger::Result<Vec<Job<Work<'a>>>> {
        loop {
            let page = ledger.waiting(self.today.day(), after, DIGESTS)?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.id);
            let mut jobs = Vec::with_capacity(page.len());
            for digest in page {
                if self.left_alone.contains(&digest.id) {
                    continue;
                }
                let Waiting { id, recipient, addressee, content, message } = digest;
                let (work, until) = if let Some((message_id, bytes)) = message {
                    let (email, day) = (addressee.email, self.today.day());
                    (Work::Again { email, day, message_id, bytes: bytes.into() }, None)
                } else {
                    let content = self.content(ledger, content)?;
                    if !content.is_so {
                        continue;
                    }
                    let until = content.until;
                    (Work::New { recipient: restored(addressee), content }, until)
                };
                jobs.push(Job { id, recipient, work, until });
            }
            if !jobs.is_empty() {
                return Ok(jobs);
            }
        }
    }

    fn content(&mut self, ledger: &Ledger, id: i64) -> ledger::Result<Arc<Content<'a>>> {
        if let Some(content) = self.contents.get(&id) {
            return Ok(content.clone());
        }
        let entries = ledger.content(id)?;
        let items = self.today.items(&entries);
        let is_so = items.len() == entries.len() && self.today.still_says(&entries);
        let until = self.until(&items);
        let content = Arc::new(Content { items, is_so, until });
        if self.contents.len() >= MAX_CONTENTS {
            self.contents.clear();
        }
        self.contents.insert(id, content.clone());
        Ok(content)
    }

    /// When a digest no longer says what is so: at the end of its day, or when the first of its
    /// postings closes.
    fn until(&self, items: &[Item<'_>]) -> Option<Deadline> {
        let began = self.began?;
        let (zone, now) = (self.opened.site.timezone, self.opened.now);
        let ends = items.iter().filter_map(|item| item.posting.closes);
        let ends = ends.chain([Moment::Day(self.today.day())]).map(|end| end.end(zone));
        let first = ends.filter(|end| *end > now).min();
        first.and_then(|end| Some(began.later((end - now).to_std().ok()?)))
    }
}

/// The recipient, as far as a message needs it.
fn restored(addressee: Addressee) -> Recipient {
    let Addressee { email, name, language, subscribed } = addressee;
    let language = language.and_then(|language| language.parse().ok());
    Recipient { name, language, subscribed, ..Recipient::new(email) }
}

/// Sends, and enters what became of it.
fn send<'a>(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    transport: &dyn transport::Transport,
    digests: usize,
    jobs: &mut dispatch::Next<'_, Work<'a>>,
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
    let number = ledger.begin_run(digests, opened.now).map_err(ledger_failure)?;
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
        mailing::keep(shell, opened, ledger, opened.now);
    }
    Ok(report)
}

/// A message, or why there is none.
type Composed = std::result::Result<Outgoing, Unsendable<message::Error>>;

/// What a message is made from.
enum Work<'a> {
    /// A digest of today.
    New {
        /// To whom.
        recipient: Recipient,
        /// What it says.
        content: Arc<Content<'a>>,
    },
    /// A message that may have arrived.
    Again {
        /// The recipient's address.
        email: String,
        /// The day that it is for.
        day: NaiveDate,
        /// Its id.
        message_id: String,
        /// The message, to the byte.
        bytes: Arc<Vec<u8>>,
    },
}

fn outgoing(
    work: &Work<'_>,
    opened: &Opened,
    keys: &Keys,
    composer: &Composer<'_>,
    languages: &Languages<'_>,
) -> Composed {
    // One that cannot be composed must not stop the others.
    let unsendable = |error| match error {
        message::Error::Message(_) | message::Error::Template(_) => {
            Unsendable::This(error.to_string())
        }
        error => Unsendable::Any(error),
    };
    match work {
        Work::Again { email, day, message_id, bytes } => {
            let (from, to) = message::envelope(&opened.site, keys, email).map_err(unsendable)?;
            let (message_id, bytes) = (message_id.clone(), bytes.clone());
            Ok(Outgoing { from, to, day: *day, message_id, bytes, shared: Vec::new() })
        }
        Work::New { recipient, content } => {
            let day = opened.now.with_timezone(&opened.site.timezone).date_naive();
            let digest = Digest { recipient, day, items: content.items.clone() };
            let mail = languages.compose(composer, &digest).map_err(unsendable)?;
            let message::Composed { from, to, message_id, bytes, shared, .. } = mail;
            Ok(Outgoing { from, to, day, message_id, bytes: bytes.into(), shared })
        }
    }
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
