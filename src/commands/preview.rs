//! `crieur preview`: the digests of today as HTML files, to open in a browser.

use super::mailing::{self, Languages, ledger_failure, masked};
use super::{Outcome, Result, Shell, Texts, configuration, outcome, print, unwritable};
use crate::cli;
use crate::diagnostics::plural;
use crate::mail::{Composer, message};
use crate::private;
use crate::reminders::{self, Today};
use crate::text;

/// At whatever hour, and whether or not they were sent today: a preview is to look at.
pub(super) fn run(shell: &Shell, arguments: &cli::Preview) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings(Texts::Few)?;
    shell.report(&loaded.diagnostics);
    let ledger = mailing::ledger_to_read(&opened)?;
    let (list, problems) = mailing::recipients(&opened, &ledger)?;
    shell.report(&problems);
    let owners = opened.site.reminders.owners;
    let mut audience = reminders::audience(list, &loaded.postings, owners);
    mailing::narrowed(&mut audience, &arguments.recipient)?;
    mailing::leave_out(&mut audience, &ledger.suppressions().map_err(ledger_failure)?);
    let keys = ledger.keys().map_err(ledger_failure)?;
    let languages = Languages::of_all(&opened, &audience);
    let plans = ledger.planned_days(opened.today()).map_err(ledger_failure)?;
    let today = Today::new(&opened.site, &loaded.postings, opened.now).following(plans);

    let folder = opened.layout.private().join("preview");
    let writer = Composer::new(&opened.site, None, &keys, opened.now);
    let mut outcome = outcome(&loaded.diagnostics, false).max(outcome(&problems, false));
    let mut paths = String::new();
    let mut count = 0;
    for recipient in &audience {
        let past = ledger.past_before(&recipient.key(), today.day()).map_err(ledger_failure)?;
        let Some(digest) = today.digest(recipient, &past) else { continue };
        let composed = match languages.compose(&writer, &digest, 0) {
            Ok(composed) => composed,
            Err(error @ (message::Error::Message(_) | message::Error::Template(_))) => {
                shell.complain(&format!("no digest for {}: {error}", masked(&recipient.email)));
                outcome = Outcome::Attention;
                continue;
            }
            Err(error) => return Err(configuration(error)),
        };
        // Two addresses may look the same in ASCII; their messages' ids differ.
        let number: String = composed.message_id.chars().skip(1).take(8).collect();
        let path = folder.join(format!("{}-{number}.html", text::slug(&recipient.email)));
        private::folder(&opened.layout.private())
            .and_then(|()| private::folder(&folder))
            .and_then(|()| private::write(&path, &composed.html()))
            .map_err(|error| unwritable(&path, error))?;
        paths.push_str(&format!("{}\n", path.display()));
        count += 1;
    }
    print(paths.as_bytes())?;
    shell.say(&match count {
        0 => format!("no digest on {}; try another day with --now", today.day()),
        _ => format!("{} as HTML files", plural(count, "digest")),
    });
    Ok(outcome)
}
