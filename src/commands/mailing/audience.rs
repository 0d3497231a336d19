//! Who may be written to: the mailing list, and everybody beside it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;

use super::{ledger_failure, masked};
use crate::commands::{Failure, Opened, Result};
use crate::diagnostics::Diagnostic;
use crate::ledger::{People, Subscriber, Suppressions};
use crate::posting::Posting;
use crate::reminders::recipients::{self, Consent, Source, key, read_yaml};
use crate::reminders::{Owners, Recipient};

/// The mailing list, one recipient after another. A list in CSV is read as it goes; one in YAML is
/// read as a whole.
pub(in crate::commands) struct List {
    shown: Arc<str>,
    rows: Rows,
}

enum Rows {
    Read(std::vec::IntoIter<Recipient>, Vec<Diagnostic>),
    Csv(Box<recipients::Rows<File>>),
}

impl List {
    /// Begins to read. A site without a list has nobody to remind.
    pub(in crate::commands) fn new(opened: &Opened) -> Result<Self> {
        let path = opened.layout.recipients(&opened.site);
        let shown = opened.layout.relative(&path);
        let is_absent = fs::metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if is_absent && opened.site.recipients.is_none() {
            return Ok(Self { shown, rows: Rows::Read(Vec::new().into_iter(), Vec::new()) });
        }
        Self::of(&path, &shown)
    }

    /// Begins to read a list by its path. Messages call it by another name.
    pub(in crate::commands) fn of(path: &Path, shown: &str) -> Result<Self> {
        let read = || -> io::Result<Rows> {
            let mut file = File::open(path)?;
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
                return Ok(Rows::Csv(Box::new(recipients::Rows::new(shown, file)?)));
            }
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            let (list, problems) = read_yaml(shown, &content);
            Ok(Rows::Read(list.into_iter(), problems))
        };
        let rows = read().map_err(|error| unreadable(shown, error))?;
        Ok(Self { shown: shown.into(), rows })
    }

    /// What there is to say about what was read.
    pub(in crate::commands) fn problems(self) -> Vec<Diagnostic> {
        match self.rows {
            Rows::Read(_, problems) => problems,
            Rows::Csv(rows) => rows.problems(),
        }
    }
}

fn unreadable(shown: &str, error: io::Error) -> Failure {
    let problem = format!("cannot read the mailing list `{shown}`");
    Failure::Configuration(anyhow!(error).context(problem))
}

impl Iterator for List {
    type Item = Result<Recipient>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::Read(list, _) => list.next().map(Ok),
            Rows::Csv(rows) => Some(rows.next()?.map_err(|error| unreadable(&self.shown, error))),
        }
    }
}

/// Everybody who may be written to, some after others: the mailing list in the site's files, the
/// people who subscribe, who win over it, and the owners of postings who are on neither; of these,
/// the ones that are meant, or all.
pub(in crate::commands) struct Audience {
    list: List,
    /// After whom the next of those who subscribe come; nothing when all were met.
    after: Option<String>,
    owners: Owners,
    /// The keys of those on the list who chose their wishes by themselves, with the consent that stands there.
    both: HashMap<String, Consent>,
    /// The keys of those that are meant and were not met yet, with their addresses.
    wanted: HashMap<String, String>,
    all: bool,
}

impl Audience {
    pub(in crate::commands) fn new(
        opened: &Opened,
        postings: &[Posting],
        wanted: &[String],
    ) -> Result<Self> {
        Ok(Self {
            list: List::new(opened)?,
            after: Some(String::new()),
            owners: Owners::new(postings, opened.site.reminders.owners),
            both: HashMap::new(),
            wanted: wanted.iter().map(|email| (key(email), email.clone())).collect(),
            all: wanted.is_empty(),
        })
    }

