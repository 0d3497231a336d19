//! Sends what is due, over many connections, through the ledger.
//!
//! Each connection has a thread of its own. Before a message leaves, its thread has what became of
//! the last one, and the bytes of the next, written into the ledger, and waits until both are on the
//! disk. Whoever writes takes what all connections have asked for meanwhile into one transaction:
//! so the safety of many costs little more than that of one, and a run that is killed
//! leaves at most one digest a connection in doubt. That is so although the next envelope travels
//! behind the end of a message: its own text does not leave before the answer to the last one is
//! on the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use lettre::Address;

use crate::clock::Deadline;
use crate::ledger::{self, Ledger, Mark};
use crate::mail::Shared;
use crate::mail::transport::{Connection, Delivery, Letter, Transport, Unavailable};
use crate::site::InDoubt;

/// After how many failures in a row that tell of the server, and of no recipient, a run gives up:
/// the next run will try again.
const MAX_FAILURES: usize = 10;

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
    /// How many were refused for good.
    pub refused: u32,
    /// How many may or may not have arrived.
    pub in_doubt: u32,
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

/// What the threads share.
struct Common<T, E> {
    queue: VecDeque<Job<T>>,
    /// Whether the ledger has more than is in the queue.
    more: bool,
    /// How many are tried again in the next round.
    again: usize,
    /// In a row, and none of them a recipient's.
    failures: usize,
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
        for round in 0.. {
            let shared = Mutex::new(Common {
                queue: VecDeque::new(),
                more: true,
                again: 0,
                failures: 0,
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
            let is_over = shared.queue.is_empty() && !shared.more && shared.again == 0;
            // Where all was sent in the end, what failed on the way does not matter.
            report.stopped = shared.stopped.filter(|_| !is_over);
            let is_hopeless =
                report.sent == 0 && matches!(report.stopped, Some(Unavailable::Misconfigured(_)));
            match self.retry_after.get(round) {
                Some(wait) if !is_over && !is_hopeless => thread::sleep(*wait),
                _ => break,
            }
        }
        let unsent = ledger.unsent()?;
        (report.deferred, report.in_doubt) = (unsent.waiting, unsent.in_doubt);
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
        let mut feed = Feed { shared, next, last: None, low: 2 * self.transport.connections() };
        feed.fill(ledger)?;
        let jobs = lock(shared).queue.len();
        let writer = Writer { ledger, feed, log, now: self.now, failure: None };
        let scribe =
            Scribe { asked: Mutex::default(), written: Condvar::new(), writer: Mutex::new(writer) };
        thread::scope(|scope| {
            for _ in 0..self.transport.connections().min(jobs) {
                let scribe = &scribe;
                scope.spawn(move || {
                    Worker { dispatch: self, shared, scribe, done: None }.work(compose);
                });
            }
        });
        let writer = scribe.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        writer.failure.map_or(Ok(()), Err)
    }
}

/// Keeps the queue filled from the ledger.
struct Feed<'a, 'n, T, E> {
    shared: &'a Mutex<Common<T, E>>,
    next: &'a mut Next<'n, T>,
    /// The last that was taken from the ledger in this round.
    last: Option<i64>,
    /// How many are too few.
    low: usize,
}

impl<T, E> Feed<'_, '_, T, E> {
    fn fill(&mut self, ledger: &Ledger) -> ledger::Result<()> {
        loop {
            let shared = lock(self.shared);
            if !shared.more || shared.queue.len() > self.low {
                return Ok(());
            }
            // The others go on while the ledger is read.
            drop(shared);
            let jobs = (self.next)(ledger, self.last)?;
            let mut shared = lock(self.shared);
            self.last = jobs.last().map(|job| job.id).or(self.last);
            shared.more = !jobs.is_empty();
            shared.queue.extend(jobs);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left nothing half done: what is shared is only moved.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads want to have written, and up to where it is.
#[derive(Default)]
struct Asked {
    marks: Vec<(i64, Mark)>,
    events: Vec<Event>,
    /// How often somebody asked.
    count: u64,
    /// Up to which question all is on the disk.
    answered: u64,
    /// Whether somebody is writing for all.
    is_writing: bool,
    /// Whether nothing is written any more.
    has_failed: bool,
    /// The digests that must not leave, whose threads do not know yet.
    stopped: Vec<i64>,
}

/// What becomes of a question to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is on the disk.
    Written,
    /// It is, and the digest that was about to leave must not.
    Stopped,
    /// It is not, and never will be.
    Failed,
}

/// Writes into the ledger for all threads: whoever comes first writes what everybody has asked for
/// by then, in one transaction, and the others wait for that.
struct Scribe<'a, 'n, T, E> {
    asked: Mutex<Asked>,
    /// Something was written, or never will be.
    written: Condvar,
    /// Used by whoever is writing, and by nobody else.
    writer: Mutex<Writer<'a, 'n, T, E>>,
}

/// What only one thread at a time may use.
struct Writer<'a, 'n, T, E> {
    ledger: &'a mut Ledger,
    feed: Feed<'a, 'n, T, E>,
    log: &'a mut (dyn FnMut(&Event) + Send),
    now: DateTime<Utc>,
    /// Why the ledger cannot be written. Nothing is written, and nothing leaves, after that.
    failure: Option<ledger::Error>,
}

impl<T, E> Scribe<'_, '_, T, E> {
    /// Waits until what somebody asks for is on the disk, and the queue is filled.
    fn write(&self, marks: Vec<(i64, Mark)>, event: Option<Event>) -> Answer {
        let ids: Vec<i64> = marks.iter().map(|(id, _)| *id).collect();
        let mut asked = lock(&self.asked);
        asked.marks.extend(marks);
        asked.events.extend(event);
        asked.count += 1;
        let turn = asked.count;
        while asked.answered < turn && !asked.has_failed {
            asked = if asked.is_writing {
                self.written.wait(asked).unwrap_or_else(PoisonError::into_inner)
            } else {
                asked.is_writing = true;
                drop(asked);
                self.write_for_all();
                lock(&self.asked)
            };
        }
        if asked.answered < turn {
            return Answer::Failed;
        }
        let known = asked.stopped.len();
        asked.stopped.retain(|id| !ids.contains(id));
        if asked.stopped.len() < known { Answer::Stopped } else { Answer::Written }
    }

    fn write_for_all(&self) {
        // Whatever happens here, nobody waits for it for ever.
        let mut turn = Turn { scribe: self, written: None };
        // Whoever is about to ask shares the transaction.
        thread::yield_now();
        let (marks, events, count) = {
            let mut asked = lock(&self.asked);
            (std::mem::take(&mut asked.marks), std::mem::take(&mut asked.events), asked.count)
        };
        // A thread that panicked here may have left half of it undone.
        let Ok(mut writer) = self.writer.lock() else { return };
        match writer.enter(&marks, &events) {
            Ok(stopped) => turn.written = Some((count, stopped)),
            Err(error) => writer.failure = Some(error),
        }
    }
}

/// The turn of whoever writes: at its end the others go on.
struct Turn<'s, 'a, 'n, T, E> {
    scribe: &'s Scribe<'a, 'n, T, E>,
    /// Up to which question all is on the disk now, and what must not leave.
    written: Option<(u64, Vec<i64>)>,
}

impl<T, E> Drop for Turn<'_, '_, '_, T, E> {
    fn drop(&mut self) {
        let mut asked = lock(&self.scribe.asked);
        asked.is_writing = false;
        match self.written.take() {
            Some((count, stopped)) => {
                asked.answered = count;
                asked.stopped.extend(stopped);
            }
            None => asked.has_failed = true,
        }
        self.scribe.written.notify_all();
    }
}

impl<T, E> Writer<'_, '_, T, E> {
    /// Enters what was asked for. Returns which digests must not leave.
    fn enter(&mut self, marks: &[(i64, Mark)], events: &[Event]) -> ledger::Result<Vec<i64>> {
        let stopped =
            if marks.is_empty() { Vec::new() } else { self.ledger.mark(marks, self.now)? };
        for event in events {
            (self.log)(event);
        }
        self.feed.fill(self.ledger)?;
        Ok(stopped)
    }
}

/// One connection's thread.
struct Worker<'a, 'w, 'n, T, E> {
    dispatch: &'a Dispatch<'a>,
    shared: &'a Mutex<Common<T, E>>,
    scribe: &'a Scribe<'w, 'n, T, E>,
    /// What became of the last message, not written yet.
    done: Option<(i64, Event)>,
}

