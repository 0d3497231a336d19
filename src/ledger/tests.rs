#[cfg(feature = "server-tests")]
mod on_a_server;

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{NaiveTime, TimeDelta};

use super::marks::apply;
use super::*;
use crate::mail::Shared;
use crate::reminders::recipients::{Consent, Source};
use crate::reminders::{Change, Duty, Entry, Recipient, Section};
use crate::tokens::Purpose;

const DAY: &str = "2021-09-01";

fn entry(posting: &str, stage: Option<u16>) -> Entry {
    Entry {
        posting: posting.to_owned(),
        section: Section::Closing,
        closes: Some("2021-09-03".to_owned()),
        stage,
    }
}

fn digest(recipient: &str, day: &str) -> Planned {
    Planned {
        recipient: recipient.to_owned(),
        addressee: Addressee { email: recipient.to_owned(), ..Addressee::default() },
        day: day.parse().unwrap(),
        content: Content::new(&[said()]),
    }
}

/// What every digest says.
fn said() -> Entry {
    entry("tag:a,2021:p", Some(3))
}

/// Enters a plan; the numbers of its digests.
fn plan(ledger: &mut Ledger, digests: &[Planned], now: DateTime<Utc>) -> Result<Vec<i64>> {
    let mut planning =
        ledger.plan(digests.first().map_or(DAY.parse().unwrap(), |d| d.day), &[], now)?.unwrap();
    let ids =
        digests.iter().map(|digest| planning.enter(digest)).collect::<Result<Vec<Option<_>>>>()?;
    planning.commit()?;
    // All of them are about to be sent.
    ledger.database.execute("UPDATE digests SET sender = ?1", values![&ledger.sender])?;
    Ok(ids.into_iter().map(Option::unwrap).collect())
}

fn shared(message: &[u8], ranges: Vec<std::ops::Range<usize>>) -> Vec<Shared> {
    let fingerprint = |range: &std::ops::Range<_>| blake3::hash(&message[range.clone()]).into();
    ranges.into_iter().map(|range| Shared { fingerprint: fingerprint(&range), range }).collect()
}

/// How often a recipient was told of the posting.
fn told(ledger: &Ledger, recipient: &str) -> usize {
    ledger.past(recipient, today()).unwrap().about("tag:a,2021:p").count()
}

fn sending() -> Mark {
    Mark::Sending {
        message_id: "<x@y>".to_owned(),
        message: b"text".to_vec().into(),
        shared: Vec::new(),
    }
}

fn today() -> NaiveDate {
    "2021-12-31".parse().unwrap()
}

/// An empty ledger in every database that there is here: in memory, and, where
/// `CRIEUR_TEST_POSTGRES` names a server, on that, each in a schema of its own.
fn ledgers() -> Ledgers {
    let schema = address_of_server().map(|url| Schema::on(&url));
    let mut ledgers = vec![Ledger::in_memory().unwrap()];
    ledgers.extend(schema.as_ref().map(|schema| Ledger::connect(&schema.address).unwrap()));
    for ledger in &ledgers {
        ledger.hold_for_ever();
    }
    Ledgers { left: ledgers.into_iter(), _schema: schema }
}

/// One ledger after the other; the schema goes with the last.
struct Ledgers {
    left: std::vec::IntoIter<Ledger>,
    _schema: Option<Schema>,
}

impl Iterator for Ledgers {
    type Item = Ledger;

    fn next(&mut self) -> Option<Ledger> {
        self.left.next()
    }
}

fn address_of_server() -> Option<String> {
    std::env::var("CRIEUR_TEST_POSTGRES").ok()
}

/// A schema on the server that tests are run with. Nothing of it is left afterwards.
struct Schema {
    url: String,
    name: String,
    address: Address,
}

impl Schema {
    fn on(url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Numbers of processes are given again.
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("t{process}_{number}_{:x}", fastrand::u32(..));
        let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
        client.batch_execute(&format!("CREATE SCHEMA {name}")).unwrap();
        let of_schema = format!("{url}?options=-csearch_path%3D{name}");
        let address =
            Address::new(&of_schema, None, || Err("it is here".to_owned()), |why| why).unwrap();
        Self { url: url.to_owned(), name, address }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let removed =
            postgres::Client::connect(&self.url, postgres::NoTls).and_then(|mut client| {
                let name = &self.name;
                // A test that failed may hold on to a table.
                client
                    .batch_execute(&format!("SET lock_timeout = '10s'; DROP SCHEMA {name} CASCADE"))
            });
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn sound(folder: &Path) -> Result<()> {
    Ledger::open(folder)?.refuse_damage()
}

fn state(ledger: &Ledger, recipient: &str) -> Option<String> {
    let query = "SELECT state FROM digests WHERE recipient = ?1 AND day = ?2";
    ledger.database.row(query, values![recipient, DAY], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_not_entered_to_the_end_is_not_entered() {
    for mut ledger in ledgers() {
        let mut planning = ledger.plan(DAY.parse().unwrap(), &[], NOW).unwrap().unwrap();
        assert!(planning.enter(&digest("a", DAY)).unwrap().is_some());
        // One digest a day.
        assert_eq!(planning.enter(&digest("a", DAY)).unwrap(), None);
        drop(planning);
        assert_eq!(ledger.unsent(&[]).unwrap().waiting, 0);
        plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        assert_eq!(ledger.unsent(&[]).unwrap().waiting, 2);
    }
}

#[test]
fn people_leave_while_a_long_list_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    let mut others = Ledger::open(folder.path()).unwrap();
    others.be_patient(Duration::ZERO).unwrap();
    let day = DAY.parse().unwrap();
    let mut planning = ledger.plan(day, &[], NOW).unwrap().unwrap();
    planning.enter_all(&[digest("a", DAY), digest("b", DAY)]).unwrap();
    planning.pasts(&["c", "d"], day).unwrap();
    for (recipient, reason) in [("a", Reason::Unsubscribed), ("c", Reason::Complained)] {
        assert!(others.suppress(recipient, reason, NOW).unwrap());
    }
    others.forget(folder.path(), "d", NOW).unwrap();
    planning.enter_all(&[digest("c", DAY), digest("d", DAY), digest("e", DAY)]).unwrap();
    assert!(others.suppress("f", Reason::Unsubscribed, NOW).unwrap());
    planning.enter_all(&[digest("f", DAY), digest("g", DAY)]).unwrap();
    // Also while something is not entered yet.
    planning.enter(&digest("h", DAY)).unwrap();
    assert_eq!(planning.pasts(&["c", "d"], day).unwrap().len(), 2);
    planning.commit().unwrap();
    let waiting = ledger.waiting(day, &[], None, 9).unwrap();
    let waiting: Vec<&str> = waiting.iter().map(|waiting| waiting.recipient.as_str()).collect();
    assert_eq!(waiting, ["b", "e", "g", "h"]);
}

#[test]
fn a_plan_that_was_left_halfway_is_given_up_by_the_next() {
    let mut ledger = Ledger::in_memory().unwrap();
    let day: NaiveDate = DAY.parse().unwrap();
    let mut planning = ledger.plan(day, &[], NOW).unwrap().unwrap();
    planning.enter_all(&[digest("a", DAY)]).unwrap();
    drop(planning);
    assert_eq!(ledger.planned_days(day.succ_opt().unwrap()).unwrap(), []);
    plan(&mut ledger, &[digest("b", DAY)], NOW).unwrap();
    assert_eq!(ledger.planned_days(day.succ_opt().unwrap()).unwrap(), [day]);
    assert_eq!(state(&ledger, "a").as_deref(), Some("abandoned"));
    assert_eq!(state(&ledger, "b").as_deref(), Some("planned"));
}

#[test]
fn a_new_plan_forgets_what_nobody_took_and_nothing_else() {
    for mut ledger in ledgers() {
        let names = ["planned", "deferred", "sent", "refused", "in_doubt", "held"];
        let digests: Vec<Planned> = names.iter().map(|name| digest(name, DAY)).collect();
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        let why = String::new;
        let marks = [
            (ids[1], Mark::Deferred(why())),
            (ids[2], Mark::Sent),
            (ids[3], Mark::Refused { reason: why(), address: true }),
            (ids[4], Mark::InDoubt(why())),
            (ids[5], Mark::Held(why())),
        ];
        ledger.mark(&marks, NOW).unwrap();
        plan(&mut ledger, &[], NOW).unwrap();
        for name in &names[..2] {
            assert_eq!(state(&ledger, name).as_deref(), Some("abandoned"));
            assert_eq!(told(&ledger, name), 0, "{name}");
        }
        for name in &names[2..] {
            assert_eq!(state(&ledger, name).as_deref(), Some(*name));
        }
        // A digest that was refused was one, and told nobody anything.
        for (name, entries) in [("sent", 1), ("refused", 0), ("in_doubt", 1), ("held", 1)] {
            let past = ledger.past(name, today()).unwrap();
            assert_eq!(past.last_day(today()), Some(DAY.parse().unwrap()), "{name}");
            assert_eq!(told(&ledger, name), entries, "{name}");
            assert_eq!(past.about("another").count(), 0);
            let before = ledger.past_before(name, DAY.parse().unwrap()).unwrap();
            assert_eq!((before.last_day(today()), before.about("tag:a,2021:p").count()), (None, 0));
        }
    }
}

#[test]
fn what_was_being_sent_is_in_doubt_with_its_bytes() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        ledger.mark(&[(ids[0], sending()), (ids[1], sending())], NOW).unwrap();
        ledger.mark(&[(ids[1], Mark::Sent)], NOW).unwrap();
        assert_eq!(ledger.doubt_interrupted().unwrap(), 1);
        let doubtful = ledger.doubtful().unwrap();
        assert_eq!(doubtful.len(), 1);
        assert_eq!((doubtful[0].doubts, doubtful[0].held), (1, false));
        assert_eq!(ledger.unsent(&[]).unwrap().in_doubt, 1);
        assert_eq!(doubtful[0].message, b"text");
        assert_eq!(*doubtful[0].entries[0], said());
        // What nobody needs any more is gone.
        assert_eq!(count(&ledger, "messages"), 1);
        assert_eq!(count(&ledger, "addressees"), 1);
        ledger.mark(&[(ids[0], Mark::Abandoned)], NOW).unwrap();
        assert_eq!(told(&ledger, "a"), 0);
        assert_eq!(count(&ledger, "messages"), 0);
    }
}

fn count(ledger: &Ledger, table: &str) -> u32 {
    let query: &'static str = format!("SELECT count(*) FROM {table}").leak();
    ledger.database.value(query, &[]).unwrap()
}

#[test]
fn each_mark_says_whether_it_was_entered() {
    for mut ledger in ledgers() {
        let why = String::new;
        let marks = [
            Mark::Sent,
            Mark::Deferred(why()),
            Mark::Refused { reason: why(), address: true },
            Mark::InDoubt(why()),
            Mark::Held(why()),
            Mark::Abandoned,
        ];
        let names = ["a", "b", "c", "d", "e", "f"];
        let digests: Vec<Planned> = names.iter().map(|name| digest(name, DAY)).collect();
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        for ((id, name), mark) in ids.iter().zip(names).zip(marks) {
            let expected = mark.state();
            let keeps = matches!(mark, Mark::InDoubt(_) | Mark::Held(_));
            assert_eq!(ledger.mark(&[(*id, sending())], NOW).unwrap(), [0; 0]);
            assert_eq!(count(&ledger, "messages"), 1);
            assert_eq!(ledger.mark(&[(*id, mark.clone())], NOW).unwrap(), [0; 0]);
            assert_eq!(state(&ledger, name).as_deref(), Some(expected));
            // The bytes are kept as long as they may be needed.
            assert_eq!(count(&ledger, "messages"), u32::from(keeps), "{expected}");
            ledger.mark(&[(*id, Mark::Abandoned)], NOW).unwrap();
            let is_there = |ledger: &mut Ledger, id: i64| {
                let sender = ledger.sender.clone();
                let which = (id, sender.as_str());
                apply(&ledger.database, &mut ledger.texts, which, &mark, NOW).unwrap()
            };
            assert!(is_there(&mut ledger, *id), "{expected}");
            assert!(!is_there(&mut ledger, 9999), "{expected}");
            // What has left does not come back: nobody has to be stopped.
            assert_eq!(ledger.mark(&[(9999, mark)], NOW).unwrap(), [0; 0], "{expected}");
        }
        assert_eq!(ledger.mark(&[(9999, sending())], NOW).unwrap(), [9999]);
    }
}

#[test]
fn what_nobody_took_is_owed_for_a_week() {
    for mut ledger in ledgers() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let (first, second) = (day(DAY), day("2021-09-02"));
        let owed = |ledger: &Ledger, name: &str, today: NaiveDate| {
            ledger.past(name, today).unwrap().is_owed(first, today)
        };
        let digests = [digest("planned", DAY), digest("deferred", DAY), digest("sent", DAY)];
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        let mark = Mark::Deferred("away".to_owned());
        ledger.mark(&[(ids[1], sending()), (ids[2], sending())], NOW).unwrap();
        ledger.mark(&[(ids[1], mark), (ids[2], Mark::Sent)], NOW).unwrap();
        // Before the next plan and after it, however often it is made.
        for _ in 0..3 {
            assert!(owed(&ledger, "planned", second) && owed(&ledger, "deferred", second));
            assert!(!owed(&ledger, "sent", second) && !owed(&ledger, "planned", first));
            plan(&mut ledger, &[digest("planned", "2021-09-02")], NOW).unwrap();
        }
        assert_eq!(ledger.unsent(&[]).unwrap().waiting, 1);
        assert_eq!((count(&ledger, "addressees"), count(&ledger, "messages")), (1, 0));
        assert!(ledger.status(second).unwrap().troubles.is_empty());
        for (today, is_owed) in [("2021-09-07", true), ("2021-09-08", false)] {
            ledger.plan(day(today), &[], NOW).unwrap().unwrap().commit().unwrap();
            assert_eq!(owed(&ledger, "deferred", day(today)), is_owed, "{today}");
        }
        assert_eq!(told(&ledger, "deferred"), 0);
    }
}

