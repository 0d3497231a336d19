//! What people do with the list by themselves: ask to be on it, confirm it, choose what they are
//! told, and leave. Each link in a mail carries a token that only the site can have made; whoever
//! has none is told nothing about anybody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc, Weekday};
use tokio::sync::Semaphore;
use url::{Url, form_urlencoded};

use super::pages::{self, Form, Link, Notice, Page, Tongue, Tongues};
use super::{MAX_BODY, Server, client};
use crate::ledger::{Ledger, Reason, Subscriber};
use crate::mail::unsubscribe::below;
use crate::outline::Category;
use crate::reminders::Recipient;
use crate::reminders::recipients::Source;
use crate::site::{Facet, Site};
use crate::text;
use crate::tokens::{Keys, Purpose};

/// How many people are served at once; each has a connection to the ledger.
const AT_ONCE: usize = 4;
/// How long somebody waits for whoever writes into the ledger: less than for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many values of a facet somebody can choose.
const MAX_CHOSEN: usize = 200;
/// How long an address can be (RFC 5321, section 4.5.3.1.3, without the brackets).
const MAX_ADDRESS: usize = 254;

/// What the pages need of the world outside.
pub trait World: Send + Sync {
    /// What time it is.
    fn now(&self) -> DateTime<Utc>;

    /// Opens the ledger once more.
    ///
    /// # Errors
    /// When it cannot be used.
    fn ledger(&self) -> anyhow::Result<Ledger>;

    /// What the open postings can be chosen by.
    fn choices(&self) -> Arc<Vec<Category>>;

    /// Who stands on the list in the site's files, by the key of their address.
    ///
    /// # Errors
    /// When the list cannot be read.
    fn listed(&self, recipient: &str) -> anyhow::Result<Option<Recipient>>;

    /// Somebody asked to subscribe: a confirmation waits to be sent.
    fn asked(&self);

    /// Somebody came, changed something, or left: the ledger is worth a backup.
    fn changed(&self);

    /// Tells the operator what does not work.
    fn complain(&self, line: &str);
}

/// Something that people do, each at an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    Subscribe,
    Confirm,
    Preferences,
    Unsubscribe,
}

/// The pages of people.
pub struct People {
    site: Site,
    tongues: Tongues,
    world: Box<dyn World>,
    /// Connections to the ledger that nobody uses at the moment.
    idle: Mutex<Vec<Ledger>>,
    places: Arc<Semaphore>,
    addresses: Addresses,
}

/// Where the pages are, as paths.
#[derive(Debug, Clone, Default)]
struct Addresses {
    subscribe: Option<Url>,
    confirm: Option<Url>,
    preferences: Option<Url>,
    unsubscribe: Option<Url>,
}

impl Addresses {
    fn new(site: &Site) -> Result<Self, Clash> {
        let subscribe = site.subscribe.url.clone();
        let page = |name| subscribe.as_ref().and_then(|page| below(page, name));
        let addresses = Self {
            confirm: page("confirm"),
            preferences: page("preferences"),
            unsubscribe: site.unsubscribe.url.clone(),
            subscribe,
        };
        let mut taken = BTreeSet::from([site.url.path(), "/", "/healthz", "/metrics"]);
        for matter in MATTERS {
            if let Some(url) = addresses.of(matter)
                && !taken.insert(url.path())
            {
                return Err(Clash(url.path().to_owned()));
            }
        }
        Ok(addresses)
    }

    fn of(&self, matter: Matter) -> Option<&Url> {
        match matter {
            Matter::Subscribe => self.subscribe.as_ref(),
            Matter::Confirm => self.confirm.as_ref(),
            Matter::Preferences => self.preferences.as_ref(),
            Matter::Unsubscribe => self.unsubscribe.as_ref(),
        }
    }

    /// The path of a page, for a form.
    fn path(&self, matter: Matter) -> &str {
        self.of(matter).map_or("/", Url::path)
    }

    /// The page about the person that a token names.
    fn with(
        &self,
        matter: Matter,
        keys: &Keys,
        purpose: Purpose,
        recipient: &str,
    ) -> Option<String> {
        let token = keys.token(purpose, recipient);
        Some(format!("{}?token={token}", self.of(matter)?.path()))
    }
}

const MATTERS: [Matter; 4] =
    [Matter::Subscribe, Matter::Confirm, Matter::Preferences, Matter::Unsubscribe];

