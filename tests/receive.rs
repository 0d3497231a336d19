//! What comes back by mail, in the forms of many systems: `tests/returned/` has a message of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Output, Site};
use crieur::ledger::Ledger;
use crieur::mail::unsubscribe::return_path;
use crieur::tokens::Purpose;

const NOW: &str = "--now=2021-09-01";
const BOUNCES: &str = "bounces@example.org";
const PERSON: &str = "person@example.com";

fn site() -> Site {
    let site = Site::new();
    site.write(
        "content/site.yaml",
        format!(
            "title: Offres\nurl: https://jobs.example.org/\nmail:\n  from: \"Offres <emplois@example.org>\"\n  bounces: {BOUNCES}\nunsubscribe: {{ mailto: off@example.org, url: 'https://jobs.example.org/off' }}\n"
        ),
    );
    site.write(
        "content/recipients.yaml",
        format!("- email: {PERSON}\n- email: other@example.com\n"),
    );
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-02");
    site.run(&[NOW, "remind"]).exits(0);
    site
}

fn receive(site: &Site, now: &str, message: &[u8]) -> Output {
    let mut command = site.command();
    command.args([now, "receive"]);
    receive_by(command, message)
}

fn receive_by(mut command: Command, message: &[u8]) -> Output {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(message).unwrap();
    let output = process.wait_with_output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// A message of another system about the digest that was sent.
fn returned(site: &Site, text: &str) -> String {
    let keys = Ledger::open(&site.path(".crieur")).unwrap().keys().unwrap();
    let token = keys.token(Purpose::Unsubscribe, PERSON);
    let digest = site.files(".crieur/outbox").into_values().map(|b| String::from_utf8(b).unwrap());
    let digest = digest.into_iter().find(|text| text.contains(&format!("To: {PERSON}"))).unwrap();
    let id = digest.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    text.replace("{{return_path}}", &return_path(BOUNCES, &keys, PERSON))
        .replace("{{message_id}}", id.trim_matches(['<', '>']))
        .replace("{{recipient}}", PERSON)
        .replace("{{unsubscribe_url}}", &format!("https://jobs.example.org/off?token={token}"))
        .replace("{{unsubscribe_token}}", &token)
}

fn state(site: &Site, email: &str) -> String {
    let list = site.run(&[NOW, "recipients", "list", "--format=json"]).exits(0).json();
    let row = list.as_array().unwrap().iter().find(|row| row["email"] == email).unwrap().clone();
    row["state"].as_str().unwrap().to_owned()
}

/// What is remembered of what came back.
fn remembered(site: &Site) -> Vec<(String, String, String)> {
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    let mut query = ledger.prepare("SELECT recipient, kind, reason FROM returned").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn every_system_is_understood() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/returned");
    let expected = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let mut count = 0;
    for line in expected.lines().skip(1) {
        let [file, kind, status, proof] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let site = site();
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let message = returned(&site, &text);
        assert!(!message.contains("{{"), "{file}");
        let output = receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(output.stdout, "", "{file}");
        assert!(!output.stderr.contains(PERSON), "{file}: {}", output.stderr);
        let is_certain = proof != "none";
        let expected = match kind {
            "permanent" if is_certain => "bounced",
            "complaint" if is_certain => "complained",
            "unsubscribe" => "unsubscribed",
            _ => "subscribed",
        };
        assert_eq!(state(&site, PERSON), expected, "{file}: {}", output.stderr);
        assert_eq!(state(&site, "other@example.com"), "subscribed", "{file}");
        let remembered = remembered(&site);
        match kind {
            "permanent" | "temporary" => {
                assert_eq!(remembered.len(), 1, "{file}: {remembered:?}");
                assert_eq!((&*remembered[0].0, &*remembered[0].1), (PERSON, kind), "{file}");
                let is_said = status == "-" || remembered[0].2.contains(status);
                assert!(is_said, "{file}: {remembered:?}");
            }
            "nothing" | "unsubscribe" => assert!(remembered.is_empty(), "{file}: {remembered:?}"),
            _ => {}
        }
        // However often it comes, it is the same.
        receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), expected, "{file}, again");
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn a_sender_that_postfix_named_is_none() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/returned");
    for file in ["yahoo.eml", "no-original-text.eml", "yahoo-words.eml"] {
        let site = site();
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let message = returned(&site, &text);
        assert!(message.contains("Return-Path: <>"), "{file}");
        let message = message.replace("Return-Path: <>", "Return-Path: <MAILER-DAEMON>");
        receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(remembered(&site).len(), 1, "{file}");
    }
}