#[test]
fn what_would_be_given_up_counts_as_if_it_were() {
    for mut ledger in ledgers() {
        let (first, second) = (DAY.parse().unwrap(), "2021-09-02".parse().unwrap());
        let mut ids = plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        ledger.mark(&[(ids[0], Mark::InDoubt(String::new()))], NOW).unwrap();
        ids.extend(plan(&mut ledger, &[digest("a", "2021-09-02")], NOW).unwrap());
        ledger.mark(&[(ids[1], sending())], NOW).unwrap();
        ledger.mark(&[(ids[1], Mark::InDoubt(String::new()))], NOW).unwrap();
        let past = |ledger: &Ledger| format!("{:?}", ledger.past("a", today()).unwrap());
        let without = ledger.past_without("a", today(), &[ids[1]]).unwrap();
        // The other one still counts.
        assert_eq!(without.about("tag:a,2021:p").count(), 1);
        assert_eq!(without.last_day(today()), Some(first));
        assert!(without.is_owed(second, today()));
        assert_ne!(format!("{without:?}"), past(&ledger));
        ledger.mark(&[(ids[1], Mark::Abandoned)], NOW).unwrap();
        assert_eq!(format!("{without:?}"), past(&ledger));
        // When the day began, nothing of it was owed.
        let before = ledger.past_before("a", second).unwrap();
        assert_eq!(
            (before.last_day(today()), before.about("tag:a,2021:p").count()),
            (Some(first), 1)
        );
        assert!(!before.is_owed(second, today()));
    }
}

#[test]
fn what_messages_have_in_common_is_written_once() {
    for mut ledger in ledgers() {
        let names = ["a", "b", "c"];
        let digests: Vec<Planned> = names.iter().map(|name| digest(name, DAY)).collect();
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        assert_eq!(count(&ledger, "contents"), 1);
        let messages: Vec<Vec<u8>> =
            names.iter().map(|name| format!("{name}:COMMON:{name}:LAST").into_bytes()).collect();
        let ranges = [vec![2..8, 11..15], vec![2..8, 11..15], Vec::new()];
        for ((id, message), ranges) in ids.iter().zip(&messages).zip(ranges) {
            let shared = shared(message, ranges);
            let (message_id, message) = (format!("<{id}@y>"), message.clone());
            ledger
                .mark(&[(*id, Mark::Sending { message_id, message: message.into(), shared })], NOW)
                .unwrap();
        }
        assert_eq!(count(&ledger, "texts"), 2);
        let read = |ledger: &Ledger| -> Vec<Vec<u8>> {
            ledger.doubtful().unwrap().into_iter().map(|doubtful| doubtful.message).collect()
        };
        assert_eq!(read(&ledger), messages);
        // One that is still needed keeps what it needs.
        ledger.mark(&[(ids[0], Mark::Sent), (ids[2], Mark::Sent)], NOW).unwrap();
        ledger.prune(today()).unwrap();
        assert_eq!(read(&ledger), messages[1..2]);
        ledger.mark(&[(ids[1], Mark::Sent)], NOW).unwrap();
        ledger.prune(today()).unwrap();
        assert_eq!(count(&ledger, "texts"), 0);
        ledger.prune("2099-01-01".parse().unwrap()).unwrap();
        assert_eq!((count(&ledger, "contents"), count(&ledger, "digests")), (0, 0));
    }
}

#[test]
fn a_text_is_written_again_after_a_transaction_that_failed() {
    let mut ledger = Ledger::in_memory().unwrap();
    let ids = plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
    let sending = |id| {
        let shared = shared(b"text", vec![0..2, 2..4]);
        (
            id,
            Mark::Sending {
                message_id: "<x@y>".to_owned(),
                message: b"text".to_vec().into(),
                shared,
            },
        )
    };
    let full = "CREATE TEMP TRIGGER full BEFORE UPDATE OF settled_at ON digests
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    ledger.database.batch(full).unwrap();
    assert!(ledger.mark(&[sending(ids[0]), (ids[0], Mark::Sent)], NOW).is_err());
    assert_eq!(count(&ledger, "texts"), 0);
    ledger.database.batch("DROP TRIGGER full").unwrap();
    ledger.mark(&[sending(ids[0])], NOW).unwrap();
    assert_eq!(ledger.doubtful().unwrap()[0].message, b"text");
}

