//! What is about a server only.

use super::*;

/// A schema on the server.
fn schema() -> Schema {
    let url = address_of_server();
    Schema::on(&url.expect("`CRIEUR_TEST_POSTGRES` has to name a server: postgres://…"))
}

/// Seconds, by the server's clock, that a machine is taken to live from now on.
fn alive_for(ledger: &Ledger, sender: &str) -> i64 {
    let query = "SELECT alive_until - extract(epoch FROM clock_timestamp())::BIGINT
         FROM senders WHERE id = ?1";
    ledger.database.value(query, values![sender]).unwrap()
}

fn set_alive_for(ledger: &Ledger, seconds: i64) {
    let statement = "UPDATE senders SET alive_until
         = extract(epoch FROM clock_timestamp())::BIGINT + ?2 WHERE id = ?1";
    assert_eq!(ledger.database.execute(statement, values![&ledger.sender, seconds]).unwrap(), 1);
}

/// What one machine holds another leaves alone, until it is dead.
#[test]
fn machines_share_the_digests_of_a_server() {
    let schema = schema();
    let mut first = Ledger::connect(&schema.address).unwrap();
    let mut second = Ledger::connect(&schema.address).unwrap();
    let day: NaiveDate = DAY.parse().unwrap();
    let heart = first.hold().unwrap();
    second.hold_for_ever();
    let mut planning = first.plan(DAY.parse().unwrap(), &[], NOW).unwrap().unwrap();
    for number in 0..6 {
        planning.enter(&digest(&number.to_string(), DAY)).unwrap();
    }
    planning.commit().unwrap();
    let ids = |waiting: Vec<Waiting>| -> Vec<i64> { waiting.iter().map(|w| w.id).collect() };
    let mine = ids(first.waiting(day, &[], None, 3).unwrap());
    let theirs = ids(second.waiting(day, &[], None, 9).unwrap());
    assert_eq!((mine.len(), theirs.len()), (3, 3));
    assert!(mine.iter().all(|id| !theirs.contains(id)));
    // Nobody sends what somebody else holds.
    assert_eq!(second.mark(&[(mine[0], sending())], NOW).unwrap(), [mine[0]]);
    assert_eq!(first.mark(&[(mine[0], sending())], NOW).unwrap(), Vec::<i64>::new());
    assert_eq!(second.doubt_interrupted().unwrap(), 0);
    // Whoever comes while somebody is at work plans nothing anew, and sends what is left.
    assert!(second.plan(day, &[], NOW).unwrap().is_none());
    assert_eq!(second.free(day, &[]).unwrap(), 3);
    assert_eq!(second.free(day, &["4".to_owned(), "x".to_owned()]).unwrap(), 1);
    // One that is through with it, or dead, is no reason not to plan.
    let mut third = Ledger::connect(&schema.address).unwrap();
    third.hold_for_ever();
    third.database.execute("UPDATE plans SET sender = 'gone'", &[]).unwrap();
    assert!(third.plan(day, &[], NOW).unwrap().is_some());
    // A new plan of another day leaves alone what is held.
    let tomorrow = day.succ_opt().unwrap();
    second.plan(tomorrow, &[], NOW).unwrap().unwrap().commit().unwrap();
    let held = "SELECT count(*) FROM digests WHERE state <> 'abandoned'";
    assert_eq!(second.database.value::<u32>(held, &[]).unwrap(), 3);
    drop(heart);
    assert_eq!(second.doubt_interrupted().unwrap(), 1);
    let after: Vec<Waiting> = second.waiting(day, &[], None, 9).unwrap();
    assert_eq!(after.len(), 3);
    // Whoever comes back finds that nothing is its own any more.
    assert_eq!(first.mark(&[(mine[1], sending())], NOW).unwrap(), [mine[1]]);
    for (ledger, expected) in [(&mut first, "in_doubt"), (&mut second, "sent")] {
        ledger.mark(&[(mine[0], Mark::Sent)], NOW).unwrap();
        let state = "SELECT state FROM digests WHERE id = ?1";
        let state: String = ledger.database.value(state, values![mine[0]]).unwrap();
        assert_eq!(state, expected);
    }
}

