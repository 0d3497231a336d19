//! `crieur check`: every problem in the site.

use std::collections::BTreeSet;

use chrono::NaiveTime;

use super::mailing::Languages;
use super::{
    Failure, Opened, Result, Shell, Texts, Unopened, build, mailing, outcome, print, serve,
};
use crate::cli::{self, CheckFormat};
use crate::diagnostics::{Code, Diagnostic, Report, Severity, Tally, plural};
use crate::history;
use crate::ledger;
use crate::mail::message;
use crate::reminders::Recipient;
use crate::serve::check_addresses;
use crate::site::{LedgerPlace, RECIPIENTS, SETTINGS};

/// What leaves less than an hour of the day.
const LATE: NaiveTime = match NaiveTime::from_hms_opt(23, 0, 0) {
    Some(time) => time,
    None => NaiveTime::MIN,
};

pub(super) fn run(shell: &Shell, arguments: &cli::Check) -> Result {
    let opened = match shell.open() {
        Ok(opened) => opened,
        Err(Unopened::Missing(error)) => return Err(Failure::Configuration(error)),
        Err(Unopened::Problems(problems)) => {
            print(show(shell, &problems, arguments.format)?.as_bytes())?;
            return Err(Failure::Reported);
        }
    };
    let loaded = opened.postings(Texts::All)?;
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(build::rehearse(&opened, &loaded.postings));
    let anybody = match mailing::listed(&opened) {
        Ok((list, problems)) => {
            diagnostics.extend(problems);
            diagnostics.extend(unspoken(&opened, &list));
            !list.is_empty()
        }
        // One problem must not hide the others.
        Err(failure) => {
            let path = opened.layout.relative(&opened.layout.recipients(&opened.site));
            let (severity, code) = (Severity::Error, Code::Unreadable);
            diagnostics.push(Diagnostic::new(severity, code, path, failure.to_string()));
            true
        }
    };
    diagnostics.extend(mail(&opened, anybody));
    diagnostics.extend(people(&opened));
    if opened.site.country.is_none() && !loaded.postings.is_empty() {
        let message = "`country` is missing, and `timezone` is of no country: search engines are told of no job";
        let (severity, code) = (Severity::Note, Code::InvalidValue);
        let note = Diagnostic::new(severity, code, SETTINGS, message);
        diagnostics
            .push(note.help("write `country:` with its two letters, like `FR`, if these are jobs"));
    }
    print(show(shell, &diagnostics, arguments.format)?.as_bytes())?;
    shell.say(&format!(
        "{}: {}",
        plural(loaded.postings.len(), "posting"),
        Tally::of(&diagnostics)
    ));
    Ok(outcome(&diagnostics, arguments.strict))
}

/// The languages of the list in which nobody can be written to.
fn unspoken(opened: &Opened, list: &[Recipient]) -> Vec<Diagnostic> {
    let languages = Languages::of_all(opened, list);
    let path = opened.layout.relative(&opened.layout.recipients(&opened.site));
    let wanted = list.iter().filter_map(|recipient| recipient.language.as_ref());
    let wanted: BTreeSet<String> = wanted
        .filter(|language| !languages.speaks(language))
        .map(|language| language.language.to_string())
        .collect();
    let say = |language: String| {
        let message = format!(
            "there is no catalog for `{language}`: who reads it is written to in `{}`",
            opened.site.language
        );
        Diagnostic::new(Severity::Warning, Code::InvalidRecipient, path.clone(), message)
            .help(format!("write `templates/{language}.ftl`, or correct the language"))
    };
    wanted.into_iter().map(say).collect()
}

/// What would keep people from subscribing and leaving by themselves.
fn people(opened: &Opened) -> Option<Diagnostic> {
    let (subscribe, unsubscribe) = (&opened.site.subscribe.url, &opened.site.unsubscribe.url);
    if subscribe.is_none() && unsubscribe.is_none() {
        return None;
    }
    let problem = |code, path: &str, message: String| {
        Some(Diagnostic::new(Severity::Error, code, path, message))
    };
    let tongues = match serve::tongues(opened) {
        Ok(tongues) => tongues,
        // A catalog that cannot be read says itself which it is.
        Err(failure) => return problem(Code::Template, "templates", failure.to_string()),
    };
    match serve::rehearse(opened, &tongues).err()? {
        message::Error::Template(error) => Some(opened.unusable(error)),
        error => problem(Code::InvalidValue, SETTINGS, error.to_string()),
    }
}

