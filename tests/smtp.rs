//! Mail servers that misbehave, each in its own way: what was not taken is sent later, what was
//! taken is not sent again, and what nobody can know is recorded as that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/smtp.rs"]
mod smtp;

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::{Output, Site};
use serde_json::Value;
use smtp::{Act, Away, Certificate, Options, Server, Step};

const NOW: &str = "--now=2021-08-31";

/// A site with one posting that closes soon, and recipients `a` to so many letters on.
fn site(server: &Server, recipients: usize, smtp: &str) -> Site {
    let site = Site::new();
    let port = server.port;
    let retry = if smtp.contains("retry_after") { "" } else { "retry_after: [0, 0], " };
    // Long enough for a machine that has other things to do. Where a server stalls, tests say less.
    let timeout = if smtp.contains("timeout") { "" } else { "timeout_seconds: 20, " };
    site.write(
        "content/site.yaml",
        format!(
            "title: Offres\nurl: https://jobs.example.org/\nmail:\n  from: \"Offres <offres@example.org>\"\n  transport: smtp\n  smtp: {{ host: 127.0.0.1, port: {port}, {timeout}{retry}{smtp} }}\n"
        ),
    );
    let letters = ('a'..='z').take(recipients);
    let list: String = letters.map(|letter| format!("- email: {letter}@example.org\n")).collect();
    site.write("content/recipients.yaml", list);
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-03");
    site
}

/// How long the program waits for a server that does something.
fn patience(act: &Act) -> &'static str {
    if matches!(act, Act::Stall) { "timeout_seconds: 1" } else { "timeout_seconds: 20" }
}

fn addresses(letters: &str) -> Vec<String> {
    letters.chars().map(|letter| format!("{letter}@example.org")).collect()
}

fn status(site: &Site) -> Value {
    site.run(&[NOW, "status", "--format", "json"]).exits(0).json()
}

fn remind(site: &Site) -> Output {
    site.run(&[NOW, "remind"])
}

/// A server that does one thing at one step, as often as it is said.
fn once(step: &'static str, recipient: &'static str, times: usize, act: Act) -> Options {
    Options::new(move |at: &Step<'_>| {
        let here = at.name == step && (recipient.is_empty() || at.recipient == recipient);
        (here && at.before < times).then(|| act.clone())
    })
}

#[test]
fn a_server_that_behaves_takes_everything_once_over_few_connections() {
    for offers in [&["PIPELINING", "SIZE 100000"][..], &[]] {
        let server = Server::start(Options::new(|_| None).offers(offers));
        let site = site(&server, 20, "connections: 3");
        let first = remind(&site).exits(0);
        assert_eq!(first.stderr, "20 digests sent\n");
        assert_eq!(server.recipients(), addresses("abcdefghijklmnopqrst"));
        assert!(server.connections() <= 3);
        assert_eq!(remind(&site).exits(0).stderr, "no digest is due\n");
        assert_eq!(server.accepted().len(), 20);
        let status = status(&site);
        assert_eq!(status["runs"][0]["sent"], 20);
        assert_eq!(status["waiting"], 0);
    }
}

#[test]
fn what_is_put_off_is_tried_again_in_the_same_run() {
    for (step, act) in [
        ("rcpt", Act::Say("451 4.7.1 greylisted")),
        ("rcpt", Act::Say("421 4.3.2 going down")),
        ("mail", Act::Say("452 4.3.1 full")),
        ("mail", Act::Say("421 too many messages")),
        ("data", Act::Say("451 later")),
        ("text", Act::Drop),
        ("dot", Act::Say("451 4.3.0 later")),
        ("dot", Act::Say("421 4.3.2 going down")),
        ("rcpt", Act::Drop),
        ("rcpt", Act::Say("what?")),
        ("rcpt", Act::Say("999 strange")),
        ("mail", Act::Say("250-without\r\n300 end")),
        ("rcpt", Act::Stall),
    ] {
        for offers in [&["PIPELINING"][..], &[]] {
            let label = format!("{step} {act:?} {offers:?}");
            let recipient = if step == "mail" { "" } else { "b@example.org" };
            let server = Server::start(once(step, recipient, 1, act.clone()).offers(offers));
            let site = site(&server, 3, &format!("connections: 1, {}", patience(&act)));
            let run = remind(&site);
            assert_eq!(run.code, 0, "{label}: {}", run.stderr);
            assert_eq!(server.recipients(), addresses("abc"), "{label}");
        }
    }
}

#[test]
fn what_is_put_off_for_long_waits_for_the_next_run() {
    let server = Server::start(once("rcpt", "b@example.org", 3, Act::Say("451 greylisted")));
    let site = site(&server, 3, "");
    let first = remind(&site).exits(75);
    assert!(first.stderr.contains("2 digests sent, 1 not taken yet"), "{}", first.stderr);
    assert_eq!(status(&site)["troubles"][0]["reason"], "451 greylisted");
    remind(&site).exits(0);
    assert_eq!(server.recipients(), addresses("abc"));
}

#[test]
fn an_address_that_is_refused_stops_nobody_and_is_left_alone_in_the_end() {
    let server =
        Server::start(once("rcpt", "b@example.org", 99, Act::Say("550 5.1.1 no such user")));
    let site = site(&server, 3, "");
    site.posting("a.md", "title: A\ncloses: 2021-09-20");
    site.write(
        "content/recipients.yaml",
        "- email: a@example.org\n  lead_days: [9, 8, 7, 6, 5]\n- email: b@example.org\n  lead_days: [9, 8, 7, 6, 5]\n",
    );
    for (day, code) in [(11, 1), (12, 1), (13, 1), (14, 0)] {
        let run = site.run(&[&format!("--now=2021-09-{day}"), "remind"]).exits(code);
        assert_eq!(run.stderr.contains("b…@example.org: refused: 550 5.1.1"), code == 1);
        assert!(!run.stderr.contains("b@"), "{}", run.stderr);
        assert_eq!(run.stderr.contains("not written to any more"), day == 13, "{}", run.stderr);
        // Once a day, however often the program runs.
        site.run(&[&format!("--now=2021-09-{day}T20:00:00Z"), "remind"]).exits(0);
    }
    assert_eq!(server.recipients(), addresses("aaaa"));
    assert_eq!(server.commands().iter().filter(|c| c.contains("RCPT TO:<b@")).count(), 3);
    assert_eq!(status(&site)["suppressed"], 1);
}