/// A digest with the message that is made of it.
struct Ready<T> {
    job: Job<T>,
    outgoing: Outgoing,
}

impl<T> Ready<T> {
    fn letter(&self) -> Letter<'_> {
        let Outgoing { from, to, day, message_id, bytes, shared: _ } = &self.outgoing;
        Letter { from, to, day: *day, message_id, bytes }
    }
}

impl<'a, T, E> Worker<'a, '_, '_, T, E> {
    /// Sends one after another. While the server reads a message the next one is composed.
    fn work(&mut self, compose: &impl Fn(&T) -> Result<Outgoing, Unsendable<E>>) {
        let mut connection: Option<Box<dyn Connection + 'a>> = None;
        let mut next = self.ready(compose);
        while let Some(ready) = next.take() {
            let Some(open) = self.connected(&mut connection) else {
                self.give_back(ready);
                break;
            };
            if let Some(pace) = &self.dispatch.pace {
                // What was sent is written before the wait, and what is next is begun after it.
                self.flush();
                pace.wait();
            }
            match self.sending(&ready) {
                Answer::Written => {}
                Answer::Stopped => {
                    // Its recipient left meanwhile. The envelope may have travelled already, and a
                    // connection that is closed in the middle of it delivers nothing.
                    connection = None;
                    next = self.ready(compose);
                    continue;
                }
                Answer::Failed => break,
            }
            let was_used = open.is_used();
            let delivery = match open.begin(&ready.letter()) {
                Err(Delivery::Broken(reason)) if was_used => {
                    // The server ended a connection that it had served: a new one may do.
                    self.remember(&ready.job, &ready.outgoing.message_id, Mark::Deferred(reason));
                    connection = None;
                    next = Some(ready);
                    continue;
                }
                Err(delivery) => delivery,
                Ok(()) => {
                    next = self.ready(compose);
                    // A server that is kept waiting for a message gives up.
                    let announced = next.as_ref().filter(|_| self.dispatch.pace.is_none());
                    let announced = announced.map(Ready::letter);
                    open.end(&ready.letter(), announced.as_ref())
                }
            };
            self.finish(ready, delivery);
            if next.is_none() {
                next = self.ready(compose);
            }
        }
        if let Some(ready) = next {
            self.give_back(ready);
        }
        self.flush();
    }

