//! `crieur explain`: why a posting is, or is not, published or in a digest.

use anyhow::anyhow;

use super::{Failure, Outcome, Result, Shell, list, print, remind, temporary};
use crate::cli;
use crate::diagnostics::{Diagnostic, nearest, plural};
use crate::feeds::{EXTENSIONS, categories};
use crate::ledger::Ledger;
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::vocabulary::Field;
use crate::posting::{Posting, Status};
use crate::reminders::Sent;
use crate::reminders::plan::{self, NotDue};
use crate::view::page_path;

pub(super) fn run(shell: &Shell, arguments: &cli::Explain) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings()?;
    let Some(posting) = list::find(&loaded.postings, &arguments.posting) else {
        return unread(shell, &loaded.diagnostics, &loaded.postings, &arguments.posting);
    };
    let site = &opened.site;
    let rules = Rules::of(site);
    let state = lifecycle::state(posting, opened.now, &rules);
    let mut lines = vec![
        posting.title.clone(),
        format!("file: {}{}", shell.prefix(), posting.source.path),
        format!("page: {}", site.address(&page_path(&posting.slug))),
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
    let changed = posting.updated(site.timezone, site.ids.since_day());
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
            EXTENSIONS.join(", ")
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
        lines.push(digest(&opened, posting, email)?);
    }
    print(format!("{}\n", lines.join("\n")).as_bytes())?;
    let own: Vec<Diagnostic> =
        loaded.diagnostics.into_iter().filter(|d| d.path == posting.source.path).collect();
    for problem in &own {
        shell.complain(&format!("\n{}", problem.human(&shell.prefix())));
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
        State::Open => "nothing closes it".to_owned(),
    }
}

fn digest(opened: &super::Opened, posting: &Posting, email: &str) -> Result<String> {
    let (recipients, _) = remind::recipients(opened)?;
    let Some(recipient) =
        recipients.iter().find(|recipient| recipient.key() == email.to_lowercase())
    else {
        return Err(Failure::Usage(anyhow!("`{email}` is not on the mailing list")));
    };
    let sent = match Ledger::open_to_read(&opened.layout.private()).map_err(temporary)? {
        Some(ledger) => ledger.sent().map_err(temporary)?,
        None => Sent::default(),
    };
    let answer = match plan::item(&opened.site, posting, recipient, &sent, opened.now) {
        Ok(_) if !plan::is_due(&opened.site, recipient, &sent, opened.now) => {
            "not now: it is too early in the day, or today's digest was sent".to_owned()
        }
        Ok(item) => format!(
            "yes: {} left, the reminder for {} is due",
            days_in_words(item.days_left),
            days_in_words(item.stage.into())
        ),
        Err(NotDue::NotOpen(state)) => format!("no: it is {}", state.as_str()),
        Err(NotDue::NotWanted) => "no: it is not among the recipient's interests".to_owned(),
        Err(NotDue::NoClosingDate) => "no: it has no closing date".to_owned(),
        Err(NotDue::TooEarly) => {
            "not yet: it closes later than the first reminder is due".to_owned()
        }
        Err(NotDue::AlreadySent(stage)) => format!("no: the reminder for {stage} days was sent"),
    };
    Ok(format!("in a digest to {email}: {answer}"))
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
        shell.complain(&format!("\n{}", problem.human(&shell.prefix())));
    }
    Ok(Outcome::Attention)
}