#[test]
fn a_message_that_may_have_arrived_is_sent_again_the_same_to_the_byte() {
    for act in [Act::AcceptAndDrop, Act::Stall, Act::Say("wha"), Act::Say("354 more?")] {
        let server = Server::start(once("dot", "b@example.org", 1, act.clone()));
        let site = site(&server, 3, patience(&act));
        let run = remind(&site).exits(0);
        assert!(run.stderr.contains("b…@example.org: may have arrived"), "{}", run.stderr);
        let accepted = server.accepted();
        let unique: HashSet<_> = accepted.iter().map(|mail| mail.message.clone()).collect();
        assert_eq!(unique.len(), 3, "{act:?}");
        let expected = if matches!(act, Act::AcceptAndDrop) { "abbc" } else { "abc" };
        assert_eq!(server.recipients(), addresses(expected));
        assert_eq!(status(&site)["in_doubt"], 0);
    }
}

/// Refused the second time, it may have arrived the first time: that is one digest, not two.
#[test]
fn what_is_refused_after_a_doubt_waits_for_a_person_and_is_counted_once() {
    let server = Server::start(Options::new(|at| match (at.name, at.recipient) {
        ("dot", "b@example.org") => Some(Act::AcceptAndDrop),
        ("rcpt", "b@example.org") if at.before > 0 => Some(Act::Say("550 5.1.1 no such user")),
        _ => None,
    }));
    let site = site(&server, 2, "connections: 1");
    let run = remind(&site).exits(1);
    assert!(run.stderr.contains("may have arrived, and is held: 550 5.1.1"), "{}", run.stderr);
    assert!(run.stderr.contains("1 digest sent, 1 in doubt"), "{}", run.stderr);
    assert_eq!(server.recipients(), addresses("ab"));
}

#[test]
fn doubt_lasts_until_the_server_answers_and_ends_with_the_day() {
    let server = Server::start(once("dot", "b@example.org", 4, Act::AcceptAndDrop));
    let site = site(&server, 2, "");
    remind(&site).exits(75);
    assert_eq!(status(&site)["in_doubt"], 1);
    // Three attempts of the first run, one that is dropped and one that is not.
    site.run(&["--now=2021-08-31T20:00:00Z", "remind"]).exits(0);
    let mails: Vec<_> =
        server.accepted().into_iter().filter(|mail| mail.recipient.starts_with('b')).collect();
    assert_eq!(mails.len(), 5);
    assert!(mails.iter().all(|mail| mail == &mails[0]));

    let server = Server::start(once("dot", "b@example.org", 3, Act::AcceptAndDrop));
    let site = self::site(&server, 2, "");
    remind(&site).exits(75);
    // The next day its words would be wrong: what matters is said anew.
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let mails: Vec<_> =
        server.accepted().into_iter().filter(|mail| mail.recipient.starts_with('b')).collect();
    assert_ne!(mails[0].header("Message-ID"), mails[3].header("Message-ID"));
    assert_eq!(mails.len(), 4);
}

#[test]
fn what_is_held_waits_for_a_person() {
    for (decision, mails) in [("--arrived", 1), ("--lost", 2)] {
        let server = Server::start(once("dot", "b@example.org", 1, Act::AcceptAndDrop));
        let site = site(&server, 2, "");
        let settings = site.read("content/site.yaml");
        site.write("content/site.yaml", format!("{settings}reminders: {{ in_doubt: hold }}\n"));
        let run = remind(&site).exits(1);
        assert!(run.stderr.contains("and is held"), "{}", run.stderr);
        remind(&site).exits(1);
        assert_eq!(server.recipients(), addresses("ab"));
        site.run(&[NOW, "ledger", "settle", decision, "B@example.org"]).exits(0);
        // At once, where it was lost: the day's digest did not arrive.
        site.run(&["--now=2021-08-31T20:00:00Z", "remind"]).exits(0);
        let to_b = server.recipients().into_iter().filter(|to| to.starts_with('b')).count();
        assert_eq!(to_b, mails, "{decision}");
    }
}

#[test]
fn a_server_that_is_away_is_a_reason_to_try_later() {
    let server = Server::behaving();
    let site = site(&server, 3, "");
    let settings = site.read("content/site.yaml");
    let away = Away::new();
    let port = |port: u16| format!("port: {port},");
    site.write("content/site.yaml", settings.replace(&port(server.port), &port(away.port)));
    // Three days without a server.
    for day in ["2021-08-30", "2021-08-31", "2021-09-01"] {
        let run = site.run(&[&format!("--now={day}"), "run"]).exits(75);
        assert!(run.stderr.contains("3 not taken yet"), "{}", run.stderr);
        assert!(run.stderr.contains("the next run tries again"), "{}", run.stderr);
    }
    site.write("content/site.yaml", settings);
    site.posting("b.md", "title: Fermée\ncloses: 2021-09-01");
    site.run(&["--now=2021-09-02", "run"]).exits(0);
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 3);
    for mail in &accepted {
        assert!(String::from_utf8_lossy(&mail.message).contains("(ferme demain)"));
    }
}

#[test]
fn who_gets_one_digest_a_week_does_not_wait_another_for_a_server_that_was_away() {
    let server = Server::behaving();
    let site = site(&server, 0, "");
    let settings = site.read("content/site.yaml");
    let away = Away::new();
    let port = |port: u16| format!("port: {port},");
    site.write("content/site.yaml", settings.replace(&port(server.port), &port(away.port)));
    site.write("content/recipients.yaml", "- { email: w@example.org, weekday: Wed, new: true }\n");
    site.posting("a.md", "title: Nouvelle\nopens: 2021-08-30\ncloses: 2021-12-01");
    // 2021-09-01 is a Wednesday.
    for now in [
        "2021-09-01T08:00:00+02:00",
        "2021-09-01T20:00:00+02:00",
        "2021-09-02",
        "2021-09-02T20:00:00+02:00",
    ] {
        site.run(&[&format!("--now={now}"), "run"]).exits(75);
    }
    site.write("content/site.yaml", settings);
    site.run(&["--now=2021-09-03", "run"]).exits(0);
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 1);
    assert!(String::from_utf8_lossy(&accepted[0].message).contains("Nouvelle"));
    site.run(&["--now=2021-09-04", "run"]).exits(0);
    assert_eq!(server.accepted().len(), 1);
}