/// What would keep mail from leaving, and what gives the list away.
fn mail(opened: &Opened, anybody: bool) -> Vec<Diagnostic> {
    let site = &opened.site;
    let mut found = Vec::new();
    // A key that is not here may be where the digests are sent from.
    if let Err(failure) = mailing::signer(opened) {
        let note =
            Diagnostic::new(Severity::Note, Code::InvalidValue, SETTINGS, failure.to_string());
        found.push(note.help("correct `mail.dkim.key_file`, if digests are sent from here"));
    }
    let mut warn = |code, path: &str, message: String, help: &str| {
        found.push(Diagnostic::new(Severity::Warning, code, path, message).help(help));
    };
    if anybody && site.mail.from.is_none() {
        let message = "`mail.from` is missing: no digest can be sent".to_owned();
        let help = "write for example `mail: { from: \"Jobs <jobs@example.org>\" }`";
        warn(Code::InvalidValue, SETTINGS, message, help);
    }
    if site.reminders.send_after > LATE {
        let hour = site.reminders.send_after.format("%H:%M");
        let message = format!("`reminders.send_after`: digests leave from {hour} to midnight only");
        let help = "a run every hour can come too early, and then on the next day: write an hour before 23:00";
        warn(Code::InvalidValue, SETTINGS, message, help);
    }
    if let Err(clash) = check_addresses(site) {
        let help = "`crieur serve` needs an address for each";
        warn(Code::InvalidAddress, SETTINGS, clash.to_string(), help);
    }
    let list = opened.layout.recipients(site);
    // Of a repository that cannot be read was spoken when the postings were.
    if history::is_tracked(&list).unwrap_or(false) {
        let message = "the mailing list is kept in git: whoever reads the repository reads it";
        let help = "move it to a folder outside, name it with `recipients:` in `content/site.yaml`, and take it out of git with `git rm --cached`; it stays in the history";
        warn(Code::PublicList, &opened.layout.relative(&list), message.to_owned(), help);
    }
    let private = opened.layout.private();
    let keys = [
        site.mail.dkim.as_ref().map(|dkim| dkim.key_file.clone()),
        site.mail.smtp.password_file.clone(),
    ];
    let of_server = match &site.ledger {
        LedgerPlace::Server(server) => server.password_file.clone(),
        LedgerPlace::File => None,
    };
    let keys =
        keys.into_iter().flatten().chain(of_server).map(|file| opened.layout.root.join(file));
    for file in [ledger::file(&private)].into_iter().chain(keys) {
        if history::is_tracked(&file).unwrap_or(false) {
            let message = "git keeps this: whoever reads the repository reads it";
            let help = "name it in `.gitignore`, and take it out of git with `git rm --cached`; it stays in the history: a key or a password is to be made anew";
            warn(Code::PublicList, &opened.layout.relative(&file), message.to_owned(), help);
        }
    }
    let both = RECIPIENTS.iter().all(|name| opened.layout.root.join("content").join(name).exists());
    if both && site.recipients.is_none() {
        let [first, second] = RECIPIENTS;
        let message = format!("there are `{first}` and `{second}`; only the first is read");
        warn(Code::IgnoredFile, &format!("content/{second}"), message, "keep one of them");
    }
    found
}

fn show(shell: &Shell, diagnostics: &[Diagnostic], format: CheckFormat) -> Result<String> {
    let prefix = shell.prefix();
    Ok(match format {
        CheckFormat::Human => diagnostics
            .iter()
            .map(|diagnostic| format!("{}\n\n", diagnostic.human(&prefix)))
            .collect(),
        CheckFormat::Github => diagnostics
            .iter()
            .map(|diagnostic| format!("{}\n", diagnostic.github(&prefix)))
            .collect(),
        CheckFormat::Json => {
            super::table::json(&diagnostics.iter().map(Report::from).collect::<Vec<_>>())?
        }
    })
}