#[test]
fn what_waits_is_taken_a_few_at_a_time_and_in_its_turn() {
    for mut ledger in ledgers() {
        let day: NaiveDate = DAY.parse().unwrap();
        assert_eq!(ledger.waiting(day, &[], None, 10).unwrap(), []);
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let mut digests: Vec<Planned> = names.iter().map(|name| digest(name, DAY)).collect();
        digests[7] = digest("yesterday", "2021-08-31");
        digests[8].addressee = Addressee {
            email: "Jo@example.org".to_owned(),
            name: Some("Jo".to_owned()),
            language: Some("fr".to_owned()),
            subscribed: true,
        };
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        let why = String::new;
        let marks = [
            (ids[0], Mark::Sent),
            (ids[1], Mark::Refused { reason: why(), address: true }),
            (ids[2], sending()),
            (ids[2], Mark::InDoubt(why())),
            (ids[3], Mark::Deferred(why())),
            (ids[4], Mark::Held(why())),
        ];
        ledger.mark(&marks, NOW).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = ledger.waiting(day, &[], after, 2).unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            found.extend(page);
        }
        let order: Vec<i64> = found.iter().map(|waiting| waiting.id).collect();
        assert_eq!(order, [ids[2], ids[3], ids[5], ids[6], ids[8]]);
        let messages = found.iter().filter_map(|waiting| waiting.message.clone());
        assert_eq!(messages.collect::<Vec<_>>(), [("<x@y>".to_owned(), b"text".to_vec())]);
        assert_eq!(found[4].addressee, digests[8].addressee);
        assert_eq!(*ledger.content(found[4].content).unwrap()[0], said());
    }
}

/// Digests of `a` on days in September: refused as an address, refused as a message, or sent.
fn refusals(ledger: &mut Ledger, days: &[(u32, Option<bool>)]) -> Vec<String> {
    let mut suppressed = Vec::new();
    for (day, address) in days {
        let now = NOW + chrono::TimeDelta::days(i64::from(*day));
        let ids = plan(ledger, &[digest("a", &format!("2021-09-{day:02}"))], now).unwrap();
        let reason = "550".to_owned();
        let mark = address.map_or(Mark::Sent, |address| Mark::Refused { reason, address });
        ledger.mark(&[(ids[0], mark)], now).unwrap();
        suppressed.extend(ledger.suppress_refused(true, now).unwrap());
    }
    suppressed
}

#[test]
fn an_address_that_is_refused_time_and_again_is_left_alone() {
    for mut ledger in ledgers() {
        let refused = Some(true);
        assert!(refusals(&mut ledger, &[(1, refused), (2, refused)]).is_empty());
        // The message's own fault does not make it so.
        assert!(refusals(&mut ledger, &[(3, Some(false)), (4, Some(false))]).is_empty());
        assert_eq!(refusals(&mut ledger, &[(5, refused)]), ["a"]);
        assert!(ledger.suppressions().unwrap().contains("a"));
        // Who is pardoned is pardoned.
        assert!(ledger.release("a").unwrap());
        assert!(refusals(&mut ledger, &[(6, refused)]).is_empty());
    }
}

#[test]
fn one_message_that_arrives_pardons_the_address() {
    for mut ledger in ledgers() {
        let days: Vec<_> = (1..9).map(|n| (n, (n % 3 != 0).then_some(true))).collect();
        assert!(refusals(&mut ledger, &days).is_empty());
    }
}

#[test]
fn a_server_that_refuses_everybody_says_nothing_about_anybody() {
    for mut ledger in ledgers() {
        for n in 1..9 {
            let now = NOW + chrono::TimeDelta::days(n);
            let ids = plan(&mut ledger, &[digest("a", &format!("2021-09-0{n}"))], now).unwrap();
            let mark = Mark::Refused { reason: "550".to_owned(), address: true };
            ledger.mark(&[(ids[0], mark)], now).unwrap();
            assert!(ledger.suppress_refused(false, now).unwrap().is_empty());
        }
    }
}

/// Those of another run are not forgotten for it.
#[test]
fn a_run_that_nobody_took_anything_of_changes_nothing_about_earlier_refusals() {
    for mut ledger in ledgers() {
        let refused = Some(true);
        assert!(refusals(&mut ledger, &[(1, refused), (2, refused)]).is_empty());
        let now = NOW + TimeDelta::days(3);
        let ids = plan(&mut ledger, &[digest("a", "2021-09-03")], now).unwrap();
        let mark = Mark::Refused { reason: "550".to_owned(), address: true };
        ledger.mark(&[(ids[0], mark)], now).unwrap();
        assert!(ledger.suppress_refused(false, now).unwrap().is_empty());
        assert_eq!(refusals(&mut ledger, &[(4, refused)]), ["a"]);
    }
}

#[test]
fn what_may_have_arrived_stays_in_doubt_until_an_answer_comes() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        let doubt = [
            (ids[0], sending()),
            (ids[0], Mark::InDoubt("gone".to_owned())),
            (ids[0], sending()),
            (ids[0], Mark::Deferred("later".to_owned())),
        ];
        ledger.mark(&doubt, NOW).unwrap();
        plan(&mut ledger, &[], NOW).unwrap();
        assert_eq!(ledger.doubtful().unwrap()[0].message, b"text");
        // What a person gave up is planned anew on the same day.
        ledger.mark(&[(ids[0], Mark::Abandoned)], NOW).unwrap();
        plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        assert_eq!(state(&ledger, "a").as_deref(), Some("planned"));
    }
}

#[test]
fn what_is_planned_for_who_left_does_not_leave() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        // One that may have arrived, and one that a run has taken already.
        ledger.mark(&[(ids[0], sending()), (ids[0], Mark::InDoubt(String::new()))], NOW).unwrap();
        for recipient in ["a", "b"] {
            ledger.suppress(recipient, Reason::Unsubscribed, NOW).unwrap();
        }
        let marks = [(ids[0], sending()), (ids[1], sending())];
        assert_eq!(ledger.mark(&marks, NOW).unwrap(), ids);
        assert_eq!(state(&ledger, "a").as_deref(), Some("in_doubt"));
        assert_eq!(state(&ledger, "b"), None);
        ledger.release("a").unwrap();
        assert_eq!(ledger.mark(&marks, NOW).unwrap(), ids[1..]);
    }
}

#[test]
fn who_left_is_not_written_to_until_they_are_back() {
    for mut ledger in ledgers() {
        plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        assert!(ledger.suppress("a", Reason::Unsubscribed, NOW).unwrap());
        assert!(!ledger.suppress("a", Reason::Unsubscribed, NOW).unwrap());
        assert_eq!(state(&ledger, "a"), None);
        assert!(ledger.suppressions().unwrap().contains("a"));
        assert!(ledger.release("a").unwrap() && !ledger.release("a").unwrap());
        assert!(!ledger.suppressions().unwrap().contains("a"));
    }
}

/// Every byte of every file in a folder.
fn everything(folder: &Path) -> Vec<u8> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap());
    files.filter(|e| e.file_type().is_file()).flat_map(|e| fs::read(e.path()).unwrap()).collect()
}

#[test]
fn who_is_forgotten_is_nowhere_and_never_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    let ids = plan(&mut ledger, &[digest("jo@example.org", DAY), digest("b", DAY)], NOW).unwrap();
    let message = b"To: jo@example.org".to_vec();
    let sending = Mark::Sending {
        message_id: "<x@y>".to_owned(),
        message: message.into(),
        shared: Vec::new(),
    };
    ledger.mark(&[(ids[0], sending)], NOW).unwrap();
    ledger.mark(&[(ids[0], Mark::Sent)], NOW).unwrap();
    ledger.suppress("jo@example.org", Reason::Unsubscribed, NOW).unwrap();
    ledger.back_up(folder.path(), NOW).unwrap();
    let contains =
        |bytes: &[u8]| everything(folder.path()).windows(bytes.len()).any(|window| window == bytes);
    assert!(contains(b"jo@example.org"));
    let messages = ledger.forget(folder.path(), "jo@example.org", NOW).unwrap();
    assert_eq!(messages, [(DAY.parse().unwrap(), "<x@y>".to_owned())]);
    drop(ledger);
    assert!(!contains(b"jo@example.org"));
    let ledger = Ledger::open(folder.path()).unwrap();
    let suppressed = ledger.suppressions().unwrap();
    assert!(suppressed.contains("jo@example.org") && !suppressed.contains("b"));
    assert_eq!(ledger.unsent(&[]).unwrap().waiting, 1);
}

/// Somebody who subscribes, has not confirmed yet what they chose since, and whose mail came back.
#[test]
fn who_is_forgotten_has_no_row_in_any_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = Ledger::open(folder.path()).unwrap();
    let (jo, other) = ("jo@example.org", "other@example.org");
    for mut ledger in ledgers().chain([file]) {
        for email in [jo, other] {
            let (recipient, source) = (Recipient::new(email), Source::Form);
            ledger
                .put(&Subscriber { recipient, source, asked_at: NOW, confirmed_at: NOW })
                .unwrap();
            assert!(ledger.ask(&asks(email), NOW).unwrap());
            let when = (NOW.date_naive(), NOW);
            ledger.returned(email, Returned::Temporary, true, "452 full", when).unwrap();
        }
        ledger.back_up(folder.path(), NOW).unwrap();
        let rows = |ledger: &Ledger, email: &str| {
            ["subscribers", "requests", "returned"].map(|table| {
                let query = format!("SELECT count(*) FROM {table} WHERE recipient = ?1").leak();
                ledger.database.value::<u32>(query, values![email]).unwrap()
            })
        };
        assert_eq!(rows(&ledger, jo), [1, 1, 1]);
        ledger.forget(folder.path(), jo, NOW).unwrap();
        assert_eq!(rows(&ledger, jo), [0, 0, 0]);
        assert_eq!(ledger.subscriber(jo).unwrap(), None);
        // Nobody else is.
        assert_eq!(rows(&ledger, other), [1, 1, 1]);
        assert!(ledger.suppressions().unwrap().contains(jo));
        drop(ledger);
        let bytes = everything(folder.path());
        assert!(!bytes.windows(jo.len()).any(|window| window == jo.as_bytes()));
    }
    assert!(
        everything(folder.path()).windows(other.len()).any(|window| window == other.as_bytes())
    );
}

