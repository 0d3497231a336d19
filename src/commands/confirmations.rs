//! The messages to those who asked to subscribe: one each, and nothing else until they confirm.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::mailing::{self, Languages, ledger_failure, masked};
use super::{Level, Opened, Result, Shell, configuration};
use crate::clock::Deadline;
use crate::ledger::{CONFIRMATION, Ledger, Request};
use crate::mail::confirmation::{Asked, Confirmation, confirmation};
use crate::mail::transport::{Connection, Delivery, Letter, Transport};
use crate::mail::{dkim::Signer, message};
use crate::text;
use crate::tokens::Keys;

/// How many are looked at in one round.
const ROUND: usize = 10_000;
/// How long one that was not taken waits before it is tried again, at first and at most.
const SOON: Duration = Duration::from_mins(2);
const LATE: Duration = Duration::from_hours(4);

/// Those that were not taken, by the keys of their recipients: until when they wait, and for how long
/// that is.
pub(super) type Postponed = HashMap<String, (Deadline, Duration)>;

/// What messages are made and sent with.
pub(super) struct Post<'a> {
    pub(super) shell: &'a Shell,
    pub(super) opened: &'a Opened,
    pub(super) transport: &'a dyn Transport,
    pub(super) signer: Option<&'a Signer>,
    pub(super) keys: &'a Keys,
    pub(super) now: DateTime<Utc>,
    /// Whether no more are to be begun.
    pub(super) is_over: &'a dyn Fn() -> bool,
}

impl Post<'_> {
    /// Sends to those who asked and were not written to yet, but for those that were postponed.
    /// Returns to how many. A mail server that is away is met by who sends digests, too, and is no
    /// failure.
    pub(super) fn send(
        &self,
        ledger: &mut Ledger,
        languages: &mut Languages<'_>,
        postponed: &mut Postponed,
    ) -> Result<usize> {
        // Those that wait are the oldest, and are in nobody's way.
        let most = ROUND + postponed.len();
        let requests = ledger.requests(self.now, most).map_err(ledger_failure)?;
        let keys: HashSet<String> = requests.iter().map(|r| r.recipient.key()).collect();
        postponed.retain(|key, _| keys.contains(key));
        let mut connection: Option<Box<dyn Connection + '_>> = None;
        let mut sent = 0;
        for request in &requests {
            if (self.is_over)() {
                break;
            }
            let key = request.recipient.key();
            if postponed.get(&key).is_some_and(|(until, _)| until.left().is_some()) {
                continue;
            }
            let message = match self.compose(request, languages) {
                Ok(message) => message,
                // One that cannot be written to is in nobody's way.
                Err(message::Error::Message(why)) => {
                    self.tell(&key, &why);
                    ledger.mail_request(request, self.now).map_err(ledger_failure)?;
                    continue;
                }
                Err(error) => return Err(configuration(error)),
            };
            let mut usable = match connection.take().filter(|c| c.is_usable()) {
                Some(usable) => usable,
                None => match self.transport.connect() {
                    Ok(connection) => connection,
                    Err(away) => {
                        self.tell(&key, &away.to_string());
                        postpone(postponed, key);
                        break;
                    }
                },
            };
            // Before its first byte leaves, so that nobody gets two.
            if !ledger.mail_request(request, self.now).map_err(ledger_failure)? {
                connection = Some(usable);
                continue;
            }
            let delivery = self.deliver(usable.as_mut(), &message);
            connection = Some(usable);
            match delivery {
                Delivery::Accepted => sent += 1,
                // It may have arrived: another one would be one too many.
                Delivery::InDoubt(why)
                | Delivery::Unfit(why)
                | Delivery::Refused { reason: why, address: true } => {
                    self.tell(&key, &why);
                }
                // What is refused for the server's own reasons it may take later.
                Delivery::Refused { reason: why, address: false }
                | Delivery::Deferred(why)
                | Delivery::Broken(why)
                | Delivery::SenderRefused(why) => {
                    self.tell(&key, &why);
                    ledger.unmail_request(request).map_err(ledger_failure)?;
                    postpone(postponed, key);
                }
            }
        }
        Ok(sent)
    }

    fn compose(
        &self,
        request: &Request,
        languages: &mut Languages<'_>,
    ) -> std::result::Result<Confirmation, message::Error> {
        let Request { recipient, asked_at } = request;
        let unwritten = |why: String| message::Error::Message(why);
        if let Some(language) = &recipient.language {
            languages.learn(language);
        }
        let missing = || unwritten("no language to write in".to_owned());
        let language = languages.of(recipient).ok_or_else(missing)?;
        let asked = Asked { recipient, at: *asked_at, within: CONFIRMATION };
        let words = (language.0.as_ref(), &language.1);
        confirmation(asked, &self.opened.site, self.keys, self.signer, words, self.now)
    }

    fn deliver(&self, connection: &mut dyn Connection, message: &Confirmation) -> Delivery {
        let Confirmation { message_id, from, to, bytes } = message;
        let day = self.now.with_timezone(&self.opened.site.timezone).date_naive();
        let letter = Letter { from, to, day, message_id, bytes };
        match connection.begin(&letter) {
            Ok(()) => connection.end(&letter, None),
            Err(delivery) => delivery,
        }
    }

    fn tell(&self, recipient: &str, why: &str) {
        let who = masked(recipient);
        let line = format!("{who}: no confirmation was sent: {}", text::without_addresses(why));
        self.shell.log(Level::Warning, &line, json!({ "recipient": who }));
    }
}

fn postpone(postponed: &mut Postponed, recipient: String) {
    let before = postponed.get(&recipient).map(|(_, wait)| *wait * 2);
    let wait = before.unwrap_or(SOON).min(LATE);
    postponed.insert(recipient, (Deadline::after(wait), wait));
}

/// What everything that sends confirmations on its own needs: an opened ledger, and the way out.
pub(super) fn round(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    postponed: &mut Postponed,
    (now, is_over): (DateTime<Utc>, &dyn Fn() -> bool),
) -> Result<usize> {
    let transport = mailing::transport(opened)?;
    let signer = mailing::signer(opened)?;
    let keys = ledger.renewed_keys(now).map_err(ledger_failure)?;
    let mut languages = Languages::new(opened);
    let (transport, signer, keys) = (transport.as_ref(), signer.as_ref(), &keys);
    Post { shell, opened, transport, signer, keys, now, is_over }.send(
        ledger,
        &mut languages,
        postponed,
    )
}
