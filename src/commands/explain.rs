//! `crieur explain`: why a posting is, or is not, published or in a digest.

use anyhow::anyhow;
use chrono::{Datelike, TimeDelta, Weekday};

use super::mailing::{self, ledger_failure};
use super::{Failure, Outcome, Result, Shell, Texts, list, print};
use crate::cli;
use crate::diagnostics::{Diagnostic, nearest, plural};
use crate::feeds::Format;
use crate::outline::categories;
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::vocabulary::Field;
use crate::posting::{Posting, Status};
use crate::reminders::plan::NotDue;
use crate::reminders::{self, Section, Today};
use crate::view::page_path;

pub(super) fn run(shell: &Shell, arguments: &cli::Explain) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings(Texts::All)?;
    let Some(posting) = list::find(&loaded.postings, &arguments.posting) else {
        return unread(shell, &loaded.diagnostics, &loaded.postings, &arguments.posting);
    };
    let site = &opened.site;
    let rules = Rules::of(site);
    let state = lifecycle::state(posting, opened.now, &rules);
    let mut lines = vec![
        posting.title.clone(),
        format!("file: {}{}", shell.prefix(), posting.source.path),
        format!("address: {}", site.address(&page_path(&posting.slug))),
        format!("id: {}", posting.id),
        format!("state: {}, because {}", state.as_str(), reason(posting, state, &rules)),
    ];
    let known = |at: Option<String>| at.unwrap_or_else(|| "not given".to_owned());
    lines.push(format!("opens: {}", known(posting.opens.map(|moment| moment.to_string()))));
    lines.push(format!(
        "closes: {}{}",
        known(posting.closes.map(|moment| moment.to_string())),
        match lifecycle::days_left(posting, opened.now, site.timezone) {
            Some(days) if state == State::Open => format!(" ({} left)", days_in_words(days)),
            _ => String::new(),
        }
    ));
    let changed = posting.updated(site.timezone, site.ids.since_day);
    let source = match (posting.updated, posting.committed, posting.opens, posting.named_day) {
        (Some(_), ..) => "the front matter's `updated`",
        (_, Some(_), ..) => "the last commit that touched the file",
        (_, _, Some(_), _) => "its opening: git does not know the file",
        (.., Some(_)) => "the day in its file's name: git does not know the file",
        _ => "nothing: add `opens:`, or commit the file",
    };
    lines.push(format!(
        "last changed: {} (from {source})",
        changed.with_timezone(&site.timezone).to_rfc3339()
    ));
    if state == State::Open {
        let mut feeds = vec!["feed".to_owned()];
        let in_feeds = categories(posting)
            .into_iter()
            .filter(|category| site.feeds.by.contains(&category.facet));
        feeds.extend(
            in_feeds.map(|category| format!("feeds/{}/{}", category.facet.as_str(), category.term)),
        );
        lines.push(format!(
            "in the feeds: {} (each as {})",
            feeds.join(", "),
            Format::ALL.map(Format::extension).join(", ")
        ));
    } else {
        lines.push("in the feeds: none".to_owned());
    }
    let page = match state {
        _ if posting.status == Some(Status::Draft) => "none, it is a draft",
        _ if !lifecycle::was_shown(posting, opened.now, site.timezone) => "none until it opens",
        State::Open => "published",
        _ => "kept, with a note that it is not open any more",
    };
    lines.push(format!("page: {page}"));
    if let Some(email) = &arguments.recipient {
        lines.push(digest(&opened, posting, &loaded.postings, email)?);
    }
    print(format!("{}\n", lines.join("\n")).as_bytes())?;
    let own: Vec<Diagnostic> =
        loaded.diagnostics.into_iter().filter(|d| d.path == posting.source.path).collect();
    for problem in &own {
        shell.show(problem);
    }
    Ok(Outcome::Done)
}

fn reason(posting: &Posting, state: State, rules: &lifecycle::Rules) -> String {
    let line = |field: Field| match posting.places.get(&field) {
        Some(span) => format!(
            " (line {})",
            posting.source.text[..span.start.min(posting.source.text.len())].matches('\n').count()
                + 1
        ),
        None => String::new(),
    };
    match state {
        State::Filled if posting.filled => format!("it is marked as filled{}", line(Field::Filled)),
        State::Filled => format!("its status is `filled`{}", line(Field::Status)),
        State::Withdrawn if posting.open == Some(false) => {
            format!("`open` says no{}", line(Field::Open))
        }
        State::Withdrawn => format!("its status says so{}", line(Field::Status)),
        State::Closed if posting.closes.is_some() => {
            let counts = if posting.places.contains_key(&Field::Closes) {
                Field::Closes
            } else {
                Field::TakenDown
            };
            format!("its closing date has passed{}", line(counts))
        }
        State::Closed => format!(
            "it has no closing date and is older than `stale_after_days: {}`",
            rules.stale_after_days.unwrap_or_default()
        ),
        State::Upcoming => format!("it opens later{}", line(Field::Opens)),
        State::Open if posting.closes.is_some() => "its closing date has not passed".to_owned(),
        State::Open => match lifecycle::closing(posting, rules) {
            Some(closing) => {
                let last =
                    (closing - TimeDelta::seconds(1)).with_timezone(&rules.zone).date_naive();
                format!("nothing closes it before `stale_after_days` does, after {last}")
            }
            None => "nothing closes it".to_owned(),
        },
    }
}

