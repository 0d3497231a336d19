//! Sends what is due, over many connections, through the ledger.
//!
//! Each connection has a thread of its own. Before a message leaves, its thread has what became of
//! the last one, and the bytes of the next, written into the ledger, and waits until both are on the
//! disk. Whoever writes takes what all connections have asked for meanwhile into one transaction:
//! so the safety of many costs little more than that of one, and a run that is killed
//! leaves at most one digest a connection in doubt. That is so although the next envelope travels
//! behind the end of a message: its own text does not leave before the answer to the last one is
//! on the disk.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use lettre::Address;

use crate::clock::Deadline;
use crate::ledger::{self, Ledger, Mark};
use crate::mail::Shared;
use crate::mail::transport::{Transport, Unavailable};
use crate::site::InDoubt;

mod scribe;
mod worker;

use scribe::{Feed, Scribe};
use worker::Worker;

/// After how many failures in a row that tell of the server, and of no recipient, a run no longer
/// tries everybody: it passes over the hosts of those that failed, and after as many hosts over all, but for
/// one recipient now and then, more and more seldom, and for the last. The first on a list are often of one
/// kind, and must not keep everybody else from being written to.
const MAX_FAILURES: usize = 10;

/// How many digests that failed are remembered, so that they are not tried again in the same pass.
const MAX_PUT_OFF: usize = 100_000;

/// A message that is ready to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its sender.
    pub from: Address,
    /// Its recipient.
    pub to: Address,
    /// The day that it is for.
    pub day: NaiveDate,
    /// Its id.
    pub message_id: String,
    /// The message, lines ended by CRLF.
    pub bytes: Arc<Vec<u8>>,
    /// What other messages have in common with it, from first to last.
    pub shared: Vec<Shared>,
}

/// A digest to send: its number in the ledger, and what its message is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<T> {
    /// The number in the ledger.
    pub id: i64,
    /// The recipient's key.
    pub recipient: String,
    /// What it is made from.
    pub work: T,
    /// When what it says is no longer so: it does not leave after that.
    pub until: Option<Deadline>,
    /// Whether it may have been taken before.
    pub is_in_doubt: bool,
}

impl<T> Job<T> {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until.left().is_none())
    }
}

/// Why there is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable<E> {
    /// For this recipient there is none.
    This(String),
    /// There is none for anybody.
    Any(E),
}

/// How a run sends.
pub struct Dispatch<'a> {
    /// By which way.
    pub transport: &'a dyn Transport,
    /// What to do with what may have been taken.
    pub in_doubt: InDoubt,
    /// How long to wait before what was not taken is tried again, once for each.
    pub retry_after: &'a [Duration],
    /// How many messages may leave in a second, if that is limited.
    pub pace: Option<Pace>,
    /// When it is.
    pub now: DateTime<Utc>,
    /// The keys of the recipients that are meant; none means everybody.
    pub only: &'a [String],
}

/// So many messages a second, over all connections.
pub struct Pace {
    interval: Duration,
    next: Mutex<Deadline>,
}

impl Pace {
    /// So many a second.
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, next: Mutex::new(Deadline::after(Duration::ZERO)) }
    }

    /// Waits until the next message may leave.
    fn wait(&self) {
        let turn = {
            let mut next = lock(&self.next);
            let turn = if next.left().is_some() { *next } else { Deadline::after(Duration::ZERO) };
            *next = turn.later(self.interval);
            turn
        };
        if let Some(left) = turn.left() {
            thread::sleep(left);
        }
    }
}

/// What became of one digest, for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The recipient's key.
    pub recipient: String,
    /// The message's id.
    pub message_id: String,
    /// What became of it.
    pub mark: Mark,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many digests were taken.
    pub sent: u32,
    /// How many were not, and will be planned anew.
    pub deferred: u32,
    /// Why one of them was not, the last time that it was tried.
    pub said: Option<String>,
    /// How many were refused for good.
    pub refused: u32,
    /// How many may or may not have arrived.
    pub in_doubt: u32,
    /// The same, and a person decides.
    pub held: u32,
    /// Why there was no message for somebody, the first time that there was none.
    pub unsendable: Option<String>,
    /// Why the run could not send everything, when it was not for a recipient.
    pub stopped: Option<Unavailable>,
}

impl Report {
    fn count(&mut self, event: &Event) {
        match event.mark {
            Mark::Sent => self.sent += 1,
            Mark::Refused { .. } => self.refused += 1,
            Mark::Deferred(ref reason) => {
                self.said.get_or_insert_with(|| reason.clone());
            }
            _ => {}
        }
    }
}

/// Why a run stopped where nothing may go on.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// The ledger cannot be written: nothing leaves.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// A message could not be made.
    #[error("{0}")]
    Compose(E),
}

/// Takes the next digests that may leave from the ledger, after the one with a number, in the order
/// of their numbers.
pub type Next<'a, T> = dyn FnMut(&Ledger, Option<i64>) -> ledger::Result<Vec<Job<T>>> + Send + 'a;

/// Failures in a row, and none of them a recipient's.
#[derive(Default)]
struct Streak {
    failures: usize,
    /// How many of them left a message in doubt.
    doubts: usize,
    /// The hosts of those whom they were to reach.
    hosts: HashSet<String>,
    /// The numbers of the digests that were refused for good since the last that was taken.
    refused: Vec<i64>,
    /// The same of those that were refused for their recipients' sake, and what was said of the first.
    unknown: Vec<i64>,
    said: Option<String>,
    /// How many are passed over before one of them is tried, and how many were since the last.
    stride: usize,
    passed: usize,
}

