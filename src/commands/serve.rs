//! `crieur serve`: the web server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use unic_langid::LanguageIdentifier;

use super::confirmations::{self, Postponed};
use super::mailing::{self, List};
use super::{Level, Opened, Outcome, Result, Shell, configuration, locks, temporary};
use crate::catalog::Catalog;
use crate::cli;
use crate::clock::Deadline;
use crate::ledger::{CONFIRMATION, Ledger};
use crate::mail::confirmation::{Asked, confirmation};
use crate::mail::message;
use crate::outline::{Category, categories};
use crate::posting::State;
use crate::posting::lifecycle::{self, Rules};
use crate::reminders::Recipient;
use crate::serve::{self, Limits, Metrics, People, Server, Tongue, Tongues, World};
use crate::templates::Templates;
use crate::tokens::Keys;

/// How long it is remembered what the open postings can be chosen by.
const FRESH: Duration = Duration::from_mins(5);
/// How often it is looked whether a confirmation waits that somebody else was asked for.
const ROUND: Duration = Duration::from_mins(1);
/// How long after somebody came or left the ledger is backed up.
const BACKUP: Duration = Duration::from_mins(10);
/// The languages that crieur speaks by itself.
const BUILT_IN: [&str; 2] = ["fr", "en"];

pub(super) fn run(shell: &Shell, arguments: &cli::Serve) -> Result {
    let opened = Arc::new(shell.site()?);
    let site = &opened.site;
    let has_people = site.subscribe.url.is_some() || site.unsubscribe.url.is_some();
    if site.subscribe.url.is_some() && site.mail.from.is_none() {
        return Err(configuration(message::Error::NoSender));
    }
    if has_people {
        // Whatever is wrong with it is said now, and not to the first visitor.
        let mut ledger = mailing::sound_ledger(&opened)?;
        ledger.renewed_keys(opened.now).map_err(mailing::ledger_failure)?;
        mailing::transport(&opened)?;
        mailing::signer(&opened)?;
    }
    let _presence =
        if has_people { Some(locks::presence(&opened.layout.private())?) } else { None };
    let out = arguments.out.clone().unwrap_or_else(|| opened.layout.out());
    super::build::refuse_private(&opened, &out)?;
    if !out.is_dir() {
        let out = opened.layout.relative(&out);
        shell
            .complain(&format!("`{out}` is missing: nothing is published yet, see `crieur build`"));
    }
    let (news, inbox) = mpsc::channel();
    let outside = Outside {
        shell: shell.clone(),
        opened: opened.clone(),
        news: news.clone(),
        choices: Mutex::default(),
    };
    let tongues = tongues(&opened)?;
    if has_people {
        rehearse(&opened, &tongues).map_err(configuration)?;
    }
    // Connections to a server's ledger end outside of the runtime: they have one of their own.
    let people = People::new(site.clone(), tongues, Box::new(outside)).map_err(configuration)?;
    let people = Arc::new(people);
    let teller = shell.clone();
    let server = Arc::new(Server {
        out,
        root: site.url.path().to_owned(),
        people: people.clone(),
        limits: Arc::new(Limits::default()),
        metrics: Metrics::default(),
        is_https: site.url.scheme() == "https",
        log: Box::new(move |method, path, status| {
            if teller.global.verbose > 0 {
                let fields = json!({ "method": method, "path": path, "status": status });
                teller.log(Level::Info, &format!("{method} {path} {status}"), fields);
            }
        }),
    });
    let runtime = Runtime::new().context("cannot begin to serve").map_err(temporary)?;
    let ending = Ending { is_over: AtomicBool::new(false), news };
    thread::scope(|scope| {
        if has_people {
            let (opened, ending) = (&opened, &ending);
            scope.spawn(move || look_after(shell, opened, &inbox, &ending.is_over));
        }
        // Also when it panics, nobody waits for ever.
        let _told = Told(&ending);
        let outcome = runtime.block_on(listen(shell, arguments.addr, server));
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    })
}

