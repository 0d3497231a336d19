//! `crieur remind`: sends the digests that are due.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rayon::prelude::*;

use super::mailing::{self, Audience, Languages, PAGE, ledger_failure, masked};
use super::{
    Opened, Outcome, Result, Shell, Texts, configuration, confirmations, locks, outcome, print,
};
use crate::cli;
use crate::clock::{Deadline, Now};
use crate::diagnostics::{Diagnostic, plural};
use crate::dispatch::Report;
use crate::ledger::{self, Addressee, Ledger, Planned, Run, Suppressions};
use crate::mail::{Composer, message};
use crate::posting::Posting;
use crate::reminders::recipients::key;
use crate::reminders::{Digest, Item, Recipient, Today};

mod doubts;
mod sending;

use doubts::Decision;
use sending::{Jobs, finished, outgoing, send};

pub(super) fn run(shell: &Shell, arguments: &cli::Remind) -> Result {
    let opened = shell.site_to_remind()?;
    let mut loaded = opened.postings(Texts::Few)?;
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
    let began = (shell.now == Now::Clock).then_some(opened.since);
    let audience = || Audience::new(opened, postings, &arguments.recipient);
    let today = Today::new(&opened.site, postings, opened.now);
    let mut languages = Languages::new(opened);
    if arguments.dry_run {
        return rehearse(shell, opened, audience()?, today, &mut languages);
    }

    // Whatever is wrong with settings and list is said before anything is written.
    let audience_for_plan = audience()?;
    if opened.site.mail.from.is_none() || !arguments.recipient.is_empty() {
        look_through(opened, audience()?)?;
    }
    let private = opened.layout.private();
    let _lock = locks::only_run(&private)?;
    let transport = mailing::transport(opened)?;
    let signer = mailing::signer(opened)?;
    let mut ledger = mailing::sound_ledger(opened)?;
    let plans = ledger.planned_days(today.day()).map_err(ledger_failure)?;
    let today = today.following(plans);
    let _heart = ledger.hold().map_err(ledger_failure)?;
    let keys = ledger.renewed_keys(opened.now).map_err(ledger_failure)?;
    ledger.forget_requests(opened.now).map_err(ledger_failure)?;
    ledger.defer_interrupted().map_err(ledger_failure)?;
    if opened.site.subscribe.url.is_some() {
        let (transport, signer, keys, now) =
            (transport.as_ref(), signer.as_ref(), &keys, opened.now);
        // Digests do not wait for a slow server that long, nor for a form that somebody floods.
        let until = Deadline::after(CONFIRMATIONS);
        let is_over = &|| until.left().is_none();
        let post = confirmations::Post { shell, opened, transport, signer, keys, now, is_over };
        confirm(&post, &mut ledger, &mut languages);
    }
    let suppressed = ledger.suppressions().map_err(ledger_failure)?;

    let only: Vec<String> = arguments.recipient.iter().map(|email| key(email)).collect();
    let settled =
        doubts::settle(shell, opened, &mut ledger, &today, (&suppressed, &only), &audience)?;
    let Plan { planned, readers, problems } =
        plan(&mut ledger, (audience_for_plan, &only), &today, &suppressed, &mut languages)?;
    shell.report(&problems);
    let mut outcome = outcome(&problems, false);
    if readers == Some(0) && ledger.has_digests().map_err(ledger_failure)? {
        shell.complain("there is nobody on the mailing list any more: is it where it was?");
        outcome = outcome.max(Outcome::Attention);
    }
    for problem in &languages.problems {
        shell.complain(problem);
    }
    let was_interrupted = ledger.was_interrupted().map_err(ledger_failure)?;
    if planned + settled.again == 0 {
        if was_interrupted {
            outcome = outcome.max(end_interrupted(shell, opened, &ledger)?);
        }
        let unsent = ledger.unsent(&only).map_err(ledger_failure)?;
        let held = (unsent.in_doubt + unsent.held).saturating_sub(settled.unwanted());
        if held > 0 {
            let digests = plural(held as usize, "digest");
            shell.complain(&format!(
                "{digests} may have arrived, and waits for you: see `crieur status`"
            ));
        }
        return Ok((outcome.max(attention(held)), "no digest is due".to_owned()));
    }
    let composer = Composer::new(&opened.site, signer.as_ref(), &keys, opened.now);
    let unwanted = settled.unwanted();
    let mut waiting = Jobs::new(opened, &today, (&only, settled.left_alone), began);
    let jobs = &mut |ledger: &Ledger, after| waiting.next(ledger, after);
    let digests = (planned + settled.again, only.as_slice());
    let report = send(shell, opened, &mut ledger, transport.as_ref(), digests, jobs, &|work| {
        outgoing(work, opened, &keys, &composer, &languages)
    })?;
    if was_interrupted || report.sent > 0 {
        outcome = outcome.max(mailing::keep(shell, opened, &ledger, opened.now));
    }
    let report = Report { in_doubt: report.in_doubt.saturating_sub(unwanted), ..report };
    finished(shell, opened, &report).map(|(reminded, line)| (outcome.max(reminded), line))
}

