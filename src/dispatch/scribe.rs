//! Writes into the ledger for all connections, and takes from it what is next.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use chrono::{DateTime, Utc};

use super::{Common, Event, Next, lock};
use crate::ledger::{self, Ledger, Mark};

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
pub(super) enum Answer {
    /// It is on the disk.
    Written,
    /// It is, and the digest that was about to leave must not.
    Stopped,
    /// It is not, and never will be.
    Failed,
}

/// Writes into the ledger for all threads: whoever comes first writes what everybody has asked for
/// by then, in one transaction, and the others wait for that.
pub(super) struct Scribe<'a, 'n, T, E> {
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

impl<'a, 'n, T, E> Scribe<'a, 'n, T, E> {
    pub(super) fn new(
        ledger: &'a mut Ledger,
        feed: Feed<'a, 'n, T, E>,
        log: &'a mut (dyn FnMut(&Event) + Send),
        now: DateTime<Utc>,
    ) -> Self {
        let writer = Mutex::new(Writer { ledger, feed, log, now, failure: None });
        Self { asked: Mutex::default(), written: Condvar::new(), writer }
    }

    /// Whether all was written that was asked for.
    pub(super) fn end(self) -> ledger::Result<()> {
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        writer.failure.map_or(Ok(()), Err)
    }

    /// Waits until what somebody asks for is on the disk, and the queue is filled.
    pub(super) fn write(&self, marks: Vec<(i64, Mark)>, event: Option<Event>) -> Answer {
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
        // What was written stays written, whatever else cannot be read.
        if let Err(error) = self.feed.fill(self.ledger) {
            self.feed.close();
            self.failure = Some(error);
        }
        Ok(stopped)
    }
}

/// Keeps the queue filled from the ledger.
pub(super) struct Feed<'a, 'n, T, E> {
    shared: &'a Mutex<Common<T, E>>,
    next: &'a mut Next<'n, T>,
    /// The last that was taken from the ledger in this round.
    last: Option<i64>,
    /// How many are too few.
    low: usize,
}

impl<'a, 'n, T, E> Feed<'a, 'n, T, E> {
    /// The queue is filled when no more than `low` are left in it.
    pub(super) fn new(
        shared: &'a Mutex<Common<T, E>>,
        next: &'a mut Next<'n, T>,
        low: usize,
    ) -> Self {
        Self { shared, next, last: None, low }
    }

    /// Takes nothing more from the ledger.
    fn close(&mut self) {
        lock(self.shared).more = false;
    }

    pub(super) fn fill(&mut self, ledger: &Ledger) -> ledger::Result<()> {
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
            let Common { queue, put_off, .. } = &mut *shared;
            queue.extend(jobs.into_iter().filter(|job| !put_off.contains(&job.id)));
        }
    }
}
