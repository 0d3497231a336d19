//! `crieur run`: builds, then reminds. This is what cron calls.

use super::{Result, Shell, Texts, build, remind};
use crate::cli;

pub(super) fn run(shell: &Shell, arguments: &cli::Run) -> Result {
    let opened = shell.site_to_remind()?;
    let nobody_in_particular = cli::Remind { dry_run: false, recipient: Vec::new() };
    let order = build::Order { out: arguments.out.clone(), strict: false, is_last_act: false };
    match build::build(shell, &opened, &order) {
        Ok(built) => {
            let postings = match built.postings {
                Some(postings) => Ok(postings),
                None => opened.postings(Texts::Few).map(|loaded| loaded.postings),
            };
            let reminded = postings.and_then(|postings| {
                remind::remind(shell, &opened, &postings, &nobody_in_particular)
            });
            match &reminded {
                Ok((_, line)) => shell.say(&format!("{}; {line}", built.line)),
                Err(_) => shell.say(&built.line),
            }
            // Last: a hub that is slow must not hold up the digests.
            build::tell_hub(shell, &opened.site, &built.changed);
            Ok(built.outcome.max(reminded?.0))
        }
        Err(failure) => {
            // A build that fails must not keep anybody from being reminded.
            let reminded = opened.postings(Texts::Few).and_then(|loaded| {
                remind::remind(shell, &opened, &loaded.postings, &nobody_in_particular)
            });
            match reminded {
                Ok((_, line)) => shell.say(&line),
                Err(second) => shell.fail(&second),
            }
            Err(failure)
        }
    }
}
