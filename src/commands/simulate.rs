//! `crieur simulate`: every digest between two days, from memory.

use anyhow::anyhow;
use chrono::NaiveDate;
use serde::Serialize;

use super::mailing::{self, Languages, ledger_failure};
use super::{Failure, Result, Shell, outcome, print};
use crate::cli::{self, DataFormat};
use crate::diagnostics::plural;
use crate::posting::Moment;
use crate::reminders::{self, Digest, Item, Recipient, Section, Sent, Today};

/// A digest, as `--format json` shows it.
#[derive(Serialize)]
struct Row {
    day: NaiveDate,
    recipient: String,
    subject: String,
    items: Vec<RowItem>,
}

#[derive(Serialize)]
struct RowItem {
    slug: String,
    section: &'static str,
    stage: Option<u16>,
    days_left: Option<i64>,
}

pub(super) fn run(shell: &Shell, arguments: &cli::Simulate) -> Result {
    let cli::Simulate { from, to, format } = *arguments;
    if to < from {
        return Err(Failure::Usage(anyhow!("--to {to} lies before --from {from}")));
    }
    let mut opened = shell.site()?;
    let site = opened.site.clone();
    // One run a day, at the first moment at which it may send.
    let morning = |day| Moment::at(day, site.reminders.send_after, site.timezone);
    let actual = opened.today();
    opened.now = morning(to);
    let loaded = opened.postings_at_any_time(opened.now)?;
    shell.report(&loaded.diagnostics);
    let ledger = mailing::ledger_to_read(&opened)?;
    let (list, problems) = mailing::recipients(&opened, &ledger)?;
    shell.report(&problems);
    let mut audience = reminders::audience(list, &loaded.postings, site.reminders.owners);
    mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);
    let languages = Languages::of_all(&opened, &audience);
    let mut sent = Sent::default();
    for key in audience.iter().map(Recipient::key) {
        *sent.of_mut(&key) = ledger.past_before(&key, from).map_err(ledger_failure)?;
    }

    let mut rows = Vec::new();
    let mut text = String::new();
    for day in from.iter_days().take_while(|day| *day <= to) {
        let mut postings = loaded.postings.clone();
        for posting in &mut postings {
            posting.forget_what_is_to_come(morning(day), site.timezone);
        }
        let mut today = Today::new(&site, &postings, morning(day));
        if day == from && day == actual {
            // As the run would that really follows the last one.
            today = today.following(ledger.planned_days(day).map_err(ledger_failure)?);
        }
        for digest in today.digests(&audience, &sent) {
            digest.remember(&mut sent);
            match format {
                DataFormat::Json => rows.push(row(&digest, &languages)),
                DataFormat::Table => text.push_str(&entry(&digest, &languages)),
            }
        }
    }
    if format == DataFormat::Json {
        text = super::table::json(&rows)?;
    }
    print(text.as_bytes())?;
    let days = to.signed_duration_since(from).num_days() + 1;
    let days = plural(usize::try_from(days).unwrap_or(0), "day");
    shell.say(&format!("simulated {days} for {}", plural(audience.len(), "recipient")));
    Ok(outcome(&loaded.diagnostics, false).max(outcome(&problems, false)))
}

fn row(digest: &Digest<'_>, languages: &Languages) -> Row {
    let items = digest.items.iter().map(|item| RowItem {
        slug: item.posting.slug.clone(),
        section: item.section.as_str(),
        stage: item.stage,
        days_left: item.days_left,
    });
    Row {
        day: digest.day,
        recipient: digest.recipient.email.clone(),
        subject: languages.subject(digest),
        items: items.collect(),
    }
}

fn entry(digest: &Digest<'_>, languages: &Languages) -> String {
    let recipient = &digest.recipient.email;
    let mut text = format!("{} {recipient}: {}\n", digest.day, languages.subject(digest));
    for item in &digest.items {
        text.push_str(&format!("  {}\n", line(item)));
    }
    text
}

/// One posting of a digest, for people.
pub(super) fn line(item: &Item<'_>) -> String {
    let why = match (item.section, item.section.what()) {
        (Section::Closing, _) => String::new(),
        (section, None) => format!(" ({})", section.as_str()),
        (section, Some(what)) => format!(" ({}: {what})", section.as_str()),
    };
    let closes = item
        .posting
        .closes
        .map_or_else(|| "has no closing date".to_owned(), |closes| format!("closes {closes}"));
    format!("{} {closes}: {}{why}", item.posting.slug, item.posting.title)
}