#[test]
fn a_ledger_lasts_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join(".crieur");
    assert!(Ledger::open_to_read(&private).unwrap().is_none());
    assert!(!private.exists());
    plan(&mut Ledger::open(&private).unwrap(), &[digest("a", DAY)], NOW).unwrap();
    let ledger = Ledger::open(&private).unwrap();
    assert_eq!(ledger.unsent(&[]).unwrap().waiting, 1);
    ledger.back_up(&private, NOW).unwrap();
    let mode: String = ledger.database.value("PRAGMA journal_mode", &[]).unwrap();
    assert_eq!(mode, "wal");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for entry in walkdir::WalkDir::new(&private) {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let expected = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{}", entry.path().display());
        }
    }
}

#[test]
fn a_ledger_has_a_secret_of_its_own_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Ledger::open(folder.path()).unwrap().secret().unwrap();
    assert_eq!(file(folder.path()), folder.path().join("ledger.sqlite3"));
    assert!(file(folder.path()).is_file());
    assert!(secret.len() >= 32);
    assert_eq!(Ledger::open(folder.path()).unwrap().secret().unwrap(), secret);
    assert_ne!(Ledger::in_memory().unwrap().secret().unwrap(), secret);
}

#[test]
fn what_passes_by_itself_is_told_from_what_somebody_has_to_mend() {
    let io = |kind: io::ErrorKind| Error::Io(kind.into());
    for error in
        [io(io::ErrorKind::StorageFull), Error::Database(rusqlite::Error::QueryReturnedNoRows)]
    {
        assert!(error.is_temporary(), "{error}");
    }
    for error in [
        io(io::ErrorKind::PermissionDenied),
        io(io::ErrorKind::AlreadyExists),
        io(io::ErrorKind::IsADirectory),
        io(io::ErrorKind::NotADirectory),
        Error::Damaged("no header".to_owned()),
        Error::Missing,
        Error::Elsewhere,
        Error::TooNew { found: 99, known: 1 },
    ] {
        assert!(!error.is_temporary(), "{error}");
    }
}

#[test]
fn reading_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
    // While another run writes, what it has committed is seen.
    let reader = Ledger::open_to_read(folder.path()).unwrap().unwrap();
    assert_eq!(reader.unsent(&[]).unwrap().waiting, 1);
    drop((reader, ledger));
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, bytes) = (names(), everything(folder.path()));
    let reader = Ledger::open_to_read(folder.path()).unwrap().unwrap();
    assert_eq!(reader.unsent(&[]).unwrap().waiting, 1);
    assert_eq!(names(), before);
    drop(reader);
    assert_eq!((names(), everything(folder.path())), (before, bytes));
}

/// A ledger as the first version wrote it.
fn first_version(folder: &Path) {
    let connection = Connection::open(folder.join(FILE)).unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO digests VALUES
                 (7, 'a', '2021-09-01', '<x@y>', x'00', 'sent', '2021-09-01', '2021-09-01');
             INSERT INTO items VALUES (7, 'tag:a,2021:p', '2021-09-03', 3);",
        )
        .unwrap();
}

#[test]
fn a_ledger_of_an_earlier_version_is_brought_up_to_date_after_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    first_version(folder.path());
    let expected = [entry("tag:a,2021:p", Some(3))];
    let told = |ledger: &Ledger| -> Vec<Entry> {
        ledger.past("a", today()).unwrap().about("tag:a,2021:p").cloned().collect()
    };
    assert_eq!(told(&Ledger::open_to_read(folder.path()).unwrap().unwrap()), expected);
    assert!(backup::all(folder.path()).unwrap().is_empty());
    assert_eq!(told(&Ledger::open(folder.path()).unwrap()), expected);
    let backups = backup::all(folder.path()).unwrap();
    assert!(backups[0].to_string_lossy().ends_with("-version-1.sqlite3"), "{backups:?}");
}

#[test]
fn what_was_in_doubt_in_an_earlier_version_is_in_doubt_with_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.execute_batch(&schema::MIGRATIONS[..2].concat()).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    connection
        .execute_batch(
            "INSERT INTO digests (id, recipient, day, state, message_id, message, planned_at) VALUES
                 (3, 'a', '2021-09-01', 'in_doubt', '<x@y>', x'00FF2E', '2021-09-01'),
                 (4, 'b', '2021-09-01', 'planned', NULL, NULL, '2021-09-01');
             INSERT INTO items VALUES (3, 'p', 'closing', NULL, '2021-09-03', 3);
             INSERT INTO items VALUES (3, 'q', 'owner', 'still-open', '2021-09-03', NULL);
             INSERT INTO secrets VALUES ('addresses', x'01');",
        )
        .unwrap();
    drop(connection);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.secret().unwrap(), [1]);
    let doubtful = &ledger.doubtful().unwrap()[0];
    assert_eq!(doubtful.message, [0x00, 0xFF, 0x2E]);
    let stages: Vec<_> = doubtful.entries.iter().map(|entry| entry.stage).collect();
    assert_eq!(stages, [Some(3), None]);
    assert_eq!(doubtful.entries[1].section.what(), Some("still-open"));
    let waiting = ledger.waiting(DAY.parse().unwrap(), &[], None, 9).unwrap();
    assert_eq!((waiting.len(), waiting[0].addressee.email.as_str()), (2, "a"));
    drop(ledger);
    assert_eq!(check(folder.path()).unwrap(), Some(vec![]));
}

#[test]
fn what_waits_in_the_version_before_waits_in_this_and_no_number_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.execute_batch(&schema::MIGRATIONS[..4].concat()).unwrap();
    connection.pragma_update(None, "user_version", 4).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = ON;
             INSERT INTO secrets VALUES ('addresses', x'01');
             INSERT INTO digests (id, recipient, day, state, message_id, doubts, planned_at)
                 VALUES (3, 'a', '2021-09-01', 'in_doubt', '<x@y>', 1, '2021-09-01'),
                        (12, 'b', '2021-09-01', 'planned', NULL, 0, '2021-09-01');
             INSERT INTO addressees VALUES (3, 'a@example.org', NULL, NULL, 1);
             INSERT INTO messages VALUES (3, x'00FF2E', '[]');
             DELETE FROM digests WHERE id = 12;",
        )
        .unwrap();
    drop(connection);
    let ledger = Ledger::open(folder.path()).unwrap();
    let doubtful = &ledger.doubtful().unwrap()[0];
    assert_eq!((doubtful.id, &doubtful.message[..]), (3, &[0x00, 0xFF, 0x2E][..]));
    let enter = "INSERT INTO digests (recipient, day, state, planned_at)
         VALUES (?1, '2021-09-02', ?2, '2021-09-02')";
    ledger.database.execute(enter, values!["b", "planned"]).unwrap();
    let number: i64 = ledger.database.value("SELECT max(id) FROM digests", &[]).unwrap();
    assert_eq!(number, 13);
    assert!(ledger.database.execute(enter, values!["c", "elsewhere"]).is_err());
    drop(ledger);
    assert_eq!(check(folder.path()).unwrap(), Some(vec![]));
}

#[test]
fn one_run_by_a_clock_that_is_wrong_makes_nothing_old() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        for mark in [sending(), Mark::Sent] {
            ledger.mark(&[(ids[0], mark)], NOW).unwrap();
        }
        let later = |days| today().and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(days);
        ledger.begin_run(1, later(0)).unwrap();
        ledger.begin_run(1, later(500)).unwrap();
        ledger.prune(later(500).date_naive()).unwrap();
        assert_eq!(count(&ledger, "digests"), 1);
        // In the end it is old.
        ledger.begin_run(1, later(501)).unwrap();
        ledger.begin_run(1, later(502)).unwrap();
        ledger.prune(later(500).date_naive()).unwrap();
        assert_eq!(count(&ledger, "digests"), 0);
    }
}

#[test]
fn what_was_said_of_others_does_not_name_who_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("c", DAY)], NOW).unwrap();
        let why = "550 forward to B@example.org failed".to_owned();
        let refused = |reason| Mark::Refused { reason, address: true };
        ledger.mark(&[(ids[0], sending()), (ids[1], sending())], NOW).unwrap();
        let other = "550 forward to d@example.org failed".to_owned();
        ledger.mark(&[(ids[0], refused(why.clone())), (ids[1], refused(other))], NOW).unwrap();
        let day = NOW.date_naive();
        ledger.returned("a", Returned::Temporary, true, &why, (day, NOW)).unwrap();
        ledger.forget(folder.path(), "b@example.org", NOW).unwrap();
        let said = "SELECT count(*) FROM digests WHERE reason IS NOT NULL";
        assert_eq!(ledger.database.value::<u32>(said, &[]).unwrap(), 1);
        let said = "SELECT count(*) FROM returned WHERE reason <> ''";
        assert_eq!(ledger.database.value::<u32>(said, &[]).unwrap(), 0);
    }
}

#[test]
fn a_ledger_from_the_future_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Ledger::open(folder.path()).unwrap().database.batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Ledger::open(folder.path()), Err(Error::TooNew { found: 99, .. })));
    assert!(matches!(Ledger::open_to_read(folder.path()), Err(Error::TooNew { found: 99, .. })));
    // It is sound: what is put together from older ones would bring back who left.
    assert!(matches!(restore(folder.path()), Err(Error::TooNew { found: 99, .. })));
}