    /// The next of them, so many at most; none at the end.
    pub(in crate::commands) fn next(
        &mut self,
        people: &dyn People,
        most: usize,
    ) -> Result<Vec<Recipient>> {
        let somebody_subscribes = !people.subscribers("", 1).map_err(ledger_failure)?.is_empty();
        loop {
            let mut next: Vec<Recipient> =
                self.list.by_ref().take(most).collect::<Result<Vec<_>>>()?;
            let mut is_over = false;
            if !next.is_empty() {
                if somebody_subscribes {
                    // They come later, with what they wish now.
                    let keys: Vec<String> = next.iter().map(Recipient::key).collect();
                    let subscribing = people.subscribing(&keys).map_err(ledger_failure)?;
                    next.retain(|recipient| {
                        let source = subscribing.get(&recipient.key());
                        if source == Some(&Source::List) {
                            self.both.insert(recipient.key(), recipient.consent);
                        }
                        source.is_none()
                    });
                }
            } else if let Some(after) = self.after.take() {
                let page = people.subscribers(&after, most).map_err(ledger_failure)?;
                self.after = page.last().map(|subscriber| subscriber.recipient.key());
                // Somebody from the list who only chose their wishes is on it as long as they stand there.
                // When they consented stands there, too.
                next.extend(page.into_iter().filter_map(
                    |Subscriber { recipient, source, .. }| {
                        if source != Source::List {
                            return Some(recipient);
                        }
                        let Consent { at, source: given } = *self.both.get(&recipient.key())?;
                        let consent = Consent { at, source: given.or(Some(source)) };
                        Some(Recipient { consent, ..recipient })
                    },
                ));
                if next.is_empty() && self.after.is_some() {
                    continue;
                }
            } else {
                next.extend(self.owners.by_ref().take(most));
                is_over = next.is_empty();
            }
            for recipient in &next {
                self.owners.leave_out(&recipient.key());
            }
            if !self.all {
                next.retain(|recipient| self.wanted.remove(&recipient.key()).is_some());
            }
            if is_over || !next.is_empty() {
                return Ok(next);
            }
        }
    }

    /// What there is to say about the list, once it was read to its end.
    pub(in crate::commands) fn problems(self) -> Result<Vec<Diagnostic>> {
        match self.wanted.into_values().min() {
            Some(email) => Err(unknown(&email)),
            None => Ok(self.list.problems()),
        }
    }
}

/// Everybody on the list, and everybody who subscribes.
pub(in crate::commands) fn recipients(
    opened: &Opened,
    people: &dyn People,
) -> Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let mut audience = Audience::new(opened, &[], &[])?;
    let mut all = Vec::new();
    loop {
        let next = audience.next(people, PAGE)?;
        if next.is_empty() {
            return Ok((all, audience.problems()?));
        }
        all.extend(next);
    }
}

/// How many people are read at once.
pub(in crate::commands) const PAGE: usize = 2_048;

/// The mailing list in the site's files, as a whole.
pub(in crate::commands) fn listed(opened: &Opened) -> Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let mut list = List::new(opened)?;
    let recipients = list.by_ref().collect::<Result<_>>()?;
    Ok((recipients, list.problems()))
}

/// Those of the audience that are meant, or everybody.
pub(in crate::commands) fn narrowed(
    audience: &mut Vec<Recipient>,
    wanted: &[String],
) -> Result<()> {
    let keys: HashSet<String> = wanted.iter().map(|email| key(email)).collect();
    for email in wanted {
        find(audience, email)?;
    }
    if !keys.is_empty() {
        audience.retain(|recipient| keys.contains(&recipient.key()));
    }
    Ok(())
}

/// The recipient with an address.
pub(in crate::commands) fn find<'a>(
    audience: &'a [Recipient],
    email: &str,
) -> Result<&'a Recipient> {
    let wanted = key(email);
    audience.iter().find(|recipient| recipient.key() == wanted).ok_or_else(|| unknown(email))
}

fn unknown(email: &str) -> Failure {
    Failure::Usage(anyhow!("`{}` is not on the mailing list", masked(email)))
}

/// Leaves out those whom nobody writes to any more.
pub(in crate::commands) fn leave_out(audience: &mut Vec<Recipient>, suppressed: &Suppressions) {
    audience.retain(|recipient| !suppressed.contains(&recipient.key()));
}
