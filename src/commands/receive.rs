//! `crieur receive`: one message that came back, or came from somebody who wants to leave. Nobody is
//! ever answered.

use std::collections::HashSet;
use std::env;
use std::io::{self, Read};
use std::thread;

use anyhow::{Context, anyhow};
use chrono::NaiveDate;
use serde_json::json;

use super::mailing::{self, List, ledger_failure, masked};
use super::{Failure, Level, Opened, Outcome, Result, Shell, temporary};
use crate::cli;
use crate::inbound::{self, Inbound, Whom};
use crate::ledger::{Ledger, Reason, Returned};
use crate::text;

/// How much of a message is read, in bytes. What matters stands at the beginning.
const MAX_MESSAGE: u64 = 512 << 10;
/// How much room there is to understand it, in bytes: messages may stand in each other.
const STACK: usize = 256 << 20;

pub(super) fn run(shell: &Shell, arguments: &cli::Receive) -> Result {
    // A mail server sends back what fails for good, to nobody. Whatever is wrong here is mended, and
    // the message is still there then.
    receive(shell, arguments).map_err(|failure| match failure {
        Failure::Configuration(error) => Failure::Temporary(error),
        Failure::Reported => temporary(anyhow!("{}", Failure::Reported)),
        failure => failure,
    })
}

fn receive(shell: &Shell, arguments: &cli::Receive) -> Result {
    let mut message = Vec::new();
    let mut input = io::stdin().lock();
    let unreadable = || "cannot read the message from standard input";
    input
        .by_ref()
        .take(MAX_MESSAGE)
        .read_to_end(&mut message)
        .with_context(unreadable)
        .map_err(temporary)?;
    // Whoever writes more is not interrupted.
    io::copy(&mut input, &mut io::sink()).with_context(unreadable).map_err(temporary)?;

    let opened = shell.site()?;
    let mut ledger = mailing::ledger(&opened)?;
    let keys = ledger.keys().map_err(ledger_failure)?;
    let recipient = arguments.recipient.clone().or_else(|| env::var_os("ORIGINAL_RECIPIENT"));
    let recipient = recipient.map(|recipient| recipient.to_string_lossy().into_owned());
    let read = || inbound::read(&message, recipient.as_deref(), &opened.site, &keys);
    let inbound = thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read)?;
        reader.join().map_err(|_| io::Error::other("it cannot be understood"))
    });
    let inbound = inbound.context("cannot read the message").map_err(temporary)?;
    let named = match &inbound {
        Inbound::Failures(failures) => failures.iter().flat_map(|f| &f.whom.named).collect(),
        Inbound::Complaint(whom) | Inbound::Unsubscribe(whom) => whom.named.iter().collect(),
        Inbound::Nothing(_) => HashSet::new(),
    };
    let named = named.into_iter().cloned().collect();
    let (opened, ledger) = (&opened, &mut ledger);
    let mut desk = Desk { shell, opened, ledger, named, listed: None, sent_to: Looked::NotYet };
    let has_changed = match inbound {
        Inbound::Nothing(why) => {
            desk.say(None, why);
            false
        }
        Inbound::Failures(failures) => {
            let mut has_changed = false;
            for failure in failures {
                let kind =
                    if failure.is_permanent { Returned::Permanent } else { Returned::Temporary };
                has_changed |= desk.returned(&failure.whom, kind, &failure.reason)?;
            }
            has_changed
        }
        Inbound::Complaint(whom) => desk.returned(&whom, Returned::Complaint, "")?,
        Inbound::Unsubscribe(whom) => desk.unsubscribe(&whom)?,
    };
    if has_changed {
        // It is no fault of the message if that fails: a mail server would send it back.
        let _ = mailing::keep(shell, opened, ledger, opened.now);
    }
    Ok(Outcome::Done)
}