#[test]
fn what_a_server_says_gives_no_address_away() {
    for said in ["421 4.7.0 <b@example.org> deferred", "550 5.7.1 b@example.org: no"] {
        let step = if said.starts_with('4') { "rcpt" } else { "mail" };
        let server = Server::start(once(step, "", 9999, Act::Say(said)));
        let site = site(&server, 2, "connections: 1, retry_after: []");
        let run = site.run(&[NOW, "-v", "remind"]);
        assert!(run.stderr.contains("b…@example.org"), "{}", run.stderr);
        assert!(!run.stderr.contains("b@example.org"), "{}", run.stderr);
        let status = status(&site);
        assert!(!status["runs"].to_string().contains("b@example.org"), "{status}");
    }
}

#[test]
fn a_sick_server_is_left_alone() {
    let dropping = Server::start(once("rcpt", "", 9999, Act::Drop));
    let site = site(&dropping, 26, "connections: 1, retry_after: []");
    remind(&site).exits(75);
    assert!(dropping.connections() < 15, "{}", dropping.connections());
}

#[test]
fn a_sender_that_is_refused_is_the_operators_to_mend() {
    let server = Server::start(once("mail", "", 9999, Act::Say("550 5.7.1 not you")));
    let site = site(&server, 3, "");
    let run = remind(&site).exits(78);
    assert!(run.stderr.contains("`mail.from`") && run.stderr.contains("not you"), "{}", run.stderr);
    assert_eq!(status(&site)["suppressed"], 0);
}

#[test]
fn few_connections_are_enough_and_a_server_may_count_them() {
    // It takes three messages over each connection.
    let open = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = open.clone();
    let server = Server::start(Options::new(move |step| {
        let messages = counter.load(std::sync::atomic::Ordering::SeqCst);
        match step.name {
            "dot" => {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                None
            }
            "mail" if messages >= 3 => {
                counter.store(0, std::sync::atomic::Ordering::SeqCst);
                Some(Act::Say("421 enough for one connection"))
            }
            _ => None,
        }
    }));
    let site = site(&server, 20, "connections: 1, retry_after: []");
    remind(&site).exits(0);
    assert_eq!(server.accepted().len(), 20);
    assert!(server.connections() >= 7);
}

#[test]
fn letters_beyond_ascii_go_where_they_are_understood() {
    let list = "- jürgen@example.org\n- a@bücher.example\n- b@example.org\n";
    let server = Server::behaving();
    let site = self::site(&server, 1, "");
    site.write("content/recipients.yaml", list);
    remind(&site).exits(0);
    assert_eq!(
        server.recipients(),
        ["a@xn--bcher-kva.example", "b@example.org", "jürgen@example.org"]
    );
    let commands = server.commands();
    let utf8 = commands.iter().filter(|c| c.starts_with("MAIL") && c.contains("SMTPUTF8")).count();
    assert_eq!(utf8, 1, "{commands:#?}");

    let server = Server::start(Options::new(|_| None).offers(&["8BITMIME"]));
    let site = self::site(&server, 1, "");
    site.write("content/recipients.yaml", list);
    let run = remind(&site).exits(1);
    assert!(run.stderr.contains("SMTPUTF8"), "{}", run.stderr);
    assert_eq!(server.recipients(), ["a@xn--bcher-kva.example", "b@example.org"]);
}

#[test]
fn a_message_that_is_too_large_for_the_server_is_not_tried() {
    let server = Server::start(Options::new(|_| None).offers(&["SIZE 100"]));
    let site = site(&server, 2, "");
    let run = remind(&site).exits(1);
    assert!(run.stderr.contains("larger than the server takes"), "{}", run.stderr);
    assert!(server.commands().iter().all(|command| !command.starts_with("MAIL")));
}

fn trusting(site: &Site, server: &Server) {
    site.write("ca.pem", &server.authority);
}

#[test]
fn mail_is_encrypted_and_the_server_is_who_it_says() {
    for (tls, security) in [(false, "starttls"), (true, "tls")] {
        let offers = if tls { vec!["AUTH PLAIN"] } else { vec!["STARTTLS", "PIPELINING"] };
        let options = Options { offers, tls, ..Options::new(|_| None) };
        let server = Server::start(options.clone());
        let smtp = format!("security: {security}, ca_file: ca.pem");
        let site = self::site(&server, 2, &smtp);
        trusting(&site, &server);
        remind(&site).exits(0);
        assert_eq!(server.recipients(), addresses("ab"));

        // An authority that nobody knows.
        let site = self::site(&server, 2, &format!("security: {security}"));
        let run = remind(&site).exits(78);
        assert!(run.stderr.contains("certificate") && run.stderr.contains("ca_file"), "{run:?}");

        // A certificate of somebody else.
        let stranger = Server::start(Options { name: "mail.example.com", ..options });
        let site = self::site(&stranger, 2, &smtp);
        trusting(&site, &stranger);
        let run = remind(&site).exits(78);
        assert!(run.stderr.contains("certificate"), "{}", run.stderr);
        assert!(stranger.accepted().is_empty());
    }
}

