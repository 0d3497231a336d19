//! `crieur recipients`: the people who subscribe, beside the list in the site's files.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc, Weekday};
use chrono_tz::Tz;
use serde::Serialize;

use super::mailing::{self, Audience, PAGE, ledger_failure, masked};
use super::{Failure, Opened, Outcome, Result, Shell, outcome, print, table, temporary};
use crate::cli::{self, ExportFormat, ListFormat};
use crate::diagnostics::{Tally, plural};
use crate::ledger::Subscriber;
use crate::posting::moment::rfc3339;
use crate::reminders::Recipient;
use crate::reminders::recipients::{Consent, KEYS, Source, key};
use crate::text;

pub(super) fn run(shell: &Shell, arguments: &cli::Recipients) -> Result {
    let opened = shell.site()?;
    match arguments {
        cli::Recipients::List(arguments) => show(shell, &opened, arguments.format),
        cli::Recipients::Add(arguments) => add(shell, &opened, arguments),
        cli::Recipients::Remove(arguments) => remove(shell, &opened, &arguments.email),
        cli::Recipients::Import(arguments) => import(shell, &opened, &arguments.file),
        cli::Recipients::Export(arguments) => export(shell, &opened, arguments.format),
    }
}

/// Somebody, as `list` shows them, and as a list has them. Instants are those of RFC 3339.
#[derive(Debug, Serialize)]
struct Row {
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domains: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    teams: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contracts: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    junior: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lead_days: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cadence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weekday: Option<Weekday>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    new: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<String>,
    #[serde(skip)]
    since: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    /// Whether they are written to, and if not, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl Row {
    fn new(recipient: Recipient, state: Option<&'static str>) -> Self {
        let Consent { at, source } = recipient.consent;
        Self {
            email: recipient.email,
            name: recipient.name,
            language: recipient.language.map(|language| language.to_string()),
            domains: recipient.domains,
            teams: recipient.teams,
            contracts: recipient.contracts,
            junior: recipient.junior,
            lead_days: recipient.lead_days.unwrap_or_default(),
            cadence: recipient.weekly.map(|_| "weekly"),
            weekday: recipient.weekly,
            new: recipient.new,
            confirmed_at: at.map(|at| rfc3339(&at)),
            since: at,
            source: source.map(Source::as_str),
            state,
        }
    }

    /// The cells of a line, in the order of [`KEYS`], with the state where there is one.
    fn cells(&self) -> Vec<String> {
        let flag = |flag: bool| if flag { "true".to_owned() } else { String::new() };
        let days: Vec<String> = self.lead_days.iter().map(ToString::to_string).collect();
        let mut cells = vec![
            self.email.clone(),
            self.name.clone().unwrap_or_default(),
            self.language.clone().unwrap_or_default(),
            self.domains.join(";"),
            self.teams.join(";"),
            self.contracts.join(";"),
            flag(self.junior),
            days.join(";"),
            self.cadence.unwrap_or_default().to_owned(),
            self.weekday.map(|day| day.to_string()).unwrap_or_default(),
            flag(self.new),
            self.confirmed_at.clone().unwrap_or_default(),
            self.source.unwrap_or_default().to_owned(),
        ];
        cells.extend(self.state.map(str::to_owned));
        cells
    }

    /// What somebody wishes, in few words.
    fn wishes(&self) -> String {
        let days: Vec<String> = self.lead_days.iter().map(ToString::to_string).collect();
        let all = [&self.domains, &self.teams, &self.contracts].into_iter().flatten().cloned();
        let days = (!days.is_empty()).then(|| format!("{} days before", days.join(", ")));
        let rest = [
            self.junior.then(|| "junior".to_owned()),
            days,
            self.weekday.map(|day| format!("weekly, {day}")),
            self.new.then(|| "new".to_owned()),
        ];
        all.chain(rest.into_iter().flatten()).collect::<Vec<_>>().join("; ")
    }
}

fn csv(rows: &[Row], header: bool, with_state: bool) -> Result<String> {
    let state = with_state.then_some("state");
    let header = header.then(|| KEYS.iter().copied().chain(state).map(str::to_owned).collect());
    table::csv(header.into_iter().chain(rows.iter().map(Row::cells)))
}