#[test]
fn a_machine_that_sends_goes_on_saying_that_it_lives() {
    let schema = schema();
    let first = Ledger::connect(&schema.address).unwrap();
    let second = Ledger::connect(&schema.address).unwrap();
    let heart = first.hold().unwrap();
    assert!(alive_for(&second, &first.sender) > 20);
    set_alive_for(&first, 1);
    // Every five seconds; a machine that is busy may be late.
    let mut waited = 0;
    while alive_for(&second, &first.sender) <= 20 {
        assert!(waited < 60_000, "its heart has stopped");
        std::thread::sleep(Duration::from_millis(50));
        waited += 50;
    }
    drop(heart);
    assert_eq!(count(&second, "senders"), 0);
}

/// Whether it is dead or asleep: nobody can tell.
#[test]
fn what_a_machine_held_that_says_nothing_is_taken_over() {
    let schema = schema();
    let mut first = Ledger::connect(&schema.address).unwrap();
    let mut second = Ledger::connect(&schema.address).unwrap();
    first.hold_for_ever();
    second.hold_for_ever();
    let day: NaiveDate = DAY.parse().unwrap();
    let mut planning = first.plan(day, &[], NOW).unwrap().unwrap();
    planning.enter_all(&[digest("a", DAY), digest("b", DAY)]).unwrap();
    planning.commit().unwrap();
    let ids = |waiting: Vec<Waiting>| -> Vec<i64> { waiting.iter().map(|w| w.id).collect() };
    let held = ids(first.waiting(day, &[], None, 9).unwrap());
    assert_eq!(held.len(), 2);
    assert!(first.mark(&[(held[0], sending())], NOW).unwrap().is_empty());
    set_alive_for(&first, 60);
    assert_eq!(second.doubt_interrupted().unwrap(), 0);
    assert!(second.waiting(day, &[], None, 9).unwrap().is_empty());
    // Its last sign is too long ago.
    set_alive_for(&first, -1);
    assert_eq!(second.doubt_interrupted().unwrap(), 1);
    assert_eq!(ids(second.waiting(day, &[], None, 9).unwrap()), held);
    // It wakes up, and finds before the next message leaves that nothing is its own any more; not even
    // when it says that it lives.
    assert_eq!(first.mark(&[(held[1], sending())], NOW).unwrap(), [held[1]]);
    first.hold_for_ever();
    assert_eq!(first.mark(&[(held[1], sending())], NOW).unwrap(), [held[1]]);
    assert!(second.mark(&[(held[1], sending())], NOW).unwrap().is_empty());
}

/// A machine that was asleep while nobody else came sends nothing either, until it says that it lives.
#[test]
fn who_was_asleep_for_long_holds_nothing() {
    let schema = schema();
    let mut ledger = Ledger::connect(&schema.address).unwrap();
    ledger.hold_for_ever();
    let ids = plan(&mut ledger, &[digest("a", DAY)], NOW).unwrap();
    set_alive_for(&ledger, -1);
    assert_eq!(ledger.mark(&[(ids[0], sending())], NOW).unwrap(), ids);
    set_alive_for(&ledger, 60);
    assert!(ledger.mark(&[(ids[0], sending())], NOW).unwrap().is_empty());
}