#[test]
fn a_server_may_be_its_own_authority_for_those_who_trust_it() {
    let start = |name, certificate| {
        let offers = vec!["STARTTLS"];
        Server::start(Options { offers, name, certificate, ..Options::new(|_| None) })
    };
    for (name, certificate, code, why) in [
        ("127.0.0.1", Certificate::OwnAuthority, 0, ""),
        ("127.0.0.1", Certificate::Expired, 78, "it has expired"),
        ("mail.example.com", Certificate::OwnAuthority, 78, "it is for another name"),
    ] {
        let server = start(name, certificate);
        let site = self::site(&server, 1, "security: starttls, ca_file: ca.pem");
        trusting(&site, &server);
        let run = remind(&site);
        assert!(run.code == code && run.stderr.contains(why), "{certificate:?}: {}", run.stderr);
        assert_eq!(server.accepted().len(), usize::from(code == 0));
    }
    // As the machine's only authority, too; and another server's certificate is none of ours.
    let (server, other) = (
        start("127.0.0.1", Certificate::OwnAuthority),
        start("127.0.0.1", Certificate::OwnAuthority),
    );
    let site = self::site(&server, 1, "security: starttls");
    for (trusted, code) in [(&other, 78), (&server, 0)] {
        site.write("ca.pem", &trusted.authority);
        let mut command = site.command();
        let output = command.args([NOW, "remind"]).env("SSL_CERT_FILE", "ca.pem").output().unwrap();
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn nothing_leaves_unencrypted_that_should_not() {
    let server = Server::behaving();
    let site = self::site(&server, 2, "security: starttls");
    let run = remind(&site).exits(78);
    assert!(run.stderr.contains("offers no STARTTLS"), "{}", run.stderr);
    assert!(server.commands().iter().all(|command| !command.starts_with("MAIL")));
    let settings = site.read("content/site.yaml");
    site.write(
        "content/site.yaml",
        settings.replace("127.0.0.1", "mail.example.org").replace("starttls", "none"),
    );
    let run = site.run(&["check"]).exits(78);
    assert!(run.stdout.contains("does not leave this machine unencrypted"), "{}", run.stdout);
    for (answer, code) in [("502 5.5.1 not here", 78), ("454 4.7.0 not now", 75)] {
        let refusing =
            Server::start(once("starttls", "", 1, Act::Say(answer)).offers(&["STARTTLS"]));
        let site = self::site(&refusing, 1, "security: starttls, retry_after: []");
        let run = remind(&site).exits(code);
        assert!(run.stderr.contains(answer.split_once(' ').unwrap().1), "{}", run.stderr);
        assert!(refusing.accepted().is_empty());
    }
    // What a server says before TLS begins may be anybody's words.
    let injecting = Server::start(
        once("starttls", "", 1, Act::Say("220 go ahead\r\n250-x\r\n250 AUTH PLAIN"))
            .offers(&["STARTTLS"]),
    );
    let site = self::site(&injecting, 1, "security: starttls, retry_after: []");
    let run = remind(&site).exits(75);
    assert!(run.stderr.contains("before TLS"), "{}", run.stderr);
}

#[test]
fn no_password_leaves_before_tls() {
    let with_password = |server: &Server| {
        let smtp = "connections: 1, retry_after: [], security: starttls, ca_file: ca.pem, user: user, password_file: secret";
        let site = self::site(server, 1, smtp);
        trusting(&site, server);
        site.write("secret", "secret");
        site
    };
    let words = |server: &Server| -> Vec<String> {
        let first = |line: String| line.split(' ').next().unwrap_or_default().to_owned();
        server.commands().into_iter().map(first).collect()
    };
    let server = Server::start(Options::new(|_| None).offers(&["STARTTLS", "AUTH PLAIN"]));
    remind(&with_password(&server)).exits(0);
    assert_eq!(words(&server)[..4], ["EHLO", "STARTTLS", "EHLO", "AUTH"]);
    assert_eq!(server.recipients(), addresses("a"));

    // Whoever is in between may leave the offer of TLS out.
    let server = Server::start(Options::new(|_| None).offers(&["AUTH PLAIN"]));
    let run = remind(&with_password(&server)).exits(78);
    assert!(run.stderr.contains("offers no STARTTLS"), "{}", run.stderr);
    assert!(!words(&server).contains(&"AUTH".to_owned()), "{:?}", server.commands());

    // A way to log in that was offered before TLS was anybody's offer.
    let otherwise = Act::Say("250-mx.example.org\r\n250 8BITMIME");
    let script =
        move |at: &Step<'_>| (at.name == "ehlo" && at.before % 2 == 1).then(|| otherwise.clone());
    let server = Server::start(Options::new(script).offers(&["STARTTLS", "AUTH PLAIN"]));
    let run = remind(&with_password(&server)).exits(78);
    assert!(run.stderr.contains("none of the ways to log in"), "{}", run.stderr);
    let words = words(&server);
    assert!(words.starts_with(&["EHLO", "STARTTLS", "EHLO"].map(str::to_owned)), "{words:?}");
    assert!(!words.contains(&"AUTH".to_owned()), "{words:?}");
}

#[test]
fn servers_that_want_to_know_who_we_are_are_told() {
    for (offer, auth) in [
        ("AUTH PLAIN LOGIN", ""),
        ("AUTH LOGIN", ""),
        ("AUTH=LOGIN", ""),
        ("AUTH PLAIN LOGIN", "auth: login, "),
        ("AUTH PLAIN XOAUTH2", "auth: xoauth2, "),
    ] {
        let server = Server::start(Options::new(|_| None).offers(&[offer]));
        let site =
            self::site(&server, 2, &format!("{auth}user: user, password_file: .crieur/password"));
        site.write(".crieur/password", "secret\n");
        remind(&site).exits(0);
        assert_eq!(server.accepted().len(), 2);
        site.write(".crieur/password", "wrong");
        site.posting("b.md", "title: B\ncloses: 2021-09-02");
        let run = site.run(&["--now=2021-09-01", "remind"]).exits(78);
        assert!(run.stderr.contains("does not let `user` in"), "{}", run.stderr);
        assert!(!run.stderr.contains("wrong"), "{}", run.stderr);
    }
    let server = Server::start(Options::new(|_| None).offers(&["AUTH PLAIN"]));
    let site = self::site(&server, 2, "auth: login, user: user, password_env: CRIEUR_SECRET");
    assert!(remind(&site).exits(78).stderr.contains("no password in `CRIEUR_SECRET`"));
    let output = site.command().args([NOW, "remind"]).env("CRIEUR_SECRET", "secret").output();
    let stderr = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(stderr.contains("none of the ways to log in"), "{stderr}");
    // As systemd hands it over.
    let server = Server::start(Options::new(|_| None).offers(&["AUTH PLAIN"]));
    let site = self::site(&server, 1, "user: user, password_file: smtp-password");
    site.write("credentials/smtp-password", "secret");
    let mut command = site.command();
    let output = command.args([NOW, "remind"]).env("CREDENTIALS_DIRECTORY", "credentials").output();
    assert!(output.unwrap().status.success());
    assert_eq!(server.accepted().len(), 1);
    let later =
        Server::start(once("auth", "", 1, Act::Say("454 4.7.0 later")).offers(&["AUTH PLAIN"]));
    let site = self::site(&later, 2, "user: user, password_file: secret");
    site.write("secret", "secret");
    remind(&site).exits(0);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how fast mail comes is seen by the clock only")]
fn a_rate_is_kept() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let seen = arrivals.clone();
    let server = Server::start(Options::new(move |step| {
        if step.name == "mail" {
            seen.lock().unwrap().push(Instant::now());
        }
        None
    }));
    let site = site(&server, 5, "rate_per_second: 20, connections: 5");
    remind(&site).exits(0);
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    assert_eq!(arrivals.len(), 5);
    // Four intervals of 50 ms lie between the first and the last.
    assert!(arrivals[4] - arrivals[0] >= Duration::from_millis(150), "{arrivals:?}");
}

/// Makes a ledger refuse to be written, as if the disk was full.
fn refuse_writing(ledger: &std::path::Path, what: &str) {
    let ledger = rusqlite::Connection::open(ledger).unwrap();
    ledger
        .execute_batch(&format!(
            "CREATE TRIGGER refuses BEFORE {what} ON digests BEGIN SELECT RAISE(FAIL, 'no room'); END"
        ))
        .unwrap();
}

#[test]
fn a_ledger_that_fails_while_digests_leave_ends_the_run() {
    // From the first message on, nothing more can be written.
    let site = Arc::new(Mutex::new(None::<std::path::PathBuf>));
    let path = site.clone();
    let server = Server::start(Options::new(move |step| {
        if step.name == "data"
            && let Some(path) = path.lock().unwrap().take()
        {
            refuse_writing(&path, "UPDATE");
        }
        None
    }));
    let files = self::site(&server, 12, "connections: 3");
    *site.lock().unwrap() = Some(files.path(".crieur/ledger.sqlite3"));
    let run = remind(&files).exits(75);
    assert!(run.stderr.contains("cannot use the ledger"), "{}", run.stderr);
    assert!(server.accepted().len() <= 3, "{:?}", server.recipients());
}

#[test]
fn one_template_that_fails_for_one_recipient_fails_for_nobody_else() {
    let server = Server::behaving();
    let site = site(&server, 3, "");
    let failing =
        "{% if unsubscribe and sections[0].items|length == 2 %}{{ nope.foo.bar }}{% endif %}x";
    site.write("templates/digest.txt", failing.replace(".items|", "[\"items\"]|"));
    site.write(
        "content/recipients.yaml",
        "- a@example.org\n- email: b@example.org\n  lead_days: [20]\n- c@example.org\n",
    );
    site.posting("b.md", "title: B\ncloses: 2021-09-20");
    let run = remind(&site).exits(75);
    assert!(run.stderr.contains("digest.txt"), "{}", run.stderr);
    assert_eq!(server.recipients(), addresses("ac"));
    site.write("templates/digest.txt", "{{ nope.foo }}");
    assert!(site.run(&[NOW, "remind"]).exits(78).stderr.contains("digest.txt"));
    std::fs::remove_file(site.path("templates/digest.txt")).unwrap();
    remind(&site).exits(0);
    assert_eq!(server.recipients(), addresses("abc"));
}

#[test]
fn a_server_that_refuses_everything_is_the_operators_to_mend() {
    let server = Server::start(once("rcpt", "", 9999, Act::Say("554 5.7.1 Relay access denied")));
    let site = site(&server, 26, "connections: 1");
    let run = remind(&site).exits(78);
    assert!(run.stderr.contains("the server refuses everything"), "{}", run.stderr);
    assert_eq!(server.commands().iter().filter(|c| c.starts_with("RCPT")).count(), 14);
    assert_eq!(status(&site)["suppressed"], 0);
}

/// The first on the list are of a host that the server does not write to.
#[test]
fn many_who_are_refused_keep_nobody_else_from_being_written_to() {
    for refusal in ["554 5.7.1 not that host", "421 4.7.0 not that host"] {
        let server = Server::start(Options::new(move |at: &Step<'_>| {
            let is_refused = at.recipient.starts_with(|c| ('a'..='l').contains(&c));
            (at.name == "rcpt" && is_refused).then_some(Act::Say(refusal))
        }));
        let site = site(&server, 26, "connections: 1");
        site.run(&[NOW, "remind"]);
        let mut written = server.recipients();
        written.sort();
        assert_eq!(written, addresses("mnopqrstuvwxyz"), "{refusal}");
    }
}

/// Whoever the first of a list are, and however many: of another host, or not.
#[test]
fn however_many_are_refused_all_others_are_written_to_in_one_run() {
    for (bad, good, host, refusal) in [
        (60, 200, "gone.example.org", "554 5.7.1 not that host"),
        (36, 44, "example.org", "554 5.7.1 not them"),
        (62, 18, "example.org", "421 4.7.0 bye"),
        (62, 3, "example.org", "421 4.7.0 bye"),
        (36, 44, "N.example.org", "554 5.7.1 not that host"),
    ] {
        for connections in [1, 4] {
            let server = Server::start(Options::new(move |at: &Step<'_>| {
                let is_refused = at.name == "rcpt" && at.recipient.starts_with("bad");
                is_refused.then_some(Act::Say(refusal))
            }));
            let site = site(&server, 1, &format!("connections: {connections}"));
            let host = |n: usize| host.replace('N', &n.to_string());
            let bad = (0..bad).map(|n| format!("- bad{n}@{}\n", host(n)));
            let list = bad.chain((0..good).map(|n| format!("- good{n}@example.org\n")));
            site.write("content/recipients.yaml", list.collect::<String>());
            let run = site.run(&[NOW, "remind"]);
            assert_eq!(server.recipients().len(), good, "{refusal}: {}", run.stderr);
            assert_ne!(run.code, 0);
        }
    }
}