#[test]
fn a_link_whose_space_was_not_understood_is_one() {
    for space in [" ", "%20", "+"] {
        let site = site();
        let subject = returned(&site, &format!("unsubscribe{space}{{{{unsubscribe_token}}}}"));
        let message = format!("From: x@example.net\nTo: off@example.org\nSubject: {subject}\n\n");
        receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), "unsubscribed", "{space}");
    }
}

#[test]
fn what_came_back_before_somebody_was_taken_in_again_does_not_count() {
    let site = site();
    let full = proven(&site, "4.2.2", "452 mailbox full");
    for day in 1..=10 {
        receive(&site, &format!("--now=2021-09-{day:02}"), full.as_bytes()).exits(0);
    }
    assert_eq!(state(&site, PERSON), "bounced");
    site.run(&[NOW, "unsubscribe", PERSON, "--undo"]).exits(0);
    receive(&site, "--now=2021-09-20", full.as_bytes()).exits(0);
    assert_eq!(state(&site, PERSON), "subscribed");
}

/// The digest's report of a kind: with everything that proves it.
fn proven(site: &Site, status: &str, said: &str) -> String {
    let report = forged("failed", status)
        .replace("no such user", said)
        .replace(&format!("To: {BOUNCES}"), "To: {{return_path}}");
    returned(site, &report.replace(&format!("smtp; 550 {status} "), "smtp; "))
}

#[test]
fn the_word_of_a_server_is_about_the_address_or_it_only_counts() {
    for (status, said, expected) in [
        ("5.0.0", "550 user unknown", "bounced"),
        ("5.0.0", "unknown", "bounced"),
        ("5.0.0", "552 exceeded storage allocation", "subscribed"),
        ("5.0.0", "554 rejected as spam", "subscribed"),
        ("5.0.0", "550 5.7.1 blocked", "subscribed"),
        ("5.0.0", "554 5.1.1 nobody", "bounced"),
        ("5.2.3", "too long", "subscribed"),
        ("5.2.1", "disabled", "bounced"),
        ("4.4.7", "expired", "subscribed"),
    ] {
        let site = site();
        receive(&site, NOW, proven(&site, status, said).as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), expected, "{status} {said}");
        assert_eq!(remembered(&site).len(), 1, "{status} {said}");
    }
}

#[test]
fn who_was_ever_written_to_can_leave() {
    let site = site();
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", format!("{settings}reminders: {{ owners: true }}\n"));
    site.posting("b.md", "title: B\ncloses: 2021-09-03\ncontact: owner@example.net");
    site.run(&["--now=2021-09-02", "remind"]).exits(0);
    let message = "From: owner@example.net\nSubject: unsubscribe\n\n";
    let said = receive(&site, "--now=2021-09-02", message.as_bytes()).exits(0).stderr;
    assert!(said.contains("is not written to any more"), "{said}");
}

/// A report as anybody could write one, who knows an address.
fn forged(action: &str, status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@example.net\nTo: {BOUNCES}\nSubject: failed\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\nNo.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; {PERSON}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: smtp; 550 {status} no such user\n\n--b--\n"
    )
}