/// Everybody, whether or not they are written to.
fn show(shell: &Shell, opened: &Opened, format: ListFormat) -> Result {
    let ledger = mailing::ledger_to_read(opened)?;
    let (everybody, problems) = mailing::recipients(opened, &ledger)?;
    shell.report(&problems);
    let mut rows = Vec::with_capacity(everybody.len());
    for recipient in everybody {
        let suppressed = ledger.suppressed(&recipient.key()).map_err(ledger_failure)?;
        let state = suppressed.map_or("subscribed", |(reason, _)| reason.as_str());
        rows.push(Row::new(recipient, Some(state)));
    }
    let known: HashSet<String> = rows.iter().map(|row| key(&row.email)).collect();
    for (email, _) in ledger.asked(opened.now).map_err(ledger_failure)? {
        if !known.contains(&key(&email)) {
            let consent = Consent { at: None, source: Some(Source::Form) };
            let recipient = Recipient { consent, ..Recipient::new(email) };
            rows.push(Row::new(recipient, Some("asked")));
        }
    }
    let text = match format {
        ListFormat::Json => table::json(&rows)?,
        ListFormat::Csv => csv(&rows, true, true)?,
        ListFormat::Table => table(&rows, opened.site.timezone),
    };
    print(text.as_bytes())?;
    Ok(outcome(&problems, false))
}

fn table(rows: &[Row], zone: Tz) -> String {
    let day = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive().to_string();
    let row = |row: &Row| {
        [
            row.state.unwrap_or_default().to_owned(),
            row.email.clone(),
            row.source.unwrap_or("file").to_owned(),
            row.since.map(day).unwrap_or_default(),
            row.wishes(),
        ]
    };
    table::table(["state", "address", "source", "since", "wishes"], rows.iter().map(row))
}

fn add(shell: &Shell, opened: &Opened, arguments: &cli::RecipientsAdd) -> Result {
    let email = checked(&arguments.email)?;
    let terms = |names: &[String]| names.iter().map(|name| text::term(name)).collect();
    let recipient = Recipient {
        name: arguments.name.as_deref().map(text::one_line).filter(|name| !name.is_empty()),
        language: arguments.language.clone(),
        domains: terms(&arguments.domain),
        teams: terms(&arguments.team),
        contracts: terms(&arguments.contract),
        junior: arguments.junior,
        lead_days: Some(arguments.lead_days.clone()).filter(|days| !days.is_empty()),
        weekly: arguments.weekly,
        new: arguments.new,
        ..Recipient::new(email)
    };
    let mut ledger = mailing::ledger(opened)?;
    if let Some((reason, since)) = ledger.suppressed(&recipient.key()).map_err(ledger_failure)? {
        return Err(Failure::Usage(anyhow!(
            "`{}` is not written to ({}, since {}): if they ask to be, `crieur unsubscribe --undo {}` first",
            recipient.email,
            reason.as_str(),
            since.with_timezone(&opened.site.timezone).date_naive(),
            recipient.email
        )));
    }
    let who = masked(&recipient.email);
    // Who chose on the page while they stood in a list does not subscribe without it.
    let before = ledger.subscriber(&recipient.key()).map_err(ledger_failure)?;
    let before = before.filter(|before| before.source != Source::List);
    if before.is_some() && recipient == Recipient::new(recipient.email.clone()) {
        shell.say(&format!("{who} subscribes already"));
        return Ok(Outcome::Done);
    }
    let subscriber = match before {
        // Whoever is given other wishes has consented before.
        Some(before) => Subscriber { recipient, ..before },
        None => entered(recipient, Source::Command, opened.now),
    };
    ledger.put(&subscriber).map_err(ledger_failure)?;
    let kept = mailing::keep(shell, opened, &ledger, opened.now);
    shell.say(&format!("{who} subscribes"));
    Ok(kept)
}

/// Somebody who is entered now, with the consent that was given before, if the list says so.
fn entered(recipient: Recipient, source: Source, now: DateTime<Utc>) -> Subscriber {
    let Consent { at, source: given } = recipient.consent;
    let confirmed_at = at.unwrap_or(now);
    // They subscribe now, whether or not they stand on the list.
    let source = given.filter(|given| *given != Source::List).unwrap_or(source);
    Subscriber { recipient, source, asked_at: confirmed_at, confirmed_at }
}