/// A limit by the day, say: those who were refused, and the rest, wait until the server takes mail again.
#[test]
fn a_server_that_refuses_the_rest_is_tried_again() {
    for (hosts, code) in [(1, 75), (200, 75)] {
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let limit = Arc::new(std::sync::atomic::AtomicUsize::new(5));
        let (count, most) = (taken.clone(), limit.clone());
        let server = Server::start(Options::new(move |at: &Step<'_>| {
            let is_over = count.load(std::sync::atomic::Ordering::SeqCst)
                >= most.load(std::sync::atomic::Ordering::SeqCst);
            match at.name {
                "rcpt" if is_over => Some(Act::Say("550 5.4.5 daily limit exceeded")),
                "dot" => {
                    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    None
                }
                _ => None,
            }
        }));
        let site = site(&server, 1, "connections: 1, retry_after: []");
        let list = (0..100).map(|n| format!("- r{n}@h{}.example.org\n", n % hosts));
        site.write("content/recipients.yaml", list.collect::<String>());
        let run = remind(&site).exits(code);
        assert!(run.stderr.contains("5 digests sent, 95 not taken yet"), "{}", run.stderr);
        limit.store(1000, std::sync::atomic::Ordering::SeqCst);
        remind(&site).exits(0);
        assert_eq!(server.recipients().len(), 100);
    }
}