#[test]
fn backups_are_in_the_order_of_the_days_in_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    let day = |number: i64| NOW + TimeDelta::days(number);
    for number in 0..7 {
        plan(&mut ledger, &[digest(&number.to_string(), DAY)], NOW).unwrap();
        ledger.back_up(folder.path(), day(number)).unwrap();
    }
    let backups = folder.path().join("backups");
    fs::copy(backups.join("ledger-1970-01-03.sqlite3"), backups.join("ledger-version-4.sqlite3"))
        .unwrap();
    // Somebody copied the oldest last.
    let oldest = backups.join("ledger-1970-01-03.sqlite3");
    fs::write(&oldest, fs::read(&oldest).unwrap()).unwrap();
    let names = || -> Vec<String> {
        let name =
            |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        backup::all(folder.path()).unwrap().into_iter().map(name).collect()
    };
    let expected = [
        "ledger-version-4.sqlite3",
        "ledger-1970-01-03.sqlite3",
        "ledger-1970-01-04.sqlite3",
        "ledger-1970-01-05.sqlite3",
        "ledger-1970-01-06.sqlite3",
        "ledger-1970-01-07.sqlite3",
    ];
    assert_eq!(names(), expected);
    // The newest that is sound, whatever an attempt left behind that was killed.
    drop(ledger);
    fs::write(folder.path().join("restored.sqlite3-journal"), "junk").unwrap();
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let newest = fs::read(backups.join(expected[5])).unwrap();
    fs::write(backups.join(expected[5]), &newest[..newest.len() / 2]).unwrap();
    let restored = restore(folder.path()).unwrap();
    assert_eq!(restored.unusable, [backups.join(expected[5])]);
    assert_eq!(restored.backup, Some(backups.join(expected[4])));
    assert!(!folder.path().join("restored.sqlite3-journal").exists());
    assert_eq!(state(&Ledger::open(folder.path()).unwrap(), "5").as_deref(), Some("planned"));
    // One after another, however they are damaged.
    fs::remove_file(folder.path().join(FILE)).unwrap();
    for name in expected {
        fs::write(backups.join(name), "no database ".repeat(1000)).unwrap();
    }
    assert!(matches!(restore(folder.path()), Err(Error::Damaged(_))));
}

#[test]
fn backups_of_days_and_of_upgrades_do_not_push_each_other_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let names = || -> Vec<String> {
        let name = |path: std::path::PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.trim_start_matches("ledger-").trim_end_matches(".sqlite3").to_owned()
        };
        backup::all(folder.path()).unwrap().into_iter().map(name).collect()
    };
    let upgrade = |day: i64, version: u32| {
        let day = (NOW + TimeDelta::days(day)).format("%Y-%m-%d");
        let file = ledger.database.file().unwrap();
        backup::make(file, folder.path(), &format!("{day}-version-{version}")).unwrap();
    };
    upgrade(0, 4);
    for day in 0..7 {
        ledger.back_up(folder.path(), NOW + TimeDelta::days(day)).unwrap();
    }
    let days = ["1970-01-03", "1970-01-04", "1970-01-05", "1970-01-06", "1970-01-07"];
    assert_eq!(names(), [&["1970-01-01-version-4"][..], &days].concat());
    // However many there are of them, of each kind.
    for number in 1..=7 {
        upgrade(10 + i64::from(number), 4 + number);
    }
    let upgrades = [
        "1970-01-14-version-7",
        "1970-01-15-version-8",
        "1970-01-16-version-9",
        "1970-01-17-version-10",
        "1970-01-18-version-11",
    ];
    assert_eq!(names(), [days, upgrades].concat());
}

#[test]
fn what_is_damaged_is_kept_until_somebody_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut ledger = Ledger::open(folder.path()).unwrap();
    plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
    ledger.back_up(folder.path(), NOW).unwrap();
    drop(ledger);
    // Nothing but what was not finished.
    fs::write(path("backups/ledger-1970-01-02.sqlite3"), "").unwrap();
    for number in 1..=2 {
        fs::write(path(FILE), "no database ".repeat(1000)).unwrap();
        fs::write(path("ledger.sqlite3-wal"), "no log").unwrap();
        let restored = restore(folder.path()).unwrap();
        assert_eq!(restored.backup, Some(path("backups/ledger-1970-01-01.sqlite3")));
        assert_eq!(restored.damaged, Some(path(&format!("damaged-{number}.sqlite3"))));
        assert!(!path("ledger.sqlite3-wal").exists());
    }
    fs::write(path("restored.sqlite3-journal"), "what a killed attempt left").unwrap();
    assert_eq!(backup::leftovers(folder.path()).unwrap().len(), 3);
    // Without a sound backup, what is there says it.
    fs::write(path("backups/ledger-1970-01-01.sqlite3"), "no database ".repeat(1000)).unwrap();
    assert_eq!(restore(folder.path()).unwrap().digests, 1);
    let mut ledger = Ledger::open(folder.path()).unwrap();
    ledger.forget(folder.path(), "a", NOW).unwrap();
    assert!(backup::leftovers(folder.path()).unwrap().is_empty());
    // Backups that cannot be listed are not none.
    drop(ledger);
    fs::remove_dir_all(path("backups")).unwrap();
    fs::write(path("backups"), "in the way").unwrap();
    assert!(backup::all(folder.path()).is_err());
}

#[test]
fn a_row_that_breaks_a_rule_is_left_behind_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
    ledger.database.batch("PRAGMA ignore_check_constraints = ON").unwrap();
    ledger.database.batch("UPDATE digests SET state = 'nonsense' WHERE recipient = 'a'").unwrap();
    drop(ledger);
    assert!(restore(folder.path()).unwrap().incomplete);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(state(&ledger, "a"), None);
    assert_eq!(state(&ledger, "b").as_deref(), Some("planned"));
}

#[test]
fn of_a_damaged_ledger_of_an_earlier_version_is_kept_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    ledger.back_up(folder.path(), NOW).unwrap();
    ledger.suppress("a@example.org", Reason::Unsubscribed, NOW).unwrap();
    // As the version before left it.
    ledger.database.batch("DROP TABLE plans").unwrap();
    let before = known_version() - 1;
    ledger.database.batch(&format!("PRAGMA user_version = {before}")).unwrap();
    drop(ledger);
    restore(folder.path()).unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert!(ledger.suppressed("a@example.org").unwrap().is_some());
}

#[test]
fn a_ledger_whose_file_is_another_is_not_alive() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert!(ledger.is_alive() && Ledger::in_memory().unwrap().is_alive());
    let path = folder.path().join(FILE);
    fs::rename(&path, folder.path().join("other")).unwrap();
    assert!(!ledger.is_alive());
    fs::copy(folder.path().join("other"), &path).unwrap();
    assert!(!ledger.is_alive());
}

#[test]
fn it_is_known_whether_there_ever_was_a_digest_and_how_runs_ended() {
    for mut ledger in ledgers() {
        assert!(!ledger.has_digests().unwrap());
        plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        assert!(ledger.has_digests().unwrap());
        assert!(!ledger.was_interrupted().unwrap());
        let run = ledger.begin_run(1, NOW).unwrap();
        assert_eq!(ledger.was_interrupted().unwrap(), !ledger.database.is_shared());
        ledger.end_run(run, &Run { ended_at: Some(NOW), sent: 1, ..Run::default() }).unwrap();
        assert!(!ledger.was_interrupted().unwrap());
        let runs = ledger.status(today()).unwrap().runs;
        assert_eq!((runs.len(), runs[0].planned, runs[0].sent), (1, 1, 1));
    }
}

/// A ledger of many days, whose pages in the middle are overwritten.
fn damaged(folder: &Path) {
    let mut ledger = Ledger::open(folder).unwrap();
    for n in 0..400 {
        let day = format!("2021-{:02}-{:02}", n / 28 % 12 + 1, n % 28 + 1);
        let recipient = format!("recipient-{n}@example.org");
        let ids = plan(&mut ledger, &[digest(&recipient, &day)], NOW).unwrap();
        ledger.mark(&[(ids[0], Mark::Sent)], NOW).unwrap();
        if n == 200 {
            ledger.back_up(folder, NOW).unwrap();
        }
    }
    drop(ledger);
    let path = folder.join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8192].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_ledger_is_refused_and_put_together_again() {
    let folder = tempfile::tempdir().unwrap();
    damaged(folder.path());
    assert!(matches!(sound(folder.path()), Err(Error::Damaged(_))));
    assert!(!check(folder.path()).unwrap().unwrap().is_empty());
    let restored = restore(folder.path()).unwrap();
    assert!(restored.incomplete);
    assert!(restored.digests > 300, "{restored:?}");
    assert_eq!(check(folder.path()).unwrap(), Some(vec![]));
    let ledger = Ledger::open(folder.path()).unwrap();
    // From the backup, and from the end of the damaged file.
    for n in [0, 200, 399] {
        let recipient = format!("recipient-{n}@example.org");
        assert!(ledger.past(&recipient, today()).unwrap().last_day(today()).is_some(), "{n}");
        assert_eq!(told(&ledger, &recipient), 1, "{n}");
    }
}

