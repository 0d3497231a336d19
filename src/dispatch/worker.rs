//! One connection, and the thread that sends over it.

use std::sync::Mutex;

use super::scribe::{Answer, Scribe};
use super::{
    Common, Dispatch, Event, Job, MAX_FAILURES, MAX_PUT_OFF, Outgoing, Streak, Unsendable, lock,
};
use crate::ledger::Mark;
use crate::mail::transport::{Connection, Delivery, Letter, Unavailable};
use crate::site::InDoubt;

/// One connection's thread.
pub(super) struct Worker<'a, 'w, 'n, T, E> {
    dispatch: &'a Dispatch<'a>,
    shared: &'a Mutex<Common<T, E>>,
    scribe: &'a Scribe<'w, 'n, T, E>,
    /// What became of the last message, not written yet.
    done: Option<(i64, Event)>,
}

/// Why a digest does not leave that says what is no longer so.
const TOO_LATE: &str = "its time was over before its turn";

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

impl<'a, 'w, 'n, T, E> Worker<'a, 'w, 'n, T, E> {
    pub(super) fn new(
        dispatch: &'a Dispatch<'a>,
        shared: &'a Mutex<Common<T, E>>,
        scribe: &'a Scribe<'w, 'n, T, E>,
    ) -> Self {
        Self { dispatch, shared, scribe, done: None }
    }

    /// Sends one after another. While the server reads a message the next one is composed.
    pub(super) fn work(&mut self, compose: &impl Fn(&T) -> Result<Outgoing, Unsendable<E>>) {
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
            if ready.job.is_over() {
                // The envelope may have travelled already.
                connection = None;
                self.let_be(&ready.job, TOO_LATE.to_owned());
                next = self.ready(compose);
                continue;
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
            let reason = if job.is_over() {
                TOO_LATE.to_owned()
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
            self.let_be(&job, reason);
        }
    }

    /// Enters that a digest does not leave in this run.
    fn let_be(&mut self, job: &Job<T>, reason: String) {
        self.flush();
        self.remember(job, "", Mark::Deferred(reason));
        self.flush();
    }

    /// The next digest, unless the run has stopped.
    fn take(&self) -> Option<Job<T>> {
        let mut last: Option<Job<T>> = None;
        loop {
            let mut shared = lock(self.shared);
            if shared.broken.is_some() {
                return None;
            }
            while let Some(job) = shared.queue.pop_front() {
                if shared.streak.tries(&job.recipient) {
                    return Some(job);
                }
                shared.passed_over += 1;
                last = Some(job);
            }
            if !shared.more {
                // Whoever is at the end is tried in any case.
                shared.passed_over -= usize::from(last.is_some());
                return last;
            }
            drop(shared);
            // Whoever writes fills the queue.
            if self.scribe.write(Vec::new(), None) == Answer::Failed {
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
        self.count(&job, &delivery);
        let (mark, is_over) = match delivery {
            Delivery::Accepted => (Mark::Sent, true),
            // Refused now, it may have been taken all the same: a person decides.
            Delivery::Refused { reason, .. } | Delivery::Unfit(reason) if job.is_in_doubt => {
                (Mark::Held(reason), true)
            }
            Delivery::Refused { reason, address } => (Mark::Refused { reason, address }, true),
            Delivery::Unfit(reason) => (Mark::Refused { reason, address: false }, true),
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
            let mut shared = lock(self.shared);
            shared.again += 1;
            if shared.put_off.len() < MAX_PUT_OFF {
                shared.put_off.insert(job.id);
            }
        }
    }

    /// Failures in a row that are no recipient's tell that the server is not well.
    fn count(&self, job: &Job<T>, delivery: &Delivery) {
        let mut shared = lock(self.shared);
        match delivery {
            Delivery::Accepted
            | Delivery::Deferred(_)
            | Delivery::Refused { address: true, .. } => {
                shared.takes_mail |= *delivery == Delivery::Accepted;
                if shared.streak.is_much() {
                    // So it is not the server, or not any more.
                    shared.stopped = None;
                }
                shared.streak = match delivery {
                    Delivery::Accepted => Streak::default(),
                    _ => shared.streak.begun_anew(),
                };
                if let Delivery::Refused { reason, .. } = delivery
                    && !shared.takes_mail
                {
                    shared.streak.unknown.push(job.id);
                    shared.streak.said.get_or_insert_with(|| reason.clone());
                }
                return;
            }
            // Nobody asked the server.
            Delivery::Unfit(_) => return,
            Delivery::Broken(why) | Delivery::InDoubt(why) => {
                shared.stopped = Some(Unavailable::Away(why.clone()));
                shared.streak.doubts += usize::from(matches!(delivery, Delivery::InDoubt(_)));
            }
            Delivery::SenderRefused(why) => {
                let why = format!("the server takes nothing from `mail.from`: {why}");
                shared.stopped = Some(Unavailable::Misconfigured(why));
            }
            // One is the message's or the recipient's own affair; many in a row are the server's.
            Delivery::Refused { reason, address: false } => {
                shared.streak.refused.push(job.id);
                if shared.streak.failures + 1 >= MAX_FAILURES {
                    shared.stopped = Some(if shared.takes_mail {
                        Unavailable::Away(format!("the server refuses many in a row: {reason}"))
                    } else {
                        let why = format!("the server refuses everything: {reason}");
                        Unavailable::Misconfigured(why)
                    });
                }
            }
        }
        shared.streak.add(&job.recipient);
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
