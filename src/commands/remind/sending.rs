//! From the ledger to the wire: what may leave is taken a few at a time, composed, handed over, and
//! what became of it is entered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use chrono::NaiveDate;
use serde_json::json;

use super::attention;
use crate::clock::Deadline;
use crate::commands::mailing::{self, Languages, ledger_failure, masked};
use crate::commands::{Level, Opened, Outcome, Result, Shell, configuration, temporary};
use crate::diagnostics::plural;
use crate::dispatch::{self, Dispatch, Event, Job, Outgoing, Pace, Report, Unsendable};
use crate::ledger::{self, Addressee, Ledger, Mark, Run, Waiting};
use crate::mail::transport::{self, Unavailable};
use crate::mail::{Composer, message};
use crate::posting::Moment;
use crate::reminders::{Digest, Item, Recipient, Today};
use crate::site::{InDoubt, Transport};
use crate::text;
use crate::tokens::Keys;

/// How many digests are taken from the ledger at once.
const DIGESTS: usize = 256;
/// How many different digests are kept while they are sent.
const MAX_CONTENTS: usize = 10_000;

/// What digests of the same content are made from.
pub(super) struct Content<'a> {
    items: Vec<Item<'a>>,
    /// Whether it can still be said: who planned it may have been another machine, a while ago.
    is_so: bool,
    until: Option<Deadline>,
}

/// Takes from the ledger what may leave.
pub(super) struct Jobs<'a> {
    opened: &'a Opened,
    today: &'a Today<'a>,
    /// The keys of those that are meant; none means everybody.
    only: &'a [String],
    /// What is in doubt and does not leave in this run.
    left_alone: HashSet<i64>,
    contents: HashMap<i64, Arc<Content<'a>>>,
    /// When the run began, if the clock goes on.
    began: Option<Deadline>,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(
        opened: &'a Opened,
        today: &'a Today<'a>,
        (only, left_alone): (&'a [String], HashSet<i64>),
        began: Option<Deadline>,
    ) -> Self {
        Self { opened, today, only, left_alone, contents: HashMap::new(), began }
    }

    pub(super) fn next(
        &mut self,
        ledger: &Ledger,
        mut after: Option<i64>,
    ) -> ledger::Result<Vec<Job<Work<'a>>>> {
        loop {
            let page = ledger.waiting(self.today.day(), self.only, after, DIGESTS)?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.id);
            let mut jobs = Vec::with_capacity(page.len());
            for digest in page {
                if self.left_alone.contains(&digest.id) {
                    continue;
                }
                let Waiting { id, recipient, addressee, content, edition, message } = digest;
                let content = self.content(ledger, content)?;
                let (until, is_in_doubt) = (content.until, message.is_some());
                let work = if let Some((message_id, bytes)) = message {
                    let (email, day) = (addressee.email, self.today.day());
                    Work::Again { email, day, message_id, bytes: bytes.into() }
                } else if content.is_so {
                    Work::New { recipient: restored(addressee), content, edition }
                } else {
                    continue;
                };
                jobs.push(Job { id, recipient, work, until, is_in_doubt });
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
pub(super) fn send<'a>(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    transport: &dyn transport::Transport,
    (digests, only): (usize, &[String]),
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
        only,
    };
    let number = ledger.begin_run(digests, opened.now).map_err(ledger_failure)?;
    let report = dispatch.run(ledger, jobs, compose, &mut |event| tell(shell, event));
    let ended_at = Some(shell.now.instant(opened.site.timezone));
    let report = match report {
        Ok(report) => report,
        Err(dispatch::Error::Ledger(error)) => return Err(ledger_failure(error)),
        Err(dispatch::Error::Compose(error)) => {
            let why = text::without_addresses(&error.to_string());
            let run = Run { ended_at, error: Some(why), ..Run::default() };
            ledger.end_run(number, &run).map_err(ledger_failure)?;
            return Err(configuration(error));
        }
    };
    for recipient in ledger.suppress_refused(report.sent > 0, opened.now).map_err(ledger_failure)? {
        let who = masked(&recipient);
        let line = format!("{who}: refused too often, and not written to any more");
        shell.log(Level::Warning, &line, json!({ "recipient": who }));
    }
    let stopped = report.stopped.as_ref().map(ToString::to_string);
    let error = stopped.as_ref().or(report.unsendable.as_ref());
    let run = Run {
        ended_at,
        sent: report.sent,
        deferred: report.deferred,
        refused: report.refused,
        in_doubt: report.in_doubt + report.held,
        error: error.map(|error| text::without_addresses(error)),
        ..Run::default()
    };
    ledger.end_run(number, &run).map_err(ledger_failure)?;
    if report.sent > 0 {
        let today = opened.today();
        ledger.prune(today).map_err(ledger_failure)?;
    }
    Ok(report)
}

/// A message, or why there is none.
type Composed = std::result::Result<Outgoing, Unsendable<message::Error>>;

/// What a message is made from.
pub(super) enum Work<'a> {
    /// A digest of today.
    New {
        /// To whom.
        recipient: Recipient,
        /// What it says.
        content: Arc<Content<'a>>,
        /// How many digests of today were given up before it.
        edition: u32,
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

pub(super) fn outgoing(
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
        Work::New { recipient, content, edition } => {
            let day = opened.today();
            let digest = Digest { recipient, day, items: content.items.clone() };
            let mail = languages.compose(composer, &digest, *edition).map_err(unsendable)?;
            let message::Composed { from, to, message_id, bytes, shared, .. } = mail;
            Ok(Outgoing { from, to, day, message_id, bytes: bytes.into(), shared })
        }
    }
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
        shell.log(level, &format!("{who}: {}", text::without_addresses(&what)), fields);
    }
}

/// What a run asks of its operator.
pub(super) fn finished(
    shell: &Shell,
    opened: &Opened,
    report: &Report,
) -> Result<(Outcome, String)> {
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
            (report.in_doubt + report.held, "in doubt"),
        ],
    );
    if let Some(why) = &report.unsendable {
        // A template that fails for everybody is the site's to mend, one that fails for some is
        // worth a look.
        let why = text::without_addresses(why);
        if report.sent == 0 {
            return Err(configuration(anyhow!("{line}; {why}")));
        }
        shell.complain(&format!("not every digest could be composed: {why}"));
    }
    let waits = report.deferred > 0
        || (report.in_doubt > 0 && opened.site.reminders.in_doubt == InDoubt::Resend);
    let why = report.stopped.as_ref().map(ToString::to_string).unwrap_or_default();
    let why = text::without_addresses(&why);
    match &report.stopped {
        Some(Unavailable::Misconfigured(_)) => Err(configuration(anyhow!("{line}; {why}"))),
        Some(Unavailable::Away(_)) if waits => {
            Err(temporary(anyhow!("{line}; {why}; the next run tries again")))
        }
        _ if waits => {
            let said = report.said.as_deref().filter(|_| report.deferred > 0);
            let said = said.map(|said| format!("; {}", text::without_addresses(said)));
            let said = said.unwrap_or_default();
            Err(temporary(anyhow!("{line}{said}; the next run tries again")))
        }
        _ => Ok((attention(report.refused + report.in_doubt + report.held), line)),
    }
}
