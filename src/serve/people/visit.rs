//! What is done for somebody at one of the pages, and the page that says so.

use super::People;
use super::addresses::Matter;
use super::answer::Sent;
use crate::ledger::{Ledger, Reason, Subscriber};
use crate::reminders::Recipient;
use crate::reminders::recipients::Source;
use crate::serve::pages::{self, Form, Link, Notice, Page, Tongue};
use crate::text;
use crate::tokens::{Keys, Purpose};

/// How long an address can be (RFC 5321, section 4.5.3.1.3, without the brackets).
const MAX_ADDRESS: usize = 254;

/// Whether what somebody entered is an address that a mail can be sent to.
pub(super) fn is_address(email: &str) -> bool {
    email.len() <= MAX_ADDRESS && text::is_deliverable(email)
}

/// What was done, and the page that says so.
pub(super) struct Done {
    pub(super) page: Page,
    pub(super) step: Option<&'static str>,
    pub(super) is_wrong_link: bool,
}

impl People {
    pub(super) fn handle(&self, sent: &Sent) -> anyhow::Result<Done> {
        let tongue = self.tongues.for_visitor(&sent.headers);
        let tongue = tongue.ok_or_else(|| anyhow::anyhow!("there is no language to write in"))?;
        let visit = Visit { people: self, sent, tongue };
        match sent.matter {
            Matter::Subscribe => visit.subscribe(),
            Matter::Confirm => self.with_ledger(|ledger| visit.confirm(ledger)),
            Matter::Preferences => self.with_ledger(|ledger| visit.preferences(ledger)),
            Matter::Unsubscribe => self.with_ledger(|ledger| visit.unsubscribe(ledger)),
        }
    }
}

/// Somebody at one of the pages.
struct Visit<'a> {
    people: &'a People,
    sent: &'a Sent,
    tongue: &'a Tongue,
}