/// What a damaged ledger lost of a message is said, and the rest of it serves on: the digest stays
/// in doubt, without a message that could leave again.
#[test]
fn a_message_that_lost_a_part_is_in_nobodys_way() {
    for damage in [
        "DELETE FROM texts",
        "UPDATE messages SET shared = '[[' WHERE digest = 1",
        "UPDATE messages SET shared = '[[9999, 1]]' WHERE digest = 1",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        let message = b"own:COMMON:own".to_vec();
        for (id, ranges) in [(ids[0], vec![4..10; 1]), (ids[1], Vec::new())] {
            let (message_id, shared) = (format!("<{id}@y>"), shared(&message, ranges));
            let sending = Mark::Sending { message_id, message: message.clone().into(), shared };
            ledger.mark(&[(id, sending)], NOW).unwrap();
        }
        ledger.database.batch(damage).unwrap();
        assert!(matches!(ledger.doubtful(), Err(Error::Damaged(_))), "{damage}");
        drop(ledger);
        let found = check(folder.path()).unwrap().unwrap();
        assert_eq!(found, ["the message of digest 1 is incomplete"], "{damage}");
        assert!(restore(folder.path()).unwrap().incomplete);
        assert_eq!(check(folder.path()).unwrap(), Some(vec![]));
        let doubtful = Ledger::open(folder.path()).unwrap().doubtful().unwrap();
        let messages: Vec<&[u8]> = doubtful.iter().map(|digest| &digest.message[..]).collect();
        assert_eq!(messages, [&b""[..], &message], "{damage}");
    }
}

#[test]
fn what_digests_said_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
    ledger.database.batch("DELETE FROM contents").unwrap();
    let found = check(folder.path()).unwrap().unwrap();
    assert_eq!(found, ["nobody knows what 2 digests said"]);
}

#[test]
fn a_file_that_is_no_ledger_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    Ledger::open(folder.path()).unwrap().back_up(folder.path(), NOW).unwrap();
    fs::write(folder.path().join(FILE), "no database ".repeat(1000)).unwrap();
    assert!(matches!(sound(folder.path()), Err(Error::Damaged(_))));
    assert!(restore(folder.path()).unwrap().damaged.unwrap().exists());
    assert!(sound(folder.path()).is_ok());
}

#[test]
fn a_ledger_that_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(restore(folder.path()).is_err());
    let mut ledger = Ledger::open(folder.path()).unwrap();
    plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
    ledger.back_up(folder.path(), NOW).unwrap();
    drop(ledger);
    fs::remove_file(folder.path().join(FILE)).unwrap();
    assert!(matches!(Ledger::open(folder.path()), Err(Error::Missing)));
    assert!(matches!(Ledger::open_to_read(folder.path()), Err(Error::Missing)));
    assert_eq!(restore(folder.path()).unwrap().digests, 1);
    assert_eq!(Ledger::open(folder.path()).unwrap().unsent(&[]).unwrap().waiting, 1);
}

fn asks(email: &str) -> Recipient {
    Recipient { domains: vec!["design".to_owned()], ..Recipient::new(email) }
}

#[test]
fn who_stands_in_the_list_keeps_what_the_form_does_not_ask() {
    for mut ledger in ledgers() {
        ledger.ask(&Recipient { new: true, ..Recipient::new("a@b.org") }, NOW).unwrap();
        let (name, lead_days) = (Some("Eve".to_owned()), Some(vec![30]));
        let listed = Recipient { name, lead_days, ..Recipient::new("a@b.org") };
        assert!(ledger.confirm("a@b.org", (Some(&listed), None), NOW, NOW).unwrap());
        let subscriber = ledger.subscriber("a@b.org").unwrap().unwrap().recipient;
        assert_eq!((subscriber.name, subscriber.lead_days), (listed.name, listed.lead_days));
        assert!(subscriber.new);
    }
}

#[test]
fn who_asks_is_written_to_once_and_subscribes_when_they_confirm() {
    for mut ledger in ledgers() {
        let (later, too_late) = (NOW + TimeDelta::hours(1), NOW + CONFIRMATION);
        ledger.suppress("a@b.org", Reason::Unsubscribed, NOW).unwrap();
        assert!(ledger.ask(&Recipient::new("A@b.org"), NOW).unwrap());
        // Who asks again chose again.
        assert!(!ledger.ask(&asks("a@B.org"), later).unwrap());
        let requests = ledger.requests(later, 9).unwrap();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].recipient, asks("A@b.org"));
        assert_eq!(ledger.asked(later).unwrap(), [("A@b.org".to_owned(), NOW)]);
        assert!(ledger.mail_request(&requests[0], later).unwrap());
        assert!(!ledger.mail_request(&requests[0], later).unwrap());
        assert_eq!(ledger.requests(later, 9).unwrap(), []);
        ledger.unmail_request(&requests[0]).unwrap();
        assert_eq!(ledger.requests(later, 9).unwrap().len(), 1);
        // Another instant is another request.
        assert!(!ledger.confirm("a@b.org", (None, None), later, later).unwrap());
        assert!(!ledger.confirm("a@b.org", (None, None), NOW, too_late).unwrap());
        assert!(ledger.subscriber("a@b.org").unwrap().is_none());
        assert!(ledger.confirm("a@b.org", (None, None), NOW, later).unwrap());
        assert!(ledger.confirm("a@b.org", (None, None), NOW, later).unwrap());
        let subscriber = ledger.subscriber("a@b.org").unwrap().unwrap();
        assert_eq!((subscriber.source, subscriber.confirmed_at), (Source::Form, later));
        assert!(!ledger.suppressions().unwrap().contains("a@b.org"));
        // Who left since does not come back by an old link.
        ledger.suppress("a@b.org", Reason::Unsubscribed, NOW).unwrap();
        assert!(!ledger.confirm("a@b.org", (None, None), NOW, later).unwrap());
        // What was not confirmed in time can be asked for again.
        assert!(ledger.ask(&asks("c@b.org"), NOW).unwrap());
        assert!(ledger.ask(&asks("c@b.org"), too_late).unwrap());
    }
}

#[test]
fn who_leaves_before_they_confirm_does_not_come_back_by_the_old_link() {
    for mut ledger in ledgers() {
        assert!(ledger.ask(&asks("a@b.org"), NOW).unwrap());
        assert!(ledger.suppress("a@b.org", Reason::Unsubscribed, NOW).unwrap());
        assert!(!ledger.confirm("a@b.org", (None, None), NOW, NOW).unwrap());
        assert!(ledger.suppressions().unwrap().contains("a@b.org"));
        assert_eq!(ledger.subscriber("a@b.org").unwrap(), None);
        // Who changes their mind asks again.
        let later = NOW + TimeDelta::hours(1);
        assert!(ledger.ask(&asks("a@b.org"), later).unwrap());
        assert!(ledger.confirm("a@b.org", (None, None), later, later).unwrap());
        assert!(!ledger.suppressions().unwrap().contains("a@b.org"));
    }
}

#[test]
fn what_came_back_before_somebody_confirmed_does_not_count() {
    for mut ledger in ledgers() {
        let returned = |ledger: &mut Ledger, day: u32| {
            let day = format!("2021-09-{day:02}").parse().unwrap();
            ledger.returned("a", Returned::Temporary, true, "452 full", (day, NOW)).unwrap()
        };
        for day in 1..10 {
            assert_eq!(returned(&mut ledger, day), None);
        }
        assert_eq!(count(&ledger, "returned"), 9);
        let refused = Some(true);
        assert!(refusals(&mut ledger, &[(1, refused), (2, refused)]).is_empty());
        assert!(ledger.ask(&Recipient::new("a"), NOW).unwrap());
        assert!(ledger.confirm("a", (None, None), NOW, NOW).unwrap());
        assert_eq!(count(&ledger, "returned"), 0);
        assert_eq!(returned(&mut ledger, 10), None);
        assert_eq!(count(&ledger, "returned"), 1);
        assert!(refusals(&mut ledger, &[(3, refused), (4, refused)]).is_empty());
        assert!(!ledger.suppressions().unwrap().contains("a"));
        assert_eq!(refusals(&mut ledger, &[(5, refused)]), ["a"]);
    }
}

#[test]
fn who_wants_no_mail_at_all_is_not_asked() {
    for mut ledger in ledgers() {
        ledger.suppress("a@b.org", Reason::Complained, NOW).unwrap();
        assert!(!ledger.ask(&asks("a@b.org"), NOW).unwrap());
        let folder = tempfile::tempdir().unwrap();
        ledger.forget(folder.path(), "f@b.org", NOW).unwrap();
        assert!(!ledger.ask(&asks("F@b.org"), NOW).unwrap());
        ledger.suppress("u@b.org", Reason::Bounced, NOW).unwrap();
        assert!(ledger.ask(&asks("u@b.org"), NOW).unwrap());
    }
}

#[test]
fn subscribers_are_read_a_few_at_a_time() {
    for mut ledger in ledgers() {
        for name in ["b", "a", "c"] {
            let recipient = asks(&format!("{name}@b.org"));
            let source = Source::Import;
            ledger
                .put(&Subscriber { recipient, source, asked_at: NOW, confirmed_at: NOW })
                .unwrap();
        }
        let names = |ledger: &Ledger, after: &str, limit| -> Vec<String> {
            let page = ledger.subscribers(after, limit).unwrap();
            page.into_iter().map(|subscriber| subscriber.recipient.email).collect()
        };
        assert_eq!(names(&ledger, "", 2), ["a@b.org", "b@b.org"]);
        assert_eq!(names(&ledger, "b@b.org", 2), ["c@b.org"]);
        assert!(ledger.remove("b@b.org").unwrap());
        assert!(!ledger.remove("b@b.org").unwrap());
        assert_eq!(names(&ledger, "", 9), ["a@b.org", "c@b.org"]);
        let asked = ["x@b.org", "c@b.org", "it's", "b@b.org"].map(str::to_owned);
        let found = ledger.subscribing(&asked).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["c@b.org"]);
        assert!(ledger.subscribing(&[]).unwrap().is_empty());
    }
}

