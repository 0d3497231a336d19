//! Digests: due ones leave once, through the ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs::File;

use common::Site;

fn site() -> Site {
    let site = Site::new();
    site.write(
        "content/recipients.yaml",
        "- email: a@example.org\n- email: b@example.org\n  language: en\n  domains: [design]\n- email: not an address\n",
    );
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-03");
    site.posting("b.md", "title: Designer\ndomains: design\ncloses: 2021-09-05");
    site
}

fn outbox(site: &Site) -> Vec<String> {
    site.files(".crieur/outbox")
        .into_values()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect()
}

#[test]
fn a_run_publishes_and_reminds_and_the_next_sends_nothing_again() {
    let site = site();
    let run = site.run(&["--now=2021-08-31", "run"]).exits(1);
    assert!(run.stderr.contains("`not an address` is not a mail address"), "{}", run.stderr);
    assert!(site.exists("out/feed.atom"));
    let mails = outbox(&site);
    assert_eq!(mails.len(), 2);
    let again = site.run(&["--now=2021-08-31T18:00:00Z", "run"]).exits(1);
    assert!(again.stderr.contains("no digest is due"), "{}", again.stderr);
    assert_eq!(outbox(&site), mails);
    // The day before the first closes; the second keeps its stage.
    site.run(&["--now=2021-09-02", "run"]).exits(1);
    assert_eq!(outbox(&site).len(), 4);
}

#[test]
fn nothing_leaves_before_the_hour() {
    let site = site();
    site.run(&["--now=2021-08-31T07:59:00+02:00", "remind"]).exits(1);
    assert!(outbox(&site).is_empty());
    site.run(&["--now=2021-08-31T08:00:00+02:00", "remind"]).exits(1);
    assert_eq!(outbox(&site).len(), 2);
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let site = site();
    let dry = site.run(&["--now=2021-08-31", "remind", "--dry-run"]).exits(1);
    assert!(
        dry.stdout.contains(
            "b@example.org: One posting closes soon: Designer\n  b closes 2021-09-05: Designer\n"
        ),
        "{}",
        dry.stdout
    );
    assert!(!site.exists(".crieur"));
    let one = site
        .run(&["--now=2021-08-31", "remind", "--dry-run", "--recipient", "A@example.org"])
        .exits(1);
    assert!(
        one.stdout.starts_with("a@example.org: 2 offres ferment bientôt\n")
            && !one.stdout.contains("b@"),
        "{}",
        one.stdout
    );
    site.run(&["remind", "--recipient", "nobody@example.org"]).exits(2);
}

#[test]
fn what_was_planned_and_never_sent_is_planned_anew() {
    let site = site();
    // A folder that cannot be made: the outbox's name is taken.
    site.write(".crieur/outbox", "in the way");
    site.run(&["--now=2021-08-31", "remind"]).exits(75);
    std::fs::remove_file(site.path(".crieur/outbox")).unwrap();
    // The same day, after the first has closed: what is open is announced, and nothing stale.
    site.posting("a.md", "title: Développeuse\ncloses: 2021-08-31T09:00:00+02:00");
    site.run(&["--now=2021-08-31T20:00:00+02:00", "remind"]).exits(1);
    let mails = outbox(&site);
    assert_eq!(mails.len(), 2);
    assert!(
        mails
            .iter()
            .all(|mail| mail.contains("postings/b.html") && !mail.contains("postings/a.html"))
    );
}

#[test]
fn a_long_digest_is_cut_with_a_link() {
    let site = Site::new();
    site.write("content/recipients.yaml", "- email: a@example.org\n");
    for n in 0..80 {
        let title = "Ж".repeat(200);
        site.posting(
            &format!("p{n}.md"),
            &format!("title: {title}\nrole: {title}\nteam: {title}\ncloses: 2021-09-03"),
        );
    }
    site.run(&["--now=2021-08-31", "remind"]).exits(0);
    let mails = outbox(&site);
    assert!(mails[0].len() < 90_000, "{}", mails[0].len());
    assert!(mails[0].contains("Et 6") || mails[0].contains("Et 5"), "{}", mails[0]);
}

#[test]
fn two_runs_at_once_do_not_send_twice() {
    let site = site();
    site.run(&["--now=2021-08-31T07:00:00+02:00", "remind"]).exits(1);
    let lock = File::open(site.path(".crieur/remind.lock")).unwrap();
    lock.lock().unwrap();
    let second = site.run(&["--now=2021-08-31", "remind"]).exits(75);
    assert!(second.stderr.contains("another run is sending digests"), "{}", second.stderr);
    assert!(outbox(&site).is_empty());
}

#[test]
fn without_a_sender_nothing_is_sent() {
    let site = site();
    site.write("content/site.yaml", "title: T\nurl: https://jobs.example.org/\n");
    let remind = site.run(&["--now=2021-08-31", "remind"]).exits(78);
    assert!(remind.stderr.contains("`mail.from` is missing"), "{}", remind.stderr);
    assert!(outbox(&site).is_empty());
}

#[test]
fn no_text_is_a_way_into_the_headers() {
    let site = Site::new();
    site.write(
        "content/recipients.yaml",
        "- email: a@example.org\n  name: \"A\\r\\nBcc: x@example.org\"\n",
    );
    site.posting("a.md", "title: \"T\\r\\nBcc: y@example.org\"\ncloses: 2021-09-01");
    site.run(&["--now=2021-08-31", "remind"]).exits(0);
    let mails = outbox(&site);
    let head = mails[0].split("\r\n\r\n").next().unwrap();
    assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
}

#[test]
fn a_ledger_that_cannot_be_used_stops_the_sending() {
    let site = site();
    site.write(
        ".crieur/ledger.sqlite3",
        "this is no database, and longer than a header of one would be",
    );
    let remind = site.run(&["--now=2021-08-31", "remind"]).exits(78);
    assert!(remind.stderr.contains("the ledger is damaged"), "{}", remind.stderr);
    assert!(remind.stderr.contains("crieur ledger restore"), "{}", remind.stderr);
    assert!(outbox(&site).is_empty());
}