impl Streak {
    fn is_much(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// Whether somebody is tried, or passed over for now.
    fn tries(&mut self, recipient: &str) -> bool {
        let is_suspect = self.is_much()
            && (self.hosts.len() >= MAX_FAILURES || self.hosts.contains(host(recipient)));
        let is_tried = !is_suspect || self.passed >= self.stride;
        self.passed = if is_tried { 0 } else { self.passed + 1 };
        is_tried
    }

    /// What is still to be known of it when the server may be well again.
    fn begun_anew(&mut self) -> Self {
        let Self { refused, unknown, said, .. } = std::mem::take(self);
        Self { refused, unknown, said, ..Self::default() }
    }

    /// Adds a failure.
    fn add(&mut self, recipient: &str) {
        self.failures += 1;
        if !self.hosts.contains(host(recipient)) {
            self.hosts.insert(host(recipient).to_owned());
        }
        if self.is_much() {
            self.stride = self.stride.saturating_mul(2).max(1);
        }
    }
}

/// The host of an address.
fn host(recipient: &str) -> &str {
    recipient.rsplit('@').next().unwrap_or_default()
}

/// What the threads share.
struct Common<T, E> {
    queue: VecDeque<Job<T>>,
    /// Whether the ledger has more than is in the queue.
    more: bool,
    /// How many are tried again in the next round.
    again: usize,
    /// The numbers of what failed since the last wait, and is tried again only after the next one.
    put_off: HashSet<i64>,
    streak: Streak,
    /// Whether the server took something in this run.
    takes_mail: bool,
    /// How many were passed over.
    passed_over: usize,
    /// Why a connection could not be opened, or nothing went over it.
    stopped: Option<Unavailable>,
    unsendable: Option<String>,
    broken: Option<E>,
}

impl Dispatch<'_> {
    /// Sends everything: each in turn, then what was not taken, after a while, again. Only a few
    /// digests are taken from the ledger at a time, however many there are.
    ///
    /// # Errors
    /// When the ledger cannot be written, or a message cannot be made.
    pub fn run<T: Send, E: Send>(
        &self,
        ledger: &mut Ledger,
        next: &mut Next<'_, T>,
        compose: &(impl Fn(&T) -> Result<Outgoing, Unsendable<E>> + Sync),
        log: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Report, Error<E>> {
        let mut report = Report::default();
        let mut waits = self.retry_after.iter();
        let mut put_off = HashSet::new();
        let mut streak = Streak::default();
        loop {
            let sent_before = report.sent;
            // What was taken in the end needs no reason.
            report.said = None;
            let shared = Mutex::new(Common {
                queue: VecDeque::new(),
                more: true,
                again: 0,
                put_off,
                streak,
                takes_mail: report.sent > 0,
                passed_over: 0,
                stopped: None,
                unsendable: None,
                broken: None,
            });
            self.round(ledger, &shared, next, compose, &mut |event| {
                report.count(event);
                log(event);
            })?;
            let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = shared.broken {
                return Err(Error::Compose(error));
            }
            report.unsendable = report.unsendable.or(shared.unsendable);
            (put_off, streak) = (shared.put_off, shared.streak);
            if shared.passed_over > 0 && report.sent > sent_before {
                // The server takes mail: it is their turn, without those that failed.
                continue;
            }
            let again = shared.again + shared.passed_over + put_off.len();
            let is_over = shared.queue.is_empty() && !shared.more && again == 0;
            let refuses_all = report.sent == 0 && streak.is_much();
            // Where all was sent in the end, what failed on the way does not matter.
            report.stopped = shared.stopped.filter(|_| !is_over || refuses_all);
            let is_hopeless =
                report.sent == 0 && matches!(report.stopped, Some(Unavailable::Misconfigured(_)));
            // Whoever hangs up after each message may have taken each: not many of them at a time.
            let is_doubtful = streak.doubts >= MAX_FAILURES;
            match waits.next() {
                Some(wait) if !is_over && !is_hopeless && !is_doubtful => thread::sleep(*wait),
                _ => break,
            }
            put_off.clear();
            // The server may be well again.
            streak = streak.begun_anew();
        }
        // What nothing was taken after was refused because of the server.
        let Streak { refused, unknown, said, .. } = streak;
        let many = if report.sent == 0 { 2 } else { MAX_FAILURES };
        let unknown = if report.sent == 0 { unknown } else { Vec::new() };
        if refused.len() + unknown.len() >= many {
            let deferred = ledger.defer(&refused)? + ledger.defer_unknown(&unknown)?;
            report.refused = report.refused.saturating_sub(deferred);
            report.said = report.said.or(said.filter(|_| deferred > 0));
        }
        let unsent = ledger.unsent(self.only)?;
        (report.deferred, report.in_doubt, report.held) =
            (unsent.waiting, unsent.in_doubt, unsent.held);
        Ok(report)
    }

    fn round<T: Send, E: Send>(
        &self,
        ledger: &mut Ledger,
        shared: &Mutex<Common<T, E>>,
        next: &mut Next<'_, T>,
        compose: &(impl Fn(&T) -> Result<Outgoing, Unsendable<E>> + Sync),
        log: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<(), ledger::Error> {
        let connections = self.transport.connections();
        let mut feed = Feed::new(shared, next, 2 * connections);
        feed.fill(ledger)?;
        let jobs = lock(shared).queue.len();
        let scribe = Scribe::new(ledger, feed, log, self.now);
        thread::scope(|scope| {
            for _ in 0..connections.min(jobs) {
                scope.spawn(|| Worker::new(self, shared, &scribe).work(compose));
            }
        });
        scribe.end()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left nothing half done: what is shared is only moved.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