/// Two pages that would have one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "two pages would be at `{0}`: give `subscribe.url` and `unsubscribe.url` paths of their own"
)]
pub struct Clash(String);

/// Looks whether each page of a site's people has an address of its own.
///
/// # Errors
/// When two of them would have the same.
pub fn check_addresses(site: &Site) -> Result<(), Clash> {
    Addresses::new(site).map(drop)
}

impl People {
    /// Tells the operator what does not work.
    pub(super) fn complain(&self, line: &str) {
        self.world.complain(line);
    }

    /// The pages of a site, in these languages.
    ///
    /// # Errors
    /// When two of them would have the same address.
    pub fn new(site: Site, tongues: Tongues, world: Box<dyn World>) -> Result<Self, Clash> {
        let addresses = Addresses::new(&site)?;
        let (idle, places) = (Mutex::default(), Arc::new(Semaphore::new(AT_ONCE)));
        Ok(Self { site, tongues, world, idle, places, addresses })
    }

    /// Whether the ledger answers, if anybody needs it.
    pub(super) async fn is_well(self: &Arc<Self>) -> bool {
        if MATTERS.iter().all(|matter| self.addresses.of(*matter).is_none()) {
            return true;
        }
        let asked = self.in_turn(|people| people.with_ledger(|ledger| Ok(ledger.keys()?)).is_ok());
        asked.await.unwrap_or(false)
    }

    /// Does something that may wait for the ledger, where waiting holds nobody up.
    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let people = self.clone();
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&people);
            // Also when nobody waits for it any more.
            drop(place);
            done
        });
        working.await.ok()
    }

    /// Does something that only takes a moment of a processor.
    async fn at_once<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let people = self.clone();
        tokio::task::spawn_blocking(move || work(&people)).await.ok()
    }

    /// Does something with the ledger.
    fn with_ledger<T>(
        &self,
        work: impl FnOnce(&mut Ledger) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let idle = idle.filter(Ledger::is_alive);
        let mut ledger = idle.map_or_else(|| self.world.ledger(), Ok)?;
        ledger.be_patient(PATIENCE)?;
        let done = work(&mut ledger);
        // One that failed may be broken.
        if done.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(ledger);
        }
        done
    }
}

/// Adds the pages to the addresses that are answered.
pub(super) fn routes(mut router: Router<Arc<Server>>, people: &People) -> Router<Arc<Server>> {
    for matter in MATTERS {
        if let Some(url) = people.addresses.of(matter) {
            let handler = move |State(server): State<Arc<Server>>, request: Request| async move {
                answer(matter, &server, request).await
            };
            router = router.route(url.path(), get(handler).post(handler));
        }
    }
    router
}

/// Whether a form was sent from a page of somebody else's (Fetch Metadata; Origin, RFC 6454).
fn is_from_elsewhere(headers: &HeaderMap, own: Option<&Url>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "cross-site";
    }
    let origin = text("origin").filter(|origin| *origin != "null");
    let is_own = |origin: &str| {
        own.is_some_and(|own| own.origin().ascii_serialization() == origin)
            || origin.split_once("://").map(|(_, host)| host) == text("host")
    };
    origin.is_some_and(|origin| !is_own(origin))
}