/// How whoever looks after things is told that the server has ended.
struct Ending {
    is_over: AtomicBool,
    news: Sender<News>,
}

/// Tells it when it is dropped.
struct Told<'a>(&'a Ending);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        let _ = self.0.news.send(News::Over);
    }
}

/// Serves until somebody ends it.
async fn listen(shell: &Shell, address: SocketAddr, server: Arc<Server>) -> Result {
    let refused = || format!("cannot listen at {address}");
    let listener = TcpListener::bind(address).await.with_context(refused).map_err(temporary)?;
    let address = listener.local_addr().with_context(refused).map_err(temporary)?;
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [mut ended, mut interrupted] = match signals {
        [Ok(ended), Ok(interrupted)] => [ended, interrupted],
        [Err(error), _] | [_, Err(error)] => return Err(temporary(error)),
    };
    shell.say(&format!("serving at http://{address}{}", server.root));
    // Without systemd these tell nobody.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(within / 2);
            loop {
                turns.tick().await;
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        });
    }
    let stop = async {
        tokio::select! {
            _ = ended.recv() => {},
            _ = interrupted.recv() => {},
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    };
    serve::serve(listener, server, stop).await;
    Ok(Outcome::Done)
}

/// Makes every page of people once, and the mail that somebody confirms by: what is wrong with their
/// templates shows.
pub(super) fn rehearse(
    opened: &Opened,
    tongues: &Tongues,
) -> std::result::Result<(), message::Error> {
    let Opened { site, now, .. } = opened;
    serve::rehearse(site, tongues)?;
    if site.subscribe.url.is_none() || site.mail.from.is_none() {
        return Ok(());
    }
    let (recipient, keys) =
        (Recipient::new("reader@example.org"), Keys::new(Vec::new(), Vec::new()));
    for Tongue { catalog, templates, .. } in tongues.iter() {
        let asked = Asked { recipient: &recipient, at: *now, within: CONFIRMATION };
        confirmation(asked, site, &keys, None, (catalog, templates), *now)?;
    }
    Ok(())
}

/// The languages that pages and mails can be written in, the site's first.
pub(super) fn tongues(opened: &Opened) -> Result<Tongues> {
    let own = opened.own.keys().filter_map(|name| name.strip_suffix(".ftl"));
    let site = &opened.site.language;
    let others: BTreeSet<&str> = own.chain(BUILT_IN).collect();
    let others = others.into_iter().filter(|name| *name != site.language.as_str());
    let others = others.filter_map(|name| name.parse::<LanguageIdentifier>().ok());
    std::iter::once(site.clone())
        .chain(others)
        .map(|language| {
            let text = opened.own.get(&format!("{}.ftl", language.language)).map(String::as_str);
            let catalog = Arc::new(Catalog::new(&language, text).map_err(configuration)?);
            let templates = Templates::new(&opened.own, catalog.clone()).map_err(configuration)?;
            Ok(Tongue { language, catalog, templates })
        })
        .collect::<Result<_>>()
        .map(Tongues::new)
}

/// What happened to the list.
enum News {
    /// Somebody asked to be on it.
    Asked,
    /// Somebody came, changed something, or left.
    Changed,
    /// The server has ended.
    Over,
}

/// Where the pages meet the site's files, the ledger and the clock.
struct Outside {
    shell: Shell,
    opened: Arc<Opened>,
    news: Sender<News>,
    choices: Mutex<Option<(Deadline, Arc<Vec<Category>>)>>,
}

impl World for Outside {
    fn now(&self) -> DateTime<Utc> {
        self.shell.now.instant(self.opened.site.timezone)
    }

    fn ledger(&self) -> anyhow::Result<Ledger> {
        Ok(mailing::ledger(&self.opened)?)
    }