/// Without a code that tells, words do: a server that takes no more today says so of every address.
#[test]
fn a_limit_takes_nobody_off_the_list() {
    let limit = "550 Domain example.org has exceeded the max emails per hour (5/5 (100%)) allowed. Message discarded.";
    for (answer, is_counted) in [
        (limit, false),
        ("550 Access denied: your IP is on a block list", false),
        ("550 <x> User unknown", true),
        ("550 5.1.1 No", true),
    ] {
        let server = Server::start(Options::new(move |step| {
            (step.name == "rcpt" && !step.recipient.starts_with('a')).then_some(Act::Say(answer))
        }));
        let site = self::site(&server, 20, "connections: 1, retry_after: []");
        for day in 27..31 {
            site.posting("a.md", &format!("title: A\ncloses: 2021-08-{:02}", day + 1));
            site.run(&[&format!("--now=2021-08-{day}T09:00:00Z"), "remind"]);
        }
        let list = site.run(&[NOW, "recipients", "list"]).exits(0);
        assert_eq!(list.stdout.contains("refused"), is_counted, "{answer}: {}", list.stdout);
    }
}

#[test]
fn of_a_code_that_nobody_knows_the_first_digit_counts() {
    for step in ["rcpt", "dot"] {
        for (answer, state) in [
            ("571 5.7.1 blocked by policy", "refused"),
            ("499 go away", "not taken yet"),
            ("450-one\r\n554 5.7.1 two", "refused"),
        ] {
            let server = Server::start(once(step, "a@example.org", 9, Act::Say(answer)));
            let site = self::site(&server, 2, "connections: 1, retry_after: []");
            let run = remind(&site);
            assert!(
                run.stderr.contains("1 digest sent") || run.stdout.contains("1 digest sent"),
                "{run:?}"
            );
            assert!(format!("{run:?}").contains(&format!("1 {state}")), "{step} {answer}: {run:?}");
            assert_eq!(server.recipients(), addresses("b"));
        }
    }
}

#[test]
fn an_address_that_is_refused_after_its_message_counts_too() {
    let server = Server::start(once("dot", "a@example.org", 9, Act::Say("550 5.1.1 no such user")));
    let site = self::site(&server, 3, "connections: 1, retry_after: []");
    for day in 27..31 {
        site.posting("a.md", &format!("title: A\ncloses: 2021-08-{:02}", day + 1));
        site.run(&[&format!("--now=2021-08-{day}T09:00:00Z"), "remind"]);
    }
    let list = site.run(&[NOW, "recipients", "list"]).exits(0);
    assert!(list.stdout.contains("refused"), "{}", list.stdout);
}

/// A server that takes each message and hangs up gets few of them in a run.
#[test]
fn a_server_that_hangs_up_after_each_message_is_left_alone_soon() {
    let server =
        Server::start(Options::new(|step| (step.name == "dot").then_some(Act::AcceptAndDrop)));
    let site = self::site(&server, 26, "connections: 1");
    remind(&site).exits(75);
    assert!((10..=15).contains(&server.accepted().len()), "{:?}", server.recipients());
}

/// Ten whose messages may have arrived keep nobody else from being written to.
#[test]
fn many_doubts_stop_nobody_else() {
    let server = Server::start(Options::new(|step| {
        (step.name == "dot" && step.recipient < "m").then_some(Act::AcceptAndDrop)
    }));
    let site = self::site(&server, 26, "connections: 1, retry_after: []");
    remind(&site).exits(75);
    let others: Vec<String> =
        server.recipients().into_iter().filter(|r| r.as_str() >= "m").collect();
    assert_eq!(others, addresses("mnopqrstuvwxyz"));
}