#[test]
fn what_comes_back_counts_by_what_is_proven() {
    use Returned::{Complaint, Permanent, Temporary};
    for mut ledger in ledgers() {
        let at = |day: &str| (day.parse().unwrap(), NOW);
        let mut said = |who: &str, kind, proven, day: &str| {
            ledger.returned(who, kind, proven, "5.1.1", at(day)).unwrap()
        };
        assert_eq!(said("a", Permanent, true, "2021-09-01"), Some(Reason::Bounced));
        assert_eq!(said("a", Permanent, true, "2021-09-02"), None);
        for (day, expected) in
            [("01", None), ("01", None), ("02", None), ("03", Some(Reason::Bounced))]
        {
            assert_eq!(said("b", Permanent, false, &format!("2021-09-{day}")), expected);
        }
        assert_eq!(said("c", Complaint, false, "2021-09-01"), None);
        assert_eq!(said("c", Complaint, true, "2021-09-01"), Some(Reason::Complained));
        for day in 1..10 {
            assert_eq!(said("d", Temporary, true, &format!("2021-09-{day:02}")), None);
        }
        assert_eq!(said("d", Temporary, true, "2021-09-10"), Some(Reason::Bounced));
    }
}

/// A digest a week, and each comes back days later.
#[test]
fn what_comes_back_after_days_counts_too() {
    for mut ledger in ledgers() {
        let mut week = |week: i64, comes_back: bool| {
            let monday = today() + TimeDelta::days(7 * week);
            let ids = plan(&mut ledger, &[digest("a", &monday.to_string())], NOW).unwrap();
            ledger.mark(&[(ids[0], sending()), (ids[0], Mark::Sent)], NOW).unwrap();
            let when = (monday + TimeDelta::days(5), NOW);
            comes_back
                .then(|| ledger.returned("a", Returned::Temporary, true, "", when).unwrap())
                .flatten()
        };
        for number in 0..9 {
            assert_eq!(week(number, true), None, "{number}");
        }
        // One that stays away begins the count anew.
        assert_eq!(week(9, false), None);
        for number in 10..19 {
            assert_eq!(week(number, true), None, "{number}");
        }
        assert_eq!(week(19, true), Some(Reason::Bounced));
    }
}

#[test]
fn the_plans_of_a_week_are_remembered_and_the_one_before() {
    for mut ledger in ledgers() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let before = |ledger: &Ledger, before: &str| {
            let days = ledger.planned_days(day(before)).unwrap();
            days.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(before(&ledger, "2021-09-09").is_empty());
        plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        assert_eq!(before(&ledger, "2021-09-09"), [DAY]);
        assert!(before(&ledger, DAY).is_empty());
        // For some, and before the hour.
        let only = ["a".to_owned()];
        ledger.plan(day("2021-09-02"), &only, NOW).unwrap().unwrap().commit().unwrap();
        let mut early = ledger.plan(day("2021-09-02"), &[], NOW).unwrap().unwrap();
        early.before_the_hour();
        early.commit().unwrap();
        assert_eq!(before(&ledger, "2021-09-09"), [DAY]);
        // However long ago, also when the day is planned once more.
        for _ in 0..2 {
            ledger.plan(day("2021-10-09"), &[], NOW).unwrap().unwrap().commit().unwrap();
            assert_eq!(before(&ledger, "2021-10-09"), [DAY]);
        }
        for later in ["2021-10-10", "2021-10-16"] {
            ledger.plan(day(later), &[], NOW).unwrap().unwrap().commit().unwrap();
            assert_eq!(before(&ledger, "2021-10-10"), [DAY, "2021-10-09"]);
        }
        ledger.plan(day("2021-10-17"), &[], NOW).unwrap().unwrap().commit().unwrap();
        assert_eq!(before(&ledger, "2021-10-17"), ["2021-10-09", "2021-10-10", "2021-10-16"]);
    }
}

#[test]
fn keys_are_renewed_and_old_ones_kept() {
    for mut ledger in ledgers() {
        let first = ledger.renewed_keys(NOW).unwrap();
        let token = first.token(Purpose::Unsubscribe, "a@b");
        let again = ledger.renewed_keys(NOW + TimeDelta::days(180)).unwrap();
        assert_eq!(again.token(Purpose::Unsubscribe, "a@b"), token);
        let later = ledger.renewed_keys(NOW + TimeDelta::days(200)).unwrap();
        assert_ne!(later.token(Purpose::Unsubscribe, "a@b"), token);
        assert_eq!(later.named(Purpose::Unsubscribe, &token).as_deref(), Some("a@b"));
    }
}

/// What is asked and entered for many at once is what is asked and entered for each.
#[test]
fn many_are_planned_as_each_is() {
    for mut ledger in ledgers() {
        let day: NaiveDate = DAY.parse().unwrap();
        let names = ["a", "b's \"c\"", "d\u{e9}"];
        let sent =
            plan(&mut ledger, &[digest("a", "2021-08-30"), digest("d\u{e9}", "2021-08-31")], NOW);
        for id in sent.unwrap() {
            ledger.mark(&[(id, sending())], NOW).unwrap();
            ledger.mark(&[(id, Mark::Sent)], NOW).unwrap();
        }
        let mut planning = ledger.plan(day, &[], NOW).unwrap().unwrap();
        let pasts = planning.pasts(&names, day).unwrap();
        let one_by_one: Vec<crate::reminders::Past> =
            names.iter().map(|name| planning.past(name, day).unwrap()).collect();
        assert_eq!(format!("{pasts:?}"), format!("{one_by_one:?}"));
        assert_ne!(format!("{:?}", pasts[0]), format!("{:?}", pasts[1]));
        planning.enter_all(&names.map(|name| digest(name, DAY))).unwrap();
        planning.enter_all(&[]).unwrap();
        // Those that are there stay.
        planning.enter_all(&[digest("a", DAY)]).unwrap();
        assert_eq!(planning.commit().unwrap(), 3);
        let waiting = ledger.waiting(day, &[], None, 9).unwrap();
        let mut planned: Vec<(&str, &Addressee)> =
            waiting.iter().map(|w| (w.recipient.as_str(), &w.addressee)).collect();
        planned.sort_by_key(|(recipient, _)| *recipient);
        let expected = names.map(|name| (name, digest(name, DAY).addressee));
        assert_eq!(planned, expected.each_ref().map(|(name, addressee)| (*name, addressee)));
        assert!(waiting.iter().all(|w| w.content == waiting[0].content));
    }
}

/// What people say counts more than what servers say, and who is forgotten is not written down again.
#[test]
fn reasons_are_raised_and_the_forgotten_stay_forgotten() {
    for mut ledger in ledgers() {
        let day = (DAY.parse().unwrap(), NOW);
        let reason = |ledger: &Ledger, who: &str| ledger.suppressed(who).unwrap().unwrap().0;
        ledger.suppress("a@b", Reason::Bounced, NOW).unwrap();
        assert!(ledger.suppress("a@b", Reason::Unsubscribed, NOW).unwrap());
        assert!(!ledger.suppress("a@b", Reason::Bounced, NOW).unwrap());
        assert_eq!(reason(&ledger, "a@b"), Reason::Unsubscribed);
        assert!(ledger.returned("a@b", Returned::Complaint, true, "", day).unwrap().is_some());
        assert_eq!(reason(&ledger, "a@b"), Reason::Complained);
        assert!(!ledger.suppress("a@b", Reason::Unsubscribed, NOW).unwrap());

        let folder = tempfile::tempdir().unwrap();
        ledger.forget(folder.path(), "f@b", NOW).unwrap();
        assert!(!ledger.suppress("f@b", Reason::Unsubscribed, NOW).unwrap());
        assert_eq!(ledger.returned("f@b", Returned::Permanent, true, "x", day).unwrap(), None);
        let query = "SELECT (SELECT count(*) FROM returned WHERE recipient = 'f@b')
             + (SELECT count(*) FROM suppressions WHERE recipient = 'f@b')";
        assert_eq!(ledger.database.value::<i64>(query, &[]).unwrap(), 0);

        // What proves nothing counts on three days, and keeps nobody from coming back.
        for day in ["2021-09-01", "2021-09-02", "2021-09-03"] {
            let day = (day.parse().unwrap(), NOW);
            ledger.returned("c@b", Returned::Complaint, false, "", day).unwrap();
        }
        assert_eq!(reason(&ledger, "c@b"), Reason::Bounced);
        assert!(ledger.ask(&Recipient::new("c@b"), NOW).unwrap());
    }
}

/// Whoever comes at the same time finds the tables made, and a whole backup.
#[test]
fn many_open_a_new_ledger_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                let mut ledger = Ledger::open(folder).unwrap();
                ledger.suppress(&format!("{number}@b"), Reason::Unsubscribed, NOW).unwrap();
                ledger.back_up(folder, NOW).unwrap();
            });
        }
    });
    fs::remove_file(folder.path().join(FILE)).unwrap();
    restore(folder.path()).unwrap();
    let restored = Ledger::open(folder.path()).unwrap();
    assert_eq!(count(&restored, "suppressions"), 8);
}

#[test]
fn a_plan_for_some_leaves_what_waits_for_others() {
    for mut ledger in ledgers() {
        plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        let day = DAY.parse().unwrap();
        let mut planning = ledger.plan(day, &["a".to_owned()], NOW).unwrap().unwrap();
        planning.enter_all(&[digest("a", DAY)]).unwrap();
        assert_eq!(planning.commit().unwrap(), 1);
        for name in ["a", "b"] {
            assert_eq!(state(&ledger, name).as_deref(), Some("planned"), "{name}");
        }
        let only = ["a".to_owned()];
        assert_eq!(ledger.waiting(day, &only, None, 9).unwrap().len(), 1);
        assert_eq!(ledger.unsent(&only).unwrap().waiting, 1);
        // What was never about to leave has no other name when it is planned again.
        let editions = ledger.waiting(day, &[], None, 9).unwrap();
        assert_eq!(editions.iter().map(|digest| digest.edition).collect::<Vec<_>>(), [0, 0]);
        // Whoever comes to plan for everybody is not told that this was done.
        assert!(ledger.plan(day, &[], NOW).unwrap().is_some());
    }
}