/// Reads the list to its end before anything is written: whether there is anybody to write to, and
/// everybody who is asked for.
fn look_through(opened: &Opened, mut wanted: Audience) -> Result<()> {
    // A server's tables are brought up to date first: this run will write.
    let people = match mailing::server(opened)? {
        Some(_) => mailing::ledger(opened)?,
        None => mailing::ledger_to_read(opened)?,
    };
    while !wanted.next(&people, PAGE)?.is_empty() {
        if opened.site.mail.from.is_none() {
            return Err(configuration(message::Error::NoSender));
        }
    }
    wanted.problems().map(|_| ())
}

/// Sends the confirmations that wait. Digests leave, whether or not these do.
fn confirm(post: &confirmations::Post<'_>, ledger: &mut Ledger, languages: &mut Languages<'_>) {
    match post.send(ledger, languages, &mut confirmations::Postponed::new()) {
        Ok(0) => {}
        Ok(sent) => post.shell.say(&format!("{} sent", plural(sent, "confirmation"))),
        Err(failure) => {
            post.shell.complain(&format!("confirmations could not be sent: {failure}"));
        }
    }
}

/// Enters a run that has nothing to do after one that was killed: what that sent stands in no backup.
fn end_interrupted(shell: &Shell, opened: &Opened, ledger: &Ledger) -> Result<Outcome> {
    let number = ledger.begin_run(0, opened.now).map_err(ledger_failure)?;
    let ended_at = Some(shell.now.instant(opened.site.timezone));
    ledger.end_run(number, &Run { ended_at, ..Run::default() }).map_err(ledger_failure)?;
    Ok(mailing::keep(shell, opened, ledger, opened.now))
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

/// Enters the digests that are due while the list is read; where another
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
        let planned = ledger.free(today.day(), only).map_err(ledger_failure)?;
        for language in ledger.languages(today.day()).map_err(ledger_failure)? {
            if let Ok(language) = language.parse() {
                languages.learn(&language);
            }
        }
        return Ok(Plan { planned, readers: None, problems: Vec::new() });
    };
    if !today.is_time() {
        planning.before_the_hour();
    }
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
            languages.learn(language);
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
    today: Today<'_>,
    languages: &mut Languages<'_>,
) -> Result<(Outcome, String)> {
    let ledger = mailing::sound_ledger_to_read(opened)?;
    let plans = ledger.planned_days(today.day()).map_err(ledger_failure)?;
    let today = &today.following(plans);
    let suppressed = ledger.suppressions().map_err(ledger_failure)?;
    // What a run would decide about what is in doubt.
    let doubtful = ledger.doubtful().map_err(ledger_failure)?;
    let mut given_up: HashMap<&str, Vec<i64>> = HashMap::new();
    let mut again: HashMap<&str, i64> = HashMap::new();
    for digest in &doubtful {
        match doubts::decide(opened, today, digest) {
            Decision::GivenUp => given_up.entry(&digest.recipient).or_default().push(digest.id),
            Decision::Again => drop(again.insert(&digest.recipient, digest.id)),
            Decision::Arrived | Decision::Held | Decision::LeftAlone => {}
        }
    }
    let mut listed: HashSet<i64> = HashSet::new();
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
                languages.learn(language);
            }
            let key = recipient.key();
            if suppressed.contains(&key) {
                continue;
            }
            listed.extend(again.get(key.as_str()).copied());
            let without = given_up.get(key.as_str()).map_or(&[][..], Vec::as_slice);
            let past = ledger.past_without(&key, today.day(), without).map_err(ledger_failure)?;
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
    if !listed.is_empty() {
        let again = plural(listed.len(), "digest");
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