fn digest(
    opened: &super::Opened,
    posting: &Posting,
    postings: &[Posting],
    email: &str,
) -> Result<String> {
    let ledger = mailing::ledger_to_read(opened)?;
    let list = mailing::recipients(opened, &ledger)?.0;
    let audience = reminders::audience(list, postings, opened.site.reminders.owners);
    let recipient = mailing::find(&audience, email)?;
    let key = recipient.key();
    let suppressed = ledger.suppressions().map_err(ledger_failure)?.contains(&key);
    let day = opened.today();
    let past = &ledger.past(&key, day).map_err(ledger_failure)?;
    let today = Today::new(&opened.site, postings, opened.now)
        .following(ledger.planned_days(opened.today()).map_err(ledger_failure)?);
    let digest = today.digest(recipient, past);
    let found = digest
        .as_ref()
        .and_then(|digest| digest.items.iter().find(|item| item.posting.id == posting.id));
    let answer = match (found, today.explain(posting, recipient, past)) {
        _ if suppressed => "no: the address is not written to any more".to_owned(),
        (Some(_), _) if !today.is_due(past) => {
            "not now: it is too early in the day, or today's digest was sent".to_owned()
        }
        (Some(item), _) if item.section != Section::Closing => {
            format!("yes: {}", super::simulate::line(item))
        }
        (_, Ok(stage)) => format!(
            "yes: {} left, the reminder for {} is due",
            days_in_words(found.and_then(|item| item.days_left).unwrap_or(0)),
            days_in_words(stage.into())
        ),
        (_, Err(NotDue::NotOpen(state))) => format!("no: it is {}", state.as_str()),
        (_, Err(NotDue::NotWanted)) if !recipient.subscribed => {
            "no: they are not on the mailing list, and only told of what postings of theirs ask for"
                .to_owned()
        }
        (_, Err(NotDue::NotWanted)) => "no: it is not among the recipient's interests".to_owned(),
        (_, Err(NotDue::NoClosingDate))
            if past.about(&posting.id).any(|e| e.section == Section::New) =>
        {
            "no: it was announced when it opened, and has no closing date".to_owned()
        }
        (_, Err(NotDue::NoClosingDate)) => "no: it has no closing date".to_owned(),
        (_, Err(NotDue::TooEarly)) => match recipient.weekly {
            Some(weekday) if weekday != day.weekday() => {
                format!("not yet: the recipient's digest comes on {}", weekday_in_words(weekday))
            }
            _ => "not yet: it closes later than the first reminder is due".to_owned(),
        },
        (_, Err(NotDue::AlreadySent(stage))) => {
            format!("no: the reminder for {} was sent", days_in_words(stage.into()))
        }
    };
    Ok(format!("in a digest to {email}: {answer}"))
}

/// The name of a day of the week.
fn weekday_in_words(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Mon => "Mondays",
        Weekday::Tue => "Tuesdays",
        Weekday::Wed => "Wednesdays",
        Weekday::Thu => "Thursdays",
        Weekday::Fri => "Fridays",
        Weekday::Sat => "Saturdays",
        Weekday::Sun => "Sundays",
    }
}

/// A number of days that lie ahead.
fn days_in_words(days: i64) -> String {
    plural(usize::try_from(days).unwrap_or(0), "day")
}

/// A posting that was left out has diagnostics; one that nobody knows may be misspelt.
fn unread(shell: &Shell, diagnostics: &[Diagnostic], postings: &[Posting], meant: &str) -> Result {
    let name = meant.trim_start_matches("./");
    let about: Vec<&Diagnostic> = diagnostics
        .iter()
        .filter(|d| {
            &*d.path == name || name.ends_with(&*d.path) || {
                let file = d.path.rsplit('/').next().unwrap_or_default();
                file == name || file.split('.').next() == Some(name)
            }
        })
        .collect();
    if about.is_empty() {
        let hint = nearest(meant, postings.iter().map(|posting| posting.slug.as_str()))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(Failure::Usage(anyhow!("there is no posting `{meant}`{hint}")));
    }
    print(format!("{}{}: not published\n", shell.prefix(), about[0].path).as_bytes())?;
    for problem in about {
        shell.show(problem);
    }
    Ok(Outcome::Attention)
}