#[test]
fn what_is_said_after_a_doubt_is_another_message() {
    for mut ledger in ledgers() {
        plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
        for edition in 1..3 {
            let id = ledger.waiting(DAY.parse().unwrap(), &[], None, 9).unwrap()[0].id;
            ledger.mark(&[(id, sending())], NOW).unwrap();
            ledger.mark(&[(id, Mark::InDoubt(String::new()))], NOW).unwrap();
            ledger.mark(&[(id, Mark::Abandoned)], NOW).unwrap();
            plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
            let waiting = ledger.waiting(DAY.parse().unwrap(), &[], None, 9).unwrap();
            assert_eq!(waiting.iter().map(|digest| digest.edition).collect::<Vec<_>>(), [edition]);
        }
    }
}

#[test]
fn what_was_given_up_after_a_doubt_may_have_been_said() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        ledger.mark(&[(ids[0], sending())], NOW).unwrap();
        ledger.mark(&[(ids[0], Mark::InDoubt(String::new()))], NOW).unwrap();
        ledger.mark(&[(ids[0], Mark::Abandoned), (ids[1], Mark::Abandoned)], NOW).unwrap();
        let tomorrow: NaiveDate = "2021-09-01".parse().unwrap();
        for (recipient, perhaps) in [("a", 1), ("b", 0)] {
            let past = ledger.past(recipient, tomorrow).unwrap();
            assert_eq!(past.about("tag:a,2021:p").count(), 0);
            assert_eq!(past.perhaps_about("tag:a,2021:p").count(), perhaps, "{recipient}");
        }
    }
}

#[test]
fn what_is_refused_after_a_doubt_stays_in_doubt() {
    for mut ledger in ledgers() {
        let ids = plan(&mut ledger, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
        let refused = Mark::Refused { reason: "554 duplicate".to_owned(), address: true };
        for id in &ids {
            ledger.mark(&[(*id, sending())], NOW).unwrap();
        }
        ledger.mark(&[(ids[0], Mark::InDoubt(String::new()))], NOW).unwrap();
        ledger.mark(&[(ids[0], sending())], NOW).unwrap();
        ledger.mark(&[(ids[0], refused.clone()), (ids[1], refused)], NOW).unwrap();
        assert_eq!(state(&ledger, "a").as_deref(), Some("held"));
        assert_eq!(state(&ledger, "b").as_deref(), Some("refused"));
        assert_eq!((told(&ledger, "a"), told(&ledger, "b")), (1, 0));
        assert_eq!(count(&ledger, "messages"), 1);
    }
}

#[test]
fn who_subscribes_again_keeps_what_the_form_does_not_show() {
    for mut ledger in ledgers() {
        let recipient = Recipient {
            name: Some("Sam".to_owned()),
            lead_days: Some(vec![14, 5]),
            new: true,
            ..Recipient::new("s@example.org")
        };
        let source = Source::Command;
        ledger.put(&Subscriber { recipient, source, asked_at: NOW, confirmed_at: NOW }).unwrap();
        assert!(ledger.ask(&Recipient::new("s@example.org"), NOW).unwrap());
        assert!(ledger.confirm("s@example.org", (None, None), NOW, NOW).unwrap());
        let known = ledger.subscriber("s@example.org").unwrap().unwrap().recipient;
        assert_eq!(known.name.as_deref(), Some("Sam"));
        assert_eq!(known.lead_days, Some(vec![14, 5]));
        assert!(!known.new);
    }
}

#[test]
fn what_is_refused_because_of_the_server_waits_for_the_next_run() {
    for mut ledger in ledgers() {
        let names = ["a", "b", "c"];
        let digests: Vec<Planned> = names.iter().map(|name| digest(name, DAY)).collect();
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        let refused = |address| Mark::Refused { reason: "554 no".to_owned(), address };
        let marks = [(ids[0], refused(false)), (ids[1], refused(true)), (ids[2], Mark::Sent)];
        ledger.mark(&marks, NOW).unwrap();
        // What was taken was not refused.
        assert_eq!(ledger.defer(&ids).unwrap(), 2);
        let states = names.map(|name| state(&ledger, name).unwrap());
        assert_eq!(states, ["deferred", "deferred", "sent"]);
        let counts = "SELECT count(*) FROM digests WHERE counts > 0";
        assert_eq!(ledger.database.value::<u32>(counts, values![]).unwrap(), 0);
    }
}

#[test]
fn a_plan_reads_who_subscribes() {
    for mut ledger in ledgers() {
        let consent = Consent { at: Some(NOW), source: Some(Source::Form) };
        let recipient = Recipient { consent, ..Recipient::new("s@example.org") };
        let entered = Subscriber {
            recipient: recipient.clone(),
            source: Source::Form,
            asked_at: NOW,
            confirmed_at: NOW,
        };
        ledger.put(&entered).unwrap();
        let read = |people: &dyn People| {
            let keys = ["a@example.org".to_owned(), "s@example.org".to_owned()];
            let all: Vec<Recipient> =
                people.subscribers("", 9).unwrap().into_iter().map(|s| s.recipient).collect();
            assert!(people.subscribers("s@example.org", 9).unwrap().is_empty());
            (people.subscribing(&keys).unwrap().into_iter().collect::<Vec<_>>(), all)
        };
        let expected = (vec![("s@example.org".to_owned(), Source::Form)], vec![recipient]);
        assert_eq!(read(&ledger), expected);
        let planning = ledger.plan(DAY.parse().unwrap(), &[], NOW).unwrap().unwrap();
        assert_eq!(read(&planning), expected);
    }
}

#[test]
fn who_does_not_confirm_in_time_is_forgotten() {
    for mut ledger in ledgers() {
        ledger.ask(&Recipient::new("a@example.org"), NOW).unwrap();
        ledger.ask(&Recipient::new("b@example.org"), NOW + TimeDelta::seconds(1)).unwrap();
        let end = NOW + CONFIRMATION;
        assert_eq!(ledger.forget_requests(end - TimeDelta::seconds(1)).unwrap(), 0);
        assert_eq!(ledger.forget_requests(end).unwrap(), 1);
        assert_eq!(count(&ledger, "requests"), 1);
        assert_eq!(ledger.forget_requests(end).unwrap(), 0);
    }
}

#[test]
fn whoever_did_not_plan_is_told_the_languages_of_what_waits() {
    for mut ledger in ledgers() {
        let in_language = |name: &str, language: Option<&str>| {
            let mut planned = digest(name, DAY);
            planned.addressee.language = language.map(str::to_owned);
            planned
        };
        let digests =
            [in_language("a", Some("en")), in_language("b", Some("fr")), in_language("c", None)];
        let ids = plan(&mut ledger, &digests, NOW).unwrap();
        ledger.mark(&[(ids[1], Mark::Sent)], NOW).unwrap();
        assert_eq!(ledger.languages(DAY.parse().unwrap()).unwrap(), ["en"]);
    }
}

#[test]
fn what_earlier_versions_remembered_is_understood() {
    let entry = |section: &str, what: &str| -> Entry {
        let json = format!(
            r#"{{"posting":"p","section":"{section}","what":{what},"closes":null,"stage":7}}"#
        );
        serde_json::from_str(&json).unwrap()
    };
    for (section, what, expected) in [
        ("closing", "null", Section::Closing),
        ("new", "null", Section::New),
        ("changed", "\"moved\"", Section::Changed(Change::Moved)),
        ("changed", "\"withdrawn\"", Section::Changed(Change::Withdrawn)),
        ("owner", "\"still-open\"", Section::Owner(Duty::StillOpen)),
        ("owner", "\"endless\"", Section::Owner(Duty::Endless)),
    ] {
        let entry = entry(section, what);
        assert_eq!(entry.section, expected);
        // The names that people see are those that are kept.
        let kept = serde_json::to_value(&entry).unwrap();
        assert_eq!(kept["section"], expected.as_str());
        assert_eq!(kept["what"].as_str(), expected.what());
    }
}

#[test]
fn nobody_is_planned_for_who_left_after_the_list_was_read() {
    for mut ledger in ledgers() {
        let folder = tempfile::tempdir().unwrap();
        ledger.forget(folder.path(), "a", NOW).unwrap();
        ledger.suppress("b", Reason::Unsubscribed, NOW).unwrap();
        let mut planning = ledger.plan(DAY.parse().unwrap(), &[], NOW).unwrap().unwrap();
        planning.enter_all(&[digest("a", DAY), digest("b", DAY), digest("c", DAY)]).unwrap();
        assert_eq!(planning.commit().unwrap(), 1);
        assert_eq!(count(&ledger, "digests"), 1);
    }
}

#[test]
fn of_who_asked_to_be_forgotten_nothing_is_written_down() {
    for mut ledger in ledgers() {
        let folder = tempfile::tempdir().unwrap();
        ledger.forget(folder.path(), "a@example.org", NOW).unwrap();
        let recipient = Recipient::new("a@example.org");
        let (source, asked_at, confirmed_at) = (Source::List, NOW, NOW);
        ledger.put(&Subscriber { recipient, source, asked_at, confirmed_at }).unwrap();
        assert_eq!(count(&ledger, "subscribers"), 0);
    }
}