#[test]
fn a_report_that_proves_nothing_counts_on_three_days() {
    let site = site();
    for (day, expected) in
        [("02", "subscribed"), ("02", "subscribed"), ("03", "subscribed"), ("04", "bounced")]
    {
        receive(&site, &format!("--now=2021-09-{day}"), forged("failed", "5.1.1").as_bytes())
            .exits(0);
        assert_eq!(state(&site, PERSON), expected, "{day}");
    }
}

/// The address that a message came back to says about whom it is, and mail servers tell of it in ways of
/// their own.
#[test]
fn the_address_that_a_message_came_to_is_told_in_several_ways() {
    for (way, expected) in [
        ("by nobody", "subscribed"),
        ("as an argument", "bounced"),
        ("in the environment", "bounced"),
        ("in the argument and not in the environment", "bounced"),
        ("in the mailbox's own headers", "bounced"),
    ] {
        let site = site();
        let came_to = returned(&site, "{{return_path}}");
        assert!(came_to.starts_with("bounces+"), "{came_to}");
        let report = forged("failed", "5.1.1").replace(&format!("To: {BOUNCES}\n"), "");
        assert!(!report.contains(BOUNCES));
        let mut command = site.command();
        command.args([NOW, "receive"]);
        match way {
            "as an argument" => command.args(["--recipient", &came_to]),
            "in the environment" => command.env("ORIGINAL_RECIPIENT", &came_to),
            "in the argument and not in the environment" => {
                command.args(["--recipient", &came_to]).env("ORIGINAL_RECIPIENT", BOUNCES)
            }
            _ => &mut command,
        };
        let report = if way == "in the mailbox's own headers" {
            let from = "From MAILER-DAEMON@example.net  Wed Sep  1 10:00:00 2021";
            format!("{from}\nDelivered-To: {came_to}\n{report}")
        } else {
            report
        };
        receive_by(command, report.as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), expected, "{way}");
        assert_eq!(remembered(&site).len(), 1, "{way}");
    }
}

#[test]
fn what_is_late_or_full_is_no_reason_to_leave_somebody_out() {
    let site = site();
    for report in [
        forged("delayed", "4.4.1"),
        forged("delivered", "2.1.5"),
        forged("relayed", "2.0.0"),
        forged("expanded", "2.0.0"),
    ] {
        receive(&site, NOW, report.as_bytes()).exits(0);
    }
    assert!(remembered(&site).is_empty());
    for day in 2..=9 {
        for status in ["4.2.2", "5.2.2", "5.7.1", "5.3.4", "5.1.8"] {
            let now = format!("--now=2021-09-0{day}");
            receive(&site, &now, forged("failed", status).as_bytes()).exits(0);
        }
    }
    assert_eq!(state(&site, PERSON), "subscribed");
    // After ten days in a row nobody reads there any more.
    for day in 10..=11 {
        receive(&site, &format!("--now=2021-09-{day}"), forged("failed", "4.2.2").as_bytes())
            .exits(0);
    }
    assert_eq!(state(&site, PERSON), "bounced");
}

#[test]
fn a_mail_to_leave_is_understood_however_it_is_written() {
    for (subject, extra, expected) in [
        ("unsubscribe", "", "unsubscribed"),
        ("Unsubscribe", "", "unsubscribed"),
        ("Désabonnement", "", "unsubscribed"),
        ("=?utf-8?Q?d=C3=A9sabonner?=", "", "unsubscribed"),
        ("Unsubscribe!", "", "unsubscribed"),
        ("unsubscribe, please", "", "unsubscribed"),
        ("Re: unsubscribe", "", "subscribed"),
        ("How do I unsubscribe?", "", "subscribed"),
        ("unsubscribe", "Auto-Submitted: auto-replied\n", "subscribed"),
        ("unsubscribe", "Precedence: bulk\n", "subscribed"),
        ("unsubscribe", "Return-Path: <>\n", "subscribed"),
        ("", "", "subscribed"),
    ] {
        let site = site();
        let message = format!(
            "{extra}From: Person <Person@Example.com>\nTo: off@example.org\nSubject: {subject}\n\n\n"
        );
        receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), expected, "{subject} {extra}");
        assert_eq!(state(&site, "other@example.com"), "subscribed");
    }
}