/// What is in a file is on the server afterwards, and goes on there.
#[test]
fn a_ledger_moves_to_a_server() {
    let schema = schema();
    let folder = tempfile::tempdir().unwrap();
    let mut file = Ledger::open(folder.path()).unwrap();
    let text = vec![b'x'; 3_000];
    let message = [b"To: a\r\n".to_vec(), text].concat();
    let mark = Mark::Sending {
        message_id: "<a@b>".to_owned(),
        message: message.clone().into(),
        shared: shared(&message, std::iter::once(7..3_007).collect()),
    };
    let ids = plan(&mut file, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
    file.mark(&[(ids[0], mark), (ids[1], sending())], NOW).unwrap();
    file.mark(&[(ids[0], Mark::InDoubt("?".to_owned())), (ids[1], Mark::Sent)], NOW).unwrap();
    file.suppress("gone@example.org", Reason::Unsubscribed, NOW).unwrap();
    let token = file.renewed_keys(NOW).unwrap().token(Purpose::Unsubscribe, "a@b");
    file.ask(&Recipient::new("asked@example.org"), NOW).unwrap();

    let mut there = Ledger::connect(&schema.address).unwrap();
    assert!(file.copy_to(&mut there).unwrap().unwrap() >= 8);
    assert_eq!(there.doubtful().unwrap(), file.doubtful().unwrap());
    assert_eq!(there.doubtful().unwrap()[0].message, message);
    assert!(there.suppressions().unwrap().contains("gone@example.org"));
    assert_eq!(there.keys().unwrap().named(Purpose::Unsubscribe, &token).as_deref(), Some("a@b"));
    assert_eq!(there.asked(NOW).unwrap(), file.asked(NOW).unwrap());
    assert_eq!(there.planned_days(today()).unwrap(), file.planned_days(today()).unwrap());
    let day: NaiveDate = DAY.parse().unwrap();
    let past = |ledger: &Ledger| format!("{:?}", ledger.past("b", day).unwrap());
    assert_eq!(past(&there), past(&file));
    // It goes on with numbers of its own, and nothing is written over.
    there.hold_for_ever();
    plan(&mut there, &[digest("c", DAY)], NOW).unwrap();
    assert_eq!(file.copy_to(&mut there).unwrap(), None);
}

#[test]
fn who_sends_elsewhere_keeps_its_texts_and_who_only_reads_changes_no_table() {
    let schema = schema();
    let mut first = Ledger::connect(&schema.address).unwrap();
    let mut second = Ledger::connect(&schema.address).unwrap();
    let day: NaiveDate = DAY.parse().unwrap();
    let (_one, two) = (first.hold().unwrap(), second.hold().unwrap());
    plan(&mut first, &[digest("a", DAY), digest("b", DAY)], NOW).unwrap();
    let ids: Vec<i64> = second.waiting(day, &[], None, 9).unwrap().iter().map(|w| w.id).collect();
    let shared = Mark::Sending {
        message_id: "<x@y>".to_owned(),
        message: b"text".to_vec().into(),
        shared: vec![Shared { range: 0..4, fingerprint: [1; 32] }],
    };
    for id in &ids {
        assert!(second.mark(&[(*id, shared.clone())], NOW).unwrap().is_empty());
        assert_eq!(messages::read(&second.database, *id).unwrap(), b"text");
        second.mark(&[(*id, Mark::Sent)], NOW).unwrap();
        // No message is made of the text any more, and whoever wrote it knows it by heart.
        first.prune(day).unwrap();
        assert_eq!(count(&first, "texts"), 1);
    }
    // Alone, the other one removes what is of no use.
    // The server lets go a moment after the connection is closed.
    second.database.execute("SELECT pg_advisory_unlock_all()", &[]).unwrap();
    drop((two, second));
    first.prune(day).unwrap();
    assert_eq!(count(&first, "texts"), 0);

    let read = || Ledger::connect_to_read(&schema.address);
    assert_eq!(read().unwrap().unwrap().unsent(&[]).unwrap().waiting, 0);
    assert!(read().unwrap().unwrap().prune(day).is_err());
    let version = |version: u32| {
        let query = "UPDATE crieur SET version = ?1";
        first.database.execute(query, values![version]).unwrap();
    };
    // What changes nothing on a server is no reason to wait.
    version(6);
    assert!(read().is_ok());
    version(5);
    assert!(matches!(read(), Err(Error::Outdated { .. })));
    version(known_version() + 1);
    assert!(matches!(read(), Err(Error::TooNew { .. })));
    first.database.execute("DROP TABLE crieur", &[]).unwrap();
    assert!(read().unwrap().is_none());
}

/// A database that is not there will not be there in an hour; a server that is away may be.
#[test]
fn what_a_server_refuses_for_good_is_for_a_person_to_mend() {
    let schema = schema();
    let is_temporary = |url: &str| {
        let address = Address::new(url, None, || Err("it is here".to_owned()), |why| why).unwrap();
        Ledger::connect(&address).map(|_| ()).unwrap_err().is_temporary()
    };
    let (server, _) = schema.url.rsplit_once('/').unwrap();
    assert!(!is_temporary(&format!("{server}/nothing_of_this_name")));
    assert!(!is_temporary(&schema.url.replace("//crieur@", "//nobody_of_this_name@")));
    assert!(is_temporary("postgres://crieur@127.0.0.1:1/postgres"));
}