fn remove(shell: &Shell, opened: &Opened, email: &str) -> Result {
    let email = key(&checked(email)?);
    let mut ledger = mailing::ledger(opened)?;
    let removed = ledger.remove(&email).map_err(ledger_failure)?;
    let listed = mailing::listed(opened)?.0.iter().any(|recipient| recipient.key() == email);
    let who = masked(&email);
    let mut outcome = Outcome::Done;
    if removed {
        outcome = mailing::keep(shell, opened, &ledger, opened.now);
        shell.say(&format!("{who} does not subscribe any more"));
    }
    if listed {
        let place = opened.layout.relative(&opened.layout.recipients(&opened.site));
        shell.complain(&format!("the address stands in `{place}`: delete it there"));
        return Ok(Outcome::Attention);
    }
    if !removed {
        return Err(Failure::Usage(anyhow!("`{}` does not subscribe", masked(&email))));
    }
    Ok(outcome)
}

fn import(shell: &Shell, opened: &Opened, file: &Path) -> Result {
    let mut list = mailing::List::of(file, &file.display().to_string())?;
    let mut ledger = mailing::ledger(opened)?;
    let (mut count, mut left, mut known) = (0, 0, 0);
    loop {
        let page: Vec<Recipient> = list.by_ref().take(PAGE).collect::<Result<_>>()?;
        if page.is_empty() {
            break;
        }
        let mut subscribers = Vec::with_capacity(page.len());
        for recipient in page {
            // Who left stays off, whatever a list says.
            let key = recipient.key();
            if ledger.suppressed(&key).map_err(ledger_failure)?.is_some() {
                left += 1;
            } else if ledger.subscriber(&key).map_err(ledger_failure)?.is_some() {
                // What somebody chose and consented to is not overwritten by what a list knew.
                known += 1;
            } else {
                subscribers.push(entered(recipient, Source::Import, opened.now));
            }
        }
        count += subscribers.len();
        ledger.put_all(&subscribers).map_err(ledger_failure)?;
    }
    let problems = list.problems();
    shell.report(&problems);
    let kept = mailing::keep(shell, opened, &ledger, opened.now);
    let mut line = format!("{} entered", plural(count, "subscriber"));
    if known > 0 {
        line.push_str(&format!(", {known} left as they are: they subscribe already"));
    }
    if left > 0 {
        line.push_str(&format!(", {left} left out: they are not written to any more"));
    }
    let tally = Tally::of(&problems);
    if tally.errors + tally.warnings > 0 {
        line.push_str(&format!(" ({tally}: `-v` shows all of them)"));
    }
    shell.say(&line);
    Ok(kept.max(outcome(&problems, false)))
}

fn export(shell: &Shell, opened: &Opened, format: ExportFormat) -> Result {
    let ledger = mailing::ledger_to_read(opened)?;
    let suppressed = ledger.suppressions().map_err(ledger_failure)?;
    let mut audience = Audience::new(opened, &[], &[])?;
    let mut is_first = true;
    loop {
        let mut page = audience.next(&ledger, PAGE)?;
        if page.is_empty() {
            break;
        }
        page.retain(|recipient| !suppressed.contains(&recipient.key()));
        let rows: Vec<Row> = page.into_iter().map(|recipient| Row::new(recipient, None)).collect();
        let text = match format {
            ExportFormat::Csv => csv(&rows, is_first, false)?,
            ExportFormat::Yaml if rows.is_empty() => String::new(),
            ExportFormat::Yaml => serde_yaml::to_string(&rows).map_err(temporary)?,
        };
        print(text.as_bytes())?;
        is_first = false;
    }
    let problems = audience.problems()?;
    shell.report(&problems);
    Ok(outcome(&problems, false))
}

fn checked(email: &str) -> Result<String> {
    let email = email.trim().to_owned();
    text::is_deliverable(&email)
        .then_some(email)
        .with_context(|| "that is not a mail address")
        .map_err(Failure::Usage)
}