    /// The next digest that can be sent, composed, unless the run has stopped.
    fn ready(
        &mut self,
        compose: &impl Fn(&T) -> Result<Outgoing, Unsendable<E>>,
    ) -> Option<Ready<T>> {
        loop {
            let job = self.take()?;
            let reason = if job.until.is_some_and(|until| until.left().is_none()) {
                "its time was over before its turn".to_owned()
            } else {
                match compose(&job.work) {
                    Ok(outgoing) => return Some(Ready { job, outgoing }),
                    Err(Unsendable::This(reason)) => {
                        lock(self.shared).unsendable.get_or_insert_with(|| reason.clone());
                        reason
                    }
                    Err(Unsendable::Any(error)) => {
                        lock(self.shared).broken = Some(error);
                        return None;
                    }
                }
            };
            self.flush();
            self.remember(&job, "", Mark::Deferred(reason));
            self.flush();
        }
    }

    /// The next digest, unless the run has stopped.
    fn take(&self) -> Option<Job<T>> {
        loop {
            let mut shared = lock(self.shared);
            if shared.failures >= MAX_FAILURES || shared.broken.is_some() {
                return None;
            }
            if let Some(job) = shared.queue.pop_front() {
                return Some(job);
            }
            let more = shared.more;
            drop(shared);
            // Whoever writes fills the queue.
            if !more || self.scribe.write(Vec::new(), None) == Answer::Failed {
                return None;
            }
        }
    }