/// What somebody sent.
struct Sent {
    matter: Matter,
    /// Whether they want it done; who only looks changes nothing.
    is_done: bool,
    token: String,
    fields: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Sent {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// The values that were chosen of a facet.
    fn chosen(&self, facet: Facet) -> Vec<String> {
        let mut terms = Vec::new();
        for (_, value) in self.fields.iter().filter(|(key, _)| key == facet.as_str()) {
            let term = text::term(value);
            if !term.is_empty() && !terms.contains(&term) && terms.len() < MAX_CHOSEN {
                terms.push(term);
            }
        }
        terms
    }

    /// Somebody with the wishes that were entered.
    fn wishes(&self, of: Recipient, tongues: &Tongues) -> Recipient {
        let weekday: Option<Weekday> = self.field("weekday").parse().ok();
        let is_weekly = self.field("cadence") == "weekly";
        Recipient {
            language: tongues.known(self.field("language")).or(of.language),
            domains: self.chosen(Facet::Domain),
            teams: self.chosen(Facet::Team),
            contracts: self.chosen(Facet::Contract),
            junior: self.field("junior") == "true",
            new: self.field("new") == "true",
            weekly: is_weekly.then(|| weekday.unwrap_or(Weekday::Mon)),
            ..of
        }
    }
}

async fn answer(matter: Matter, server: &Arc<Server>, request: Request) -> Response {
    let people = &server.people;
    let who = client(&request);
    let is_done = request.method() == Method::POST;
    let headers = request.headers().clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if is_done
        && matter == Matter::Subscribe
        && is_from_elsewhere(&headers, people.addresses.subscribe.as_ref())
    {
        server.metrics.step("limited");
        return notice_only(people, headers, Notice::NotHere).await;
    }
    let body =
        if is_done { to_bytes(request.into_body(), MAX_BODY).await } else { Ok(Vec::new().into()) };
    let Ok(body) = body else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let pairs = |bytes| form_urlencoded::parse(bytes).into_owned().collect();
    let (in_query, in_body): (Vec<_>, Vec<_>) = (pairs(query.as_bytes()), pairs(&body));
    let token = in_query.iter().chain(&in_body).find(|(key, _)| key == "token");
    let token = token.map(|(_, token)| token.clone()).unwrap_or_default();
    // A link may lead to a form with something chosen in it.
    let fields = if is_done { in_body } else { in_query };
    let sent = Sent { matter, is_done, token, fields, headers: headers.clone() };
    // What sends no mail costs nobody their turn.
    if is_done
        && matter == Matter::Subscribe
        && is_address(sent.field("email"))
        && !server.limits.may_ask(who)
    {
        server.metrics.step("limited");
        return notice_only(people, headers, Notice::TooMany).await;
    }
    let handled = if matter == Matter::Subscribe && !is_done {
        people.at_once(move |people| people.handle(&sent)).await
    } else {
        people.in_turn(move |people| people.handle(&sent)).await
    };
    match handled {
        Some(Ok(done)) => {
            if let Some(step) = done.step {
                server.metrics.step(step);
            }
            if done.is_wrong_link && !server.limits.may_guess(who) {
                server.metrics.step("limited");
                return notice_only(people, headers, Notice::TooMany).await;
            }
            done.page.into_response()
        }
        Some(Err(error)) => {
            people.world.complain(&format!("somebody could not be served: {error:#}"));
            notice_only(people, headers, Notice::OutOfOrder).await
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// A page that needs nothing but words.
async fn notice_only(people: &Arc<People>, headers: HeaderMap, notice: Notice) -> Response {
    let page = people.at_once(move |people| {
        let tongue = people.tongues.for_visitor(&headers)?;
        pages::notice(&people.site, tongue, notice, ("", ""), None).ok()
    });
    let mut response = match page.await.flatten() {
        Some(page) => page.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status())
    {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
    }
    response
}

/// Whether what somebody entered is an address that a mail can be sent to.
fn is_address(email: &str) -> bool {
    email.len() <= MAX_ADDRESS && text::is_deliverable(email)
}

/// What was done, and the page that says so.
struct Done {
    page: Page,
    step: Option<&'static str>,
    is_wrong_link: bool,
}

impl People {
    fn handle(&self, sent: &Sent) -> anyhow::Result<Done> {
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
        if !self.sent.is_done {
            return self.notice(Notice::Confirm, None);
        }
        // All of the list is read for that, and a link can be opened many times.
        let listed = if ledger.has_asked(&recipient, asked_at)? {
            self.people.world.listed(&recipient)?
        } else {
            None
        };
        if !ledger.confirm(&recipient, listed.as_ref(), asked_at, self.people.world.now())? {
            return self.notice(Notice::LinkInvalid, self.again());
        }
        self.people.world.changed();
        let addresses = &self.people.addresses;
        let preferences =
            addresses.with(Matter::Preferences, &keys, Purpose::Preferences, &recipient);
        let link = preferences.map(|url| ("preferences", url));
        self.notice(Notice::Confirmed, link).map(|page| page.after("confirmed"))
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
        let form = Form { action, token, recipient, choices: &choices, is_invalid, unsubscribe };
        let page = pages::form(site, tongues, self.tongue, form)?;
        Ok(Done { page, step: None, is_wrong_link: false })
    }
}

impl Done {
    fn after(self, step: &'static str) -> Self {
        Self { step: Some(step), ..self }
    }
}