impl Visit<'_> {
    fn subscribe(&self) -> anyhow::Result<Done> {
        let email = self.sent.field("email");
        let recipient = self.sent.wishes(Recipient::new(email), &self.people.tongues);
        if !self.sent.is_done {
            return self.form(None, &recipient, false, None);
        }
        if !is_address(email) {
            return self.form(None, &recipient, true, None);
        }
        let now = self.people.world.now();
        let is_new = self.people.with_ledger(|ledger| Ok(ledger.ask(&recipient, now)?))?;
        if is_new {
            self.people.world.asked();
        }
        // The same for everybody: nobody learns who is on the list.
        self.notice(Notice::CheckMail, None).map(|page| page.after("asked"))
    }

    fn confirm(&self, ledger: &mut Ledger) -> anyhow::Result<Done> {
        let keys = ledger.keys()?;
        let Some((recipient, asked_at)) = keys.confirmed(&self.sent.token) else {
            return self.wrong_link();
        };
        let now = self.people.world.now();
        let request = ledger.request(&recipient, asked_at, now)?;
        if !self.sent.is_done {
            return match request {
                Some(asked) => self.form(Some(&self.sent.token), &asked, false, None),
                None if ledger.has_confirmed(&recipient, asked_at)? => {
                    self.confirmed(&keys, &recipient)
                }
                None => self.notice(Notice::LinkInvalid, self.again()),
            };
        }
        // All of the list is read for that, and a link can be opened many times.
        let listed = match &request {
            Some(_) => self.people.world.listed(&recipient)?,
            None => None,
        };
        // Somebody else may have asked, and chosen; who confirms has seen it.
        let chosen = request.filter(|_| self.sent.has_wishes());
        let chosen = chosen.map(|asked| self.sent.wishes(asked, &self.people.tongues));
        let wishes = (listed.as_ref(), chosen.as_ref());
        if !ledger.confirm(&recipient, wishes, asked_at, now)? {
            return self.notice(Notice::LinkInvalid, self.again());
        }
        self.people.world.changed();
        self.confirmed(&keys, &recipient).map(|page| page.after("confirmed"))
    }

    /// What is said to somebody who subscribes now.
    fn confirmed(&self, keys: &Keys, recipient: &str) -> anyhow::Result<Done> {
        let addresses = &self.people.addresses;
        let preferences =
            addresses.with(Matter::Preferences, keys, Purpose::Preferences, recipient);
        self.notice(Notice::Confirmed, preferences.map(|url| ("preferences", url)))
    }

    fn preferences(&self, ledger: &mut Ledger) -> anyhow::Result<Done> {
        let keys = ledger.keys()?;
        let Some(key) = keys.named(Purpose::Preferences, &self.sent.token) else {
            return self.wrong_link();
        };
        let Some(known) = self.known(ledger, &key)? else {
            return self.notice(Notice::NotSubscribed, self.again());
        };
        let addresses = &self.people.addresses;
        if self.sent.is_done {
            let recipient = self.sent.wishes(known.recipient, &self.people.tongues);
            ledger.put(&Subscriber { recipient, ..known })?;
            self.people.world.changed();
            let back = addresses.with(Matter::Preferences, &keys, Purpose::Preferences, &key);
            let link = back.map(|url| ("preferences-title", url));
            return self.notice(Notice::Saved, link).map(|page| page.after("changed"));
        }
        let leave = addresses.with(Matter::Unsubscribe, &keys, Purpose::Unsubscribe, &key);
        self.form(Some(&self.sent.token), &known.recipient, false, leave)
    }

    /// Somebody who is written to: as they subscribed, or as they stand on the list.
    fn known(&self, ledger: &Ledger, key: &str) -> anyhow::Result<Option<Subscriber>> {
        if ledger.suppressed(key)?.is_some() {
            return Ok(None);
        }
        let subscriber = ledger.subscriber(key)?;
        if subscriber.as_ref().is_some_and(|known| known.source != Source::List) {
            return Ok(subscriber);
        }
        let listed = self.people.world.listed(key)?;
        if listed.is_some() && subscriber.is_some() {
            return Ok(subscriber);
        }
        let now = self.people.world.now();
        Ok(listed.map(|recipient| {
            let confirmed_at = recipient.consent.at.unwrap_or(now);
            Subscriber { recipient, source: Source::List, asked_at: confirmed_at, confirmed_at }
        }))
    }

    /// RFC 8058: what is posted is done at once, by whoever has the link.
    fn unsubscribe(&self, ledger: &mut Ledger) -> anyhow::Result<Done> {
        let keys = ledger.keys()?;
        let Some(key) = keys.named(Purpose::Unsubscribe, &self.sent.token) else {
            return self.wrong_link();
        };
        if !self.sent.is_done {
            return self.notice(Notice::Unsubscribe, None);
        }
        ledger.suppress(&key, Reason::Unsubscribed, self.people.world.now())?;
        self.people.world.changed();
        self.notice(Notice::Unsubscribed, self.again()).map(|page| page.after("unsubscribed"))
    }

    /// The way back to the form.
    fn again(&self) -> Option<Link> {
        let form = self.people.addresses.subscribe.as_ref()?;
        Some(("subscribe-again", form.path().to_owned()))
    }

    fn wrong_link(&self) -> anyhow::Result<Done> {
        let done = self.notice(Notice::LinkInvalid, self.again())?;
        Ok(Done { is_wrong_link: true, ..done })
    }

    fn notice(&self, notice: Notice, link: Option<Link>) -> anyhow::Result<Done> {
        let action = self.people.addresses.path(self.sent.matter);
        let button = (action, self.sent.token.as_str());
        let page = pages::notice(&self.people.site, self.tongue, notice, button, link)?;
        Ok(Done { page, step: None, is_wrong_link: false })
    }

    fn form(
        &self,
        token: Option<&str>,
        recipient: &Recipient,
        is_invalid: bool,
        unsubscribe: Option<String>,
    ) -> anyhow::Result<Done> {
        let People { site, tongues, world, addresses, .. } = self.people;
        let choices = world.choices();
        let action = addresses.path(self.sent.matter);
        let confirms = self.sent.matter == Matter::Confirm;
        let choices = &choices;
        let form = Form { action, token, confirms, recipient, choices, is_invalid, unsubscribe };
        let page = pages::form(site, tongues, self.tongue, form)?;
        Ok(Done { page, step: None, is_wrong_link: false })
    }
}

impl Done {
    fn after(self, step: &'static str) -> Self {
        Self { step: Some(step), ..self }
    }
}