/// Where what came back is entered.
struct Desk<'a> {
    shell: &'a Shell,
    opened: &'a Opened,
    ledger: &'a mut Ledger,
    /// Everybody that the message names.
    named: HashSet<String>,
    /// Those of them who stand in the list, once it was read.
    listed: Option<HashSet<String>>,
    /// To whom a message was sent whose id the message holds, once that was looked for.
    sent_to: Looked,
}

/// What was looked for once.
enum Looked {
    NotYet,
    For(Option<String>),
}

impl Desk<'_> {
    fn day(&self) -> NaiveDate {
        self.opened.today()
    }

    fn say(&self, who: Option<&str>, what: &str) {
        let who = who.map(masked);
        let line = who.as_ref().map_or_else(|| what.to_owned(), |who| format!("{who}: {what}"));
        if !self.shell.global.quiet {
            self.shell.log(Level::Info, &line, json!({ "recipient": who }));
        }
    }

    /// Whom a message is about, and whether that is certain: the message proves it, or names a
    /// message that was sent to nobody else by an id that nobody can guess.
    fn whom(&mut self, whom: &Whom) -> Result<Option<(String, bool)>> {
        if let Some(proven) = &whom.proven {
            return Ok(Some((proven.clone(), true)));
        }
        if let Looked::NotYet = self.sent_to {
            let ids: Vec<&str> = whom.message_ids.iter().map(String::as_str).collect();
            let found = self.ledger.recipient_of(&ids).map_err(ledger_failure)?;
            self.sent_to = Looked::For(found);
        }
        if let Looked::For(Some(recipient)) = &self.sent_to {
            // Where messages are meant to come back, nobody can say their ids beforehand.
            let is_certain = self.opened.site.mail.bounces.is_some();
            return Ok(Some((recipient.clone(), is_certain)));
        }
        for named in &whom.named {
            if self.is_known(named)? {
                return Ok(Some((named.clone(), false)));
            }
        }
        Ok(None)
    }

    /// Whether somebody is written to.
    fn is_known(&mut self, recipient: &str) -> Result<bool> {
        if self.ledger.subscriber(recipient).map_err(ledger_failure)?.is_some()
            || self.ledger.knows(recipient).map_err(ledger_failure)?
        {
            return Ok(true);
        }
        if self.listed.is_none() {
            let mut listed = HashSet::new();
            for entry in List::new(self.opened)? {
                listed.extend(self.named.get(&entry?.key()).cloned());
            }
            self.listed = Some(listed);
        }
        Ok(self.listed.as_ref().is_some_and(|listed| listed.contains(recipient)))
    }

    /// Enters what was said of an address. Whether nobody writes to it any more from now on.
    fn returned(&mut self, whom: &Whom, kind: Returned, reason: &str) -> Result<bool> {
        let Some((recipient, is_certain)) = self.whom(whom)? else {
            self.say(None, "it is about nobody who is written to");
            return Ok(false);
        };
        let when = (self.day(), self.opened.now);
        let suppressed = self
            .ledger
            .returned(&recipient, kind, is_certain, reason, when)
            .map_err(ledger_failure)?;
        let what = match (kind, suppressed) {
            (_, Some(Reason::Complained)) => "complained, and is not written to any more",
            (_, Some(_)) => "takes nothing, and is not written to any more",
            (Returned::Complaint, None) => "it is said that they complained",
            (Returned::Permanent, None) => "it is said that the address takes nothing",
            (Returned::Temporary, None) => "took nothing for now",
        };
        let reason = text::without_addresses(reason);
        let what = if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") };
        self.say(Some(&recipient), &what);
        Ok(suppressed.is_some())
    }

    fn unsubscribe(&mut self, whom: &Whom) -> Result<bool> {
        let Some((recipient, _)) = self.whom(whom)? else {
            self.say(None, "somebody wants to leave who is not written to");
            return Ok(false);
        };
        let now = self.opened.now;
        let is_new =
            self.ledger.suppress(&recipient, Reason::Unsubscribed, now).map_err(ledger_failure)?;
        let what = if is_new { "is not written to any more" } else { "had already left" };
        self.say(Some(&recipient), what);
        Ok(is_new)
    }
}