#[test]
fn nothing_is_too_strange_to_be_read() {
    let site = site();
    let nested = format!("{}\n\nx", "Content-Type: message/rfc822\n\n".repeat(5_000));
    let deep = "Content-Type: message/rfc822\n\n".repeat(200_000);
    let boundary = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(2_000);
    let long = format!("From: a@b\nSubject: {}\n\n{}", "x".repeat(1 << 20), "y ".repeat(1 << 20));
    let words = format!(
        "From: mailer-daemon@x\nReturn-Path: <>\n\n{}",
        "aaaaaaaaaa.bbbbbbbbbbbbbbbbbbb ".repeat(100_000)
    );
    let invalid: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for message in [
        b"".as_slice(),
        b"\n",
        b"\0",
        &invalid,
        nested.as_bytes(),
        deep.as_bytes(),
        boundary.as_bytes(),
        long.as_bytes(),
        words.as_bytes(),
    ] {
        receive(&site, NOW, message).exits(0);
    }
    assert!(remembered(&site).is_empty());
    assert_eq!(state(&site, PERSON), "subscribed");
}

#[test]
fn a_message_is_kept_by_the_mail_server_until_it_can_be_read() {
    let site = site();
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", "title: [\n");
    receive(&site, NOW, forged("failed", "5.1.1").as_bytes()).exits(75);
    site.write("content/site.yaml", settings);
    site.write(".crieur/ledger.sqlite3", "no database");
    receive(&site, NOW, forged("failed", "5.1.1").as_bytes()).exits(75);
}

/// Without `mail.bounces` an id is made of what anybody knows.
#[test]
fn an_id_that_anybody_can_say_proves_nothing() {
    let site = site();
    let settings = site.read("content/site.yaml");
    let settings: String = settings
        .lines()
        .filter(|line| !line.contains("bounces"))
        .map(|l| format!("{l}\n"))
        .collect();
    site.write("content/site.yaml", settings);
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    let query = "SELECT message_id FROM digests WHERE recipient = ?1";
    let id: String = ledger.query_row(query, [PERSON], |row| row.get(0)).unwrap();
    drop(ledger);
    for day in 1..=3 {
        assert_eq!(state(&site, PERSON), "subscribed");
        let report = format!(
            "From: fbl@example.net\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: {id}\n\n--b--\n"
        );
        receive(&site, &format!("--now=2021-10-0{day}"), report.as_bytes()).exits(0);
    }
    assert_eq!(state(&site, PERSON), "bounced");
}

#[test]
fn nobody_can_say_the_id_of_a_message_beforehand() {
    use sha2::Digest;
    let site = site();
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    let query = "SELECT message_id, day FROM digests WHERE recipient = ?1";
    let (id, day): (String, String) =
        ledger.query_row(query, [PERSON], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let (_, list) = id.trim_end_matches('>').split_once('@').unwrap();
    let known = sha2::Sha256::digest(format!("{list}\n{PERSON}\n{day}"));
    let known: String = known.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    assert!(!id.contains(&known), "{id}");
}

/// What matters stands at the beginning: whatever else is sent is read by nobody.
#[test]
fn half_a_megabyte_of_a_message_is_read() {
    for (padding, expected) in [(100 << 10, "bounced"), (600 << 10, "subscribed")] {
        let site = site();
        let line = "This is no report.\n";
        let padding = line.repeat(padding / line.len());
        let report = proven(&site, "5.1.1", "550 5.1.1 no such user");
        let message = report.replace("\n\nNo.\n", &format!("\n\n{padding}"));
        assert!(message.len() > padding.len() + 100);
        receive(&site, NOW, message.as_bytes()).exits(0);
        assert_eq!(state(&site, PERSON), expected);
        assert_eq!(remembered(&site).len(), usize::from(expected == "bounced"));
    }
}