#[test]
fn a_server_that_drips_over_tls_is_left_in_time() {
    // The beginning of a record of TLS, and no more: each byte comes in time, and the record never.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let record = [&[22, 3, 3, 16, 0][..], &[0; 4096]].concat();
                for byte in record {
                    if std::io::Write::write_all(&mut stream, &[byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    let server = Server::start(once("rcpt", "", 0, Act::Drop));
    let site = site(&server, 1, "retry_after: [], timeout_seconds: 1");
    let settings = site.read("content/site.yaml");
    let settings = settings
        .replace(&format!("port: {}", server.port), &format!("port: {port}, security: tls"))
        .replace("host: 127.0.0.1", "host: localhost");
    site.write("content/site.yaml", settings);
    // Whoever waits for the record hears the server hang up, minutes later.
    let run = remind(&site).exits(75);
    assert!(run.stderr.contains("did not answer in time"), "{}", run.stderr);
}

/// A few that are refused in one run, and nobody else: that is the server's doing, too.
#[test]
fn what_a_server_refused_to_everybody_leaves_when_it_is_mended() {
    let server = Server::start(once("dot", "", 1, Act::Say("554 5.7.1 blocked")));
    let site = site(&server, 3, "connections: 1");
    let run = remind(&site).exits(75);
    assert!(run.stderr.contains("3 not taken yet"), "{}", run.stderr);
    remind(&site).exits(0);
    assert_eq!(server.recipients(), addresses("abc"));
    assert!(remind(&site).exits(0).stderr.contains("no digest is due"));
}

/// A server that has lost its list of people knows nobody; that is no reason to say nothing to anybody.
#[test]
fn a_server_that_knows_nobody_costs_nobody_a_digest() {
    for count in [2, 3, 12] {
        let server = Server::start(once("rcpt", "", 1, Act::Say("550 5.1.1 User unknown")));
        let site = site(&server, count, "connections: 1");
        let run = remind(&site).exits(75);
        assert!(run.stderr.contains(&format!("{count} not taken yet")), "{}", run.stderr);
        assert!(run.stderr.contains("not taken yet; 550 5.1.1"), "{}", run.stderr);
        remind(&site).exits(0);
        assert_eq!(server.recipients().len(), count);
        let list = site.run(&[NOW, "recipients", "list"]).exits(0);
        assert!(!list.stdout.contains("refused"), "{}", list.stdout);
    }
}

/// The same, where the run is killed before it can know.
#[test]
fn a_run_that_is_killed_while_a_server_knows_nobody_costs_nobody_a_digest() {
    let (server, site) =
        killed_at("rcpt", "d@example.org", Some(Act::Say("550 5.1.1 User unknown")));
    drop(server);
    let refused = "UPDATE digests SET state = 'refused', counts = 1, settled_at = (SELECT started_at FROM runs) WHERE state <> 'sending'";
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    assert!(ledger.execute(refused, []).unwrap() > 1);
    drop(ledger);
    let server = Server::start(Options::new(|_| None));
    let settings = site.read("content/site.yaml");
    let port = settings.split(", port: ").nth(1).unwrap().split(',').next().unwrap();
    let settings =
        settings.replace(&format!(", port: {port}"), &format!(", port: {}", server.port));
    site.write("content/site.yaml", settings);
    remind(&site).exits(0);
    assert_eq!(server.recipients().len(), 4);
}

/// Where anybody was taken on the day, the server is a witness: who is unknown to it is not asked all day.
#[test]
fn who_is_unknown_to_a_server_that_takes_mail_is_refused_for_the_day() {
    let server = Server::start(Options::new(|step: &Step<'_>| match (step.name, step.before) {
        ("rcpt", 0) if step.recipient != "a@example.org" => Some(Act::Say("450 later")),
        ("rcpt", _) if step.recipient != "a@example.org" => {
            Some(Act::Say("550 5.1.1 User unknown"))
        }
        _ => None,
    }));
    let site = site(&server, 3, "connections: 1, retry_after: []");
    let run = remind(&site).exits(75);
    assert!(run.stderr.contains("1 digest sent, 2 not taken yet; 450 later"), "{}", run.stderr);
    let run = remind(&site).exits(1);
    assert!(run.stderr.contains("2 refused"), "{}", run.stderr);
    assert!(remind(&site).exits(0).stderr.contains("no digest is due"));
}

#[test]
fn what_changed_while_it_was_in_doubt_is_said_anew() {
    let server = Server::start(once("dot", "a@example.org", 3, Act::AcceptAndDrop));
    let site = site(&server, 1, "");
    site.posting("b.md", "title: Urgent\ncloses: 2021-08-31");
    remind(&site).exits(75);
    let dry = site.run(&["--now=2021-08-31T17:00:00Z", "remind", "--dry-run"]).exits(0);
    assert!(dry.stderr.contains("0 digests would be sent, and 1 digest"), "{}", dry.stderr);
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-05");
    let dry = site.run(&["--now=2021-08-31T17:00:00Z", "remind", "--dry-run"]).exits(0);
    assert!(dry.stderr.contains("1 digest would be sent"), "{}", dry.stderr);
    assert!(!dry.stderr.contains("again"), "{}", dry.stderr);
    site.run(&["--now=2021-08-31T18:00:00Z", "remind"]).exits(0);
    let accepted = server.accepted();
    let mail = String::from_utf8(accepted[3].message.clone()).unwrap();
    assert!(mail.contains("Urgent") && mail.contains("5 septembre"), "{mail}");
    // Whoever keeps one of two messages of one id would keep the wrong one.
    let ids: Vec<String> = accepted.iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!((&ids[0], &ids[1]), (&ids[1], &ids[2]));
    assert_ne!(ids[2], ids[3]);
}

#[test]
fn nothing_is_in_doubt_that_did_not_leave() {
    // The server takes one message, closes at the next, and is gone.
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_gone = gone.clone();
    let server = Server::start(Options::new(move |step| {
        let over = is_gone.load(std::sync::atomic::Ordering::SeqCst);
        match step.name {
            "dot" => {
                is_gone.store(true, std::sync::atomic::Ordering::SeqCst);
                None
            }
            "mail" | "banner" if over => Some(Act::Drop),
            _ => None,
        }
    }));
    let site = site(&server, 2, "connections: 1");
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", format!("{settings}reminders: {{ in_doubt: hold }}\n"));
    remind(&site).exits(75);
    assert_eq!(status(&site)["in_doubt"], 0);
    assert_eq!(status(&site)["troubles"][0]["state"], "deferred");
    drop(gone);
}

#[test]
fn a_server_that_fails_at_the_door_is_away() {
    for (step, act) in [
        ("banner", Act::Say("554 no service")),
        ("banner", Act::Drop),
        ("banner", Act::Stall),
        ("ehlo", Act::Drop),
        ("ehlo", Act::Say("451 later")),
    ] {
        let server = Server::start(once(step, "", 9999, act.clone()));
        let site = self::site(&server, 1, &format!("retry_after: [], {}", patience(&act)));
        let run = remind(&site);
        assert_eq!(run.code, 75, "{step} {act:?}: {}", run.stderr);
        assert_eq!(status(&site)["waiting"], 1);
    }
    // What speaks another protocol is not waited for.
    let server = Server::start(once("banner", "", 9999, Act::Say("SSH-2.0-OpenSSH_9.2")));
    let run = remind(&site(&server, 1, "retry_after: []")).exits(75);
    assert!(run.stderr.contains("SSH-2.0"), "{}", run.stderr);
}

/// Runs the program until the server is at a step for a recipient, kills it there, and lets the
/// server do what it would.
fn killed_at(step: &'static str, recipient: &'static str, act: Option<Act>) -> (Server, Site) {
    let (at, reached) = mpsc::channel();
    let (killed, goes_on) = mpsc::channel::<()>();
    let (at, goes_on) = (Mutex::new(at), Mutex::new(goes_on));
    let server = Server::start(Options::new(move |now: &Step<'_>| {
        if now.name != step || now.recipient != recipient || now.before > 0 {
            return None;
        }
        at.lock().unwrap().send(()).unwrap();
        goes_on.lock().unwrap().recv().unwrap();
        act.clone()
    }));
    let site = site(&server, 4, "connections: 1");
    let mut run = site.command().args([NOW, "remind"]).stderr(Stdio::null()).spawn().unwrap();
    reached.recv().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    killed.send(()).unwrap();
    (server, site)
}

#[test]
fn a_run_that_is_killed_before_the_dot_has_sent_nothing() {
    for step in ["rcpt", "text"] {
        let (server, site) = killed_at(step, "a@example.org", Some(Act::Drop));
        assert_eq!(status(&site)["runs"][0]["ended_at"], Value::Null);
        remind(&site).exits(0);
        assert_eq!(server.recipients(), addresses("abcd"), "{step}");
    }
}

#[test]
fn an_envelope_behind_the_dot_leaves_no_more_in_doubt() {
    // The server is at the second envelope as soon as it has taken the first message.
    for step in ["rcpt", "data"] {
        let (server, site) = killed_at(step, "b@example.org", Some(Act::Drop));
        remind(&site).exits(0);
        let mut accepted = server.accepted();
        if accepted.len() == 5 {
            assert_eq!(accepted[0], accepted[1]);
        }
        accepted.dedup();
        let recipients: Vec<_> = accepted.into_iter().map(|mail| mail.recipient).collect();
        assert_eq!(recipients, addresses("abcd"), "{step}");
    }
}

#[test]
fn the_next_envelope_stands_behind_the_dot_where_the_server_takes_that() {
    for offers in [&["PIPELINING"][..], &[]] {
        // It says nothing to the dot until the next envelope is there, if one comes.
        let (at, reached) = mpsc::channel();
        let at = Mutex::new(at);
        let server = Server::start(
            Options::new(move |step: &Step<'_>| {
                at.lock().unwrap().send((step.name.to_owned(), step.waits)).unwrap();
                None
            })
            .offers(offers),
        );
        let site = site(&server, 3, "connections: 1");
        remind(&site).exits(0);
        assert_eq!(server.recipients(), addresses("abc"));
        let dots: Vec<bool> =
            reached.try_iter().filter(|(name, _)| name == "dot").map(|(_, waits)| waits).collect();
        let pipelined = !offers.is_empty();
        assert_eq!(dots, [pipelined, pipelined, false]);
    }
}