    /// Another connection may send it.
    fn give_back(&self, ready: Ready<T>) {
        lock(self.shared).queue.push_front(ready.job);
    }

    /// The connection, or a new one where it is over. `None` when there is none.
    fn connected<'c>(
        &mut self,
        connection: &'c mut Option<Box<dyn Connection + 'a>>,
    ) -> Option<&'c mut Box<dyn Connection + 'a>> {
        if !connection.as_ref().is_some_and(|connection| connection.is_usable()) {
            *connection = None;
            // A connection may take its time, and what is known by now is written before.
            self.flush();
            match self.dispatch.transport.connect() {
                Ok(open) => *connection = Some(open),
                Err(unavailable) => lock(self.shared).stopped = Some(unavailable),
            }
        }
        connection.as_mut()
    }

    /// Writes what became of the last message, and that this one is about to leave. Only when that
    /// is on the disk may it.
    fn sending(&mut self, Ready { job, outgoing }: &Ready<T>) -> Answer {
        let sending = Mark::Sending {
            message_id: outgoing.message_id.clone(),
            message: outgoing.bytes.clone(),
            shared: outgoing.shared.clone(),
        };
        let done = self.done.take();
        let mut marks: Vec<(i64, Mark)> =
            done.iter().map(|(id, event)| (*id, event.mark.clone())).collect();
        marks.push((job.id, sending));
        self.scribe.write(marks, done.map(|(_, event)| event))
    }

    fn finish(&mut self, Ready { job, outgoing }: Ready<T>, delivery: Delivery) {
        self.count(&delivery);
        let (mark, is_over) = match delivery {
            Delivery::Accepted => (Mark::Sent, true),
            Delivery::Refused { reason, address } => (Mark::Refused { reason, address }, true),
            Delivery::InDoubt(reason) => match self.dispatch.in_doubt {
                InDoubt::Resend => (Mark::InDoubt(reason), false),
                InDoubt::Hold => (Mark::Held(reason), true),
            },
            Delivery::Deferred(reason)
            | Delivery::Broken(reason)
            | Delivery::SenderRefused(reason) => (Mark::Deferred(reason), false),
        };
        self.remember(&job, &outgoing.message_id, mark);
        if !is_over {
            lock(self.shared).again += 1;
        }
    }

    /// Failures in a row that are no recipient's tell that the server is not well.
    fn count(&self, delivery: &Delivery) {
        let mut shared = lock(self.shared);
        let failure = match delivery {
            Delivery::Broken(why) | Delivery::InDoubt(why) => Unavailable::Away(why.clone()),
            Delivery::SenderRefused(why) => Unavailable::Misconfigured(format!(
                "the server takes nothing from `mail.from`: {why}"
            )),
            // One is the message's or the recipient's own affair; many in a row are the server's.
            Delivery::Refused { reason, address: false } => {
                shared.failures += 1;
                if shared.failures == MAX_FAILURES {
                    let why = format!("the server refuses everything: {reason}");
                    shared.stopped = Some(Unavailable::Misconfigured(why));
                }
                return;
            }
            Delivery::Accepted | Delivery::Deferred(_) | Delivery::Refused { .. } => {
                shared.failures = 0;
                return;
            }
        };
        shared.failures += 1;
        shared.stopped = Some(failure);
    }

    fn remember(&mut self, job: &Job<T>, message_id: &str, mark: Mark) {
        let (recipient, message_id) = (job.recipient.clone(), message_id.to_owned());
        self.done = Some((job.id, Event { recipient, message_id, mark }));
    }

    /// Writes what became of the last message.
    fn flush(&mut self) {
        if let Some((id, event)) = self.done.take() {
            self.scribe.write(vec![(id, event.mark.clone())], Some(event));
        }
    }
}