    fn choices(&self) -> Arc<Vec<Category>> {
        let mut kept = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, choices)) = kept.as_ref()
            && until.left().is_some()
        {
            return choices.clone();
        }
        let choices = Arc::new(self.open_categories());
        *kept = Some((Deadline::after(FRESH), choices.clone()));
        choices
    }

    fn listed(&self, recipient: &str) -> anyhow::Result<Option<Recipient>> {
        for listed in List::new(&self.opened)? {
            let listed = listed?;
            if listed.key() == recipient {
                return Ok(Some(listed));
            }
        }
        Ok(None)
    }

    // When nobody listens any more, the server is about to end.
    fn asked(&self) {
        let _ = self.news.send(News::Asked);
    }

    fn changed(&self) {
        let _ = self.news.send(News::Changed);
    }

    fn complain(&self, line: &str) {
        self.shell.complain(line);
    }
}

impl Outside {
    /// The values of facets that open postings have, sorted.
    fn open_categories(&self) -> Vec<Category> {
        let now = self.now();
        let mut loaded = match self.opened.postings_at_any_time(now) {
            Ok(loaded) => loaded,
            Err(failure) => {
                self.shell.complain(&format!("there is nothing to choose from: {failure}"));
                return Vec::new();
            }
        };
        let rules = Rules::of(&self.opened.site);
        for posting in &mut loaded.postings {
            posting.forget_what_is_to_come(now, rules.zone);
        }
        let open = loaded.postings.iter().filter(|posting| {
            lifecycle::was_shown(posting, now, rules.zone)
                && lifecycle::state(posting, now, &rules) == State::Open
        });
        let mut choices: Vec<Category> = open.flat_map(categories).collect();
        choices.sort_by(|a, b| (a.facet, &a.term, &a.label).cmp(&(b.facet, &b.term, &b.label)));
        choices.dedup_by(|a, b| (a.facet, &a.term) == (b.facet, &b.term));
        choices
    }
}

/// Sends confirmations, and backs up the ledger, until the server has ended.
fn look_after(shell: &Shell, opened: &Opened, inbox: &Receiver<News>, over: &AtomicBool) {
    let mut postponed = Postponed::new();
    let mut backup: Option<Deadline> = None;
    let mut kept: Option<Ledger> = None;
    let mut is_over = false;
    while !is_over {
        match inbox.recv_timeout(ROUND) {
            Ok(News::Changed) => {
                backup.get_or_insert_with(|| Deadline::after(BACKUP));
            }
            Ok(News::Asked) | Err(RecvTimeoutError::Timeout) => {}
            Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => is_over = true,
        }
        if opened.site.subscribe.url.is_some()
            && !is_over
            && let Err(failure) = send(shell, opened, (&mut kept, &mut postponed), over)
        {
            // One that failed may be broken.
            kept = None;
            shell.complain(&format!("confirmations could not be sent: {failure}"));
        }
        if backup.is_some_and(|due| is_over || due.left().is_none()) {
            backup = None;
            match mailing::ledger(opened) {
                Ok(ledger) => {
                    let now = shell.now.instant(opened.site.timezone);
                    mailing::keep(shell, opened, &ledger, now);
                }
                Err(failure) => shell.complain(&failure.to_string()),
            }
        }
    }
}

fn send(
    shell: &Shell,
    opened: &Opened,
    (kept, postponed): (&mut Option<Ledger>, &mut Postponed),
    over: &AtomicBool,
) -> Result<()> {
    let now = shell.now.instant(opened.site.timezone);
    let ledger = match kept {
        Some(ledger) => ledger,
        None => kept.insert(mailing::ledger(opened)?),
    };
    ledger.forget_requests(now).map_err(mailing::ledger_failure)?;
    let waiting = ledger.requests(now, 1).map_err(mailing::ledger_failure)?;
    if !waiting.is_empty() {
        let is_over = &|| over.load(Ordering::Relaxed);
        confirmations::round(shell, opened, ledger, postponed, (now, is_over))?;
    }
    Ok(())
}