#[test]
fn who_leaves_while_a_run_sends_is_not_written_to_any_more() {
    // Where the server takes that, the second envelope travels behind the first message.
    for offers in [&["PIPELINING"][..], &[]] {
        let (at, reached) = mpsc::channel();
        let (left, goes_on) = mpsc::channel::<()>();
        let (at, goes_on) = (Mutex::new(at), Mutex::new(goes_on));
        let script = move |step: &Step<'_>| {
            if step.name == "dot" && step.recipient == "a@example.org" {
                at.lock().unwrap().send(()).unwrap();
                goes_on.lock().unwrap().recv().unwrap();
            }
            None
        };
        let server = Server::start(Options::new(script).offers(offers));
        let site = site(&server, 4, "connections: 1");
        let mut run = site.command().args([NOW, "remind"]).stderr(Stdio::piped()).spawn().unwrap();
        reached.recv().unwrap();
        let said = site.run(&["unsubscribe", "B@example.org"]).exits(0).stderr;
        assert_eq!(said, "b…@example.org is not written to any more\n");
        left.send(()).unwrap();
        assert!(run.wait().unwrap().success());
        assert_eq!(server.recipients(), addresses("acd"));
        assert_eq!(status(&site)["waiting"], 0);
        remind(&site).exits(0);
        assert_eq!(server.recipients(), addresses("acd"));
    }
}

#[test]
fn a_run_that_is_killed_after_the_dot_leaves_one_digest_in_doubt() {
    let (server, site) = killed_at("dot", "b@example.org", Some(Act::AcceptAndDrop));
    remind(&site).exits(0);
    assert_eq!(server.recipients(), addresses("abbcd"));
    let accepted = server.accepted();
    assert_eq!(accepted[1], accepted[2]);
    assert!(site.run(&[NOW, "status"]).exits(0).stdout.contains("it did not end"));
}

#[test]
fn a_list_that_is_read_as_it_goes_is_read_whole_each_time() {
    let options = once("dot", "b@example.org", 1, Act::AcceptAndDrop);
    let server = Server::start(options);
    let site = site(&server, 0, "connections: 1, retry_after: []");
    std::fs::remove_file(site.path("content/recipients.yaml")).unwrap();
    // Longer than what is read at once.
    let name = "x".repeat(2_000);
    let lines = ('a'..='z').map(|letter| format!("{letter}@example.org,{name}\n"));
    let list: String = lines.chain(["A@example.org,again\n".to_owned()]).collect();
    site.write("content/recipients.csv", format!("email,name\n{list}"));
    assert!(site.run(&[NOW, "check"]).stdout.contains("stands in line 2 already"));
    let run = site.run(&[NOW, "remind", "--recipient", "z@example.org"]).exits(0);
    assert_eq!(run.stderr, "1 digest sent\n");
    assert!(remind(&site).exits(75).stderr.contains("24 digests sent, 1 in doubt"));
    // What is in doubt is looked up in the list before the plan is made.
    site.posting("b.md", "title: B\ncloses: 2021-09-02");
    let run = site.run(&["--now=2021-09-01", "remind"]).exits(0);
    assert_eq!(run.stderr, "26 digests sent\n");
    let run = site.run(&["--now=2021-09-01", "remind", "--recipient", "nobody@example.org"]);
    assert!(run.exits(2).stderr.contains("`n…@example.org` is not on the mailing list"));
}

#[test]
fn two_runs_at_once_are_one() {
    let (at, reached) = mpsc::channel();
    let (done, goes_on) = mpsc::channel::<()>();
    let (at, goes_on) = (Mutex::new(at), Mutex::new(goes_on));
    let server = Server::start(Options::new(move |step| {
        if step.name == "data" && step.recipient == "a@example.org" {
            at.lock().unwrap().send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
        }
        None
    }));
    let site = site(&server, 3, "connections: 1, timeout_seconds: 60");
    let mut first = site.command().args([NOW, "remind"]).stderr(Stdio::null()).spawn().unwrap();
    reached.recv().unwrap();
    let second = remind(&site).exits(75);
    assert!(second.stderr.contains("another run is sending"), "{}", second.stderr);
    // Whoever only looks is not in the way.
    assert_eq!(status(&site)["waiting"], 3);
    done.send(()).unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(server.recipients(), addresses("abc"));
}

#[test]
fn a_ledger_that_cannot_be_written_lets_nothing_leave() {
    let server = Server::behaving();
    let site = site(&server, 3, "");
    remind(&site).exits(0);
    site.posting("b.md", "title: B\ncloses: 2021-09-02");
    refuse_writing(&site.path(".crieur/ledger.sqlite3"), "INSERT");
    let run = site.run(&["--now=2021-09-01", "remind"]).exits(75);
    assert!(run.stderr.contains("cannot use the ledger"), "{}", run.stderr);
    assert_eq!(server.accepted().len(), 3);
}
