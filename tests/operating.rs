//! What the page on operating promises, where no other test says it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/smtp.rs"]
mod smtp;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use common::{SETTINGS, Site};
use smtp::{Act, Away, Options, Server, Step};

/// One posting, which closes on the 30th of September, and one reader, who hears of it each day before.
fn site() -> Site {
    let site = Site::new();
    let days = "reminders: { lead_days: [14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1] }\n";
    site.write("content/site.yaml", format!("{SETTINGS}{days}"));
    site.write("content/recipients.yaml", "- email: a@example.org\n");
    site.posting("a.md", "title: A\ncloses: 2021-09-30");
    site
}

fn on(day: u32) -> String {
    format!("--now=2021-09-{day:02}T10:00:00+02:00")
}

#[test]
fn a_quiet_success_says_nothing_and_what_is_wrong_is_said() {
    let site = site();
    for _ in 0..2 {
        let run = site.run(&[&on(20), "--quiet", "run"]).exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    }
    site.posting("b.md", "title: B\ncloses: 2021-02-30");
    let run = site.run(&[&on(20), "--quiet", "run"]).exits(1);
    assert!(run.stderr.contains("content/postings/b.md:3:9"), "{}", run.stderr);
}

#[test]
fn a_build_that_fails_keeps_nobody_from_being_reminded() {
    let site = site();
    site.write("out", "a file in the folder's place");
    let run = site.run(&[&on(20), "run"]).exits(78);
    assert!(run.stderr.contains("cannot write `./out`"), "{}", run.stderr);
    assert_eq!(site.files(".crieur/outbox").len(), 1);
    // Nor does a template that is for pages only.
    for name in ["404.html", "index.html", "notice.html", "confirm.txt"] {
        let site = self::site();
        site.write(&format!("templates/{name}"), "{{ x( }}");
        let run = site.run(&[&on(20), "run"]).exits(78);
        assert!(run.stderr.contains(&format!("templates/{name}:1")), "{}", run.stderr);
        assert!(!site.exists("out"));
        assert_eq!(site.files(".crieur/outbox").len(), 1, "{name}");
        site.run(&[&on(21), "build"]).exits(78);
        site.run(&[&on(21), "remind"]).exits(0);
    }
    // What a digest is made from, and what it may be made from, does.
    for name in ["digest.html", "part.html", "base.html"] {
        let site = self::site();
        site.write("templates/digest.txt", "{% extends \"base.html\" %}");
        site.write(&format!("templates/{name}"), "{{ x( }}");
        for command in ["remind", "run"] {
            let run = site.run(&[&on(20), command]).exits(78);
            assert!(run.stderr.contains(&format!("templates/{name}:1")), "{}", run.stderr);
            assert!(!site.exists(".crieur/outbox"));
        }
    }
}

#[test]
fn the_newest_five_backups_are_kept() {
    let site = site();
    for day in 17..=24 {
        site.run(&[&on(day), "remind"]).exits(0);
        // A run without anything to send makes none.
        site.run(&[&on(day), "remind"]).exits(0);
    }
    let mut kept = site.files(".crieur/backups");
    kept.retain(|name, _| name.ends_with(".sqlite3"));
    let days: Vec<String> = (20..=24).map(|day| format!("ledger-2021-09-{day}.sqlite3")).collect();
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), days);
}

#[test]
fn a_site_that_is_moved_goes_on_where_it_was() {
    let site = site();
    site.run(&[&on(20), "run"]).exits(0);
    site.run(&[&on(20), "unsubscribe", "b@example.org"]).exits(0);
    let moved = Site::copy(site.root());
    moved.run(&[&on(20), "ledger", "check"]).exits(0);
    let run = moved.run(&[&on(20), "run"]).exits(0);
    assert!(run.stderr.contains("nothing changed"), "{}", run.stderr);
    assert!(run.stderr.contains("no digest is due"), "{}", run.stderr);
    moved.write("content/recipients.yaml", "- email: a@example.org\n- email: b@example.org\n");
    let next = moved.run(&[&on(21), "remind", "--dry-run"]).exits(0);
    assert!(next.stdout.contains("a@example.org"), "{}", next.stdout);
    assert!(!next.stdout.contains("b@example.org"), "{}", next.stdout);
    // What else stood in the ledger did, too: the keys of the links in mails, above all.
    let links = |site: &Site| {
        site.run(&[&on(21), "--quiet", "preview"]).exits(0);
        site.files(".crieur/preview")
    };
    assert_eq!(links(&moved), links(&site));
}

#[test]
fn what_was_sent_is_forgotten_after_400_days() {
    let site = site();
    let sent = |site: &Site| -> Vec<String> {
        let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
        let mut days = ledger.prepare("SELECT day FROM digests ORDER BY day").unwrap();
        let days = days.query_map([], |row| row.get(0)).unwrap();
        days.map(Result::unwrap).collect()
    };
    site.run(&[&on(20), "remind"]).exits(0);
    site.run(&[&on(22), "remind"]).exits(0);
    // 400 days after the second, and once more: a clock that is wrong for a run or two does no harm.
    site.posting("b.md", "title: B\ncloses: 2022-10-30");
    site.run(&["--now=2022-10-27T10:00:00+02:00", "remind"]).exits(0);
    assert_eq!(sent(&site), ["2021-09-20", "2021-09-22", "2022-10-27"]);
    site.posting("c.md", "title: C\ncloses: 2022-10-31");
    site.run(&["--now=2022-10-28T10:00:00+02:00", "remind"]).exits(0);
    site.run(&["--now=2022-10-29T10:00:00+02:00", "remind"]).exits(0);
    assert_eq!(sent(&site), ["2021-09-22", "2022-10-27", "2022-10-28", "2022-10-29"]);
}

#[test]
fn after_ten_doubts_a_person_has_to_look() {
    let breaks = |at: &Step<'_>| (at.name == "dot").then_some(Act::AcceptAndDrop);
    let server = Server::start(Options::new(breaks));
    let site = site();
    let port = server.port;
    let mail = format!(
        "transport: smtp, smtp: {{ host: 127.0.0.1, port: {port}, timeout_seconds: 20, retry_after: [] }} }}"
    );
    let settings = site.read("content/site.yaml");
    let from = "mail: { from: \"Offres <offres@example.org>\"";
    site.write(
        "content/site.yaml",
        settings.replace(&format!("{from} }}"), &format!("{from}, {mail}")),
    );
    for _ in 0..10 {
        site.run(&[&on(20), "remind"]).exits(75);
    }
    let held = site.run(&[&on(20), "remind"]).exits(1);
    assert!(held.stderr.contains("is held"), "{}", held.stderr);
    assert_eq!(server.accepted().len(), 10);
    site.run(&[&on(20), "ledger", "settle", "--arrived"]).exits(0);
    assert_eq!(site.run(&[&on(20), "remind"]).exits(0).stderr, "no digest is due\n");
}

#[test]
fn what_a_killed_run_sent_stands_in_a_backup_after_the_next() {
    let site = site();
    site.run(&[&on(20), "remind"]).exits(0);
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    // As a run leaves it that was killed after its last message was taken.
    let killed = "INSERT INTO digests (recipient, day, state, planned_at)
             VALUES ('z@example.org', '2021-09-20', 'sent', '2021-09-20T08:00:00Z');
         INSERT INTO runs (started_at, planned) VALUES ('2021-09-20T08:00:00Z', 1)";
    ledger.execute_batch(killed).unwrap();
    drop(ledger);
    let known = || {
        let backup = site.path(".crieur/backups/ledger-2021-09-20.sqlite3");
        let backup = rusqlite::Connection::open(backup).unwrap();
        let count = "SELECT count(*) FROM digests";
        backup.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(known(), 1);
    for _ in 0..2 {
        site.run(&[&on(20), "remind"]).exits(0);
        assert_eq!(known(), 2);
    }
    // Who has no more than a backup is told what that means.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(site.path(&format!(".crieur/ledger.sqlite3{end}")));
    }
    let restored = site.run(&[&on(20), "ledger", "restore"]).exits(1);
    assert!(restored.stderr.contains("may be sent once more"), "{}", restored.stderr);
}

#[test]
fn a_weekly_digest_that_nobody_took_outlasts_runs_without_its_reader() {
    for meanwhile in ["an empty list", "somebody else"] {
        let site = site();
        let server = Server::start(Options::new(|_: &Step<'_>| Some(Act::Drop)));
        let port = server.port;
        let smtp = format!(
            "transport: smtp, smtp: {{ host: 127.0.0.1, port: {port}, timeout_seconds: 20, retry_after: [] }} }}"
        );
        site.write("content/site.yaml", SETTINGS.replace(" }\n", &format!(", {smtp}\n")));
        // The 6th of September is a Monday.
        let reader = "- { email: w@example.org, weekday: Mon, lead_days: [30] }\n";
        site.write("content/recipients.yaml", format!("{reader}- email: b@example.org\n"));
        site.run(&["--now=2021-09-06T08:00:00+02:00", "remind"]).exits(75);
        let later = "--now=2021-09-06T10:00:00+02:00";
        if meanwhile == "an empty list" {
            site.write("content/recipients.yaml", "");
            site.run(&[later, "remind"]);
            site.write("content/recipients.yaml", reader);
        } else {
            site.run(&[later, "remind", "--recipient", "b@example.org"]);
        }
        let next = site.run(&["--now=2021-09-07T10:00:00+02:00", "remind", "--dry-run"]).exits(0);
        assert!(next.stdout.contains("w@example.org"), "{meanwhile}: {}", next.stdout);
    }
}

#[test]
fn who_is_taken_off_the_list_is_not_written_to_for_the_wishes_that_they_chose() {
    let site = site();
    site.run(&[&on(1), "recipients", "add", "b@example.org"]).exits(0);
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    // As the page about what they wish enters somebody from the list.
    let chose = "INSERT INTO subscribers
         SELECT 'a@example.org', 'a@example.org', wishes, 'list', asked_at, confirmed_at
         FROM subscribers";
    ledger.execute(chose, []).unwrap();
    let written_to = || {
        let run = site.run(&[&on(20), "remind", "--dry-run"]).exits(0);
        ["a@", "b@"].map(|who| run.stdout.matches(who).count())
    };
    assert_eq!(written_to(), [1, 1]);
    site.write("content/recipients.yaml", "");
    assert_eq!(written_to(), [0, 1]);
}

/// Nothing ran on the day of the week, or settings could not be used: the next run makes up for it.
#[test]
fn a_week_without_a_run_on_its_day_has_its_digest_all_the_same() {
    let site = Site::new();
    // 2021-08-30 is a Monday.
    site.write("content/recipients.yaml", "- { email: a@example.org, weekday: Mon, new: true }\n");
    site.posting("a.md", "title: A\nopens: 2021-08-27\ncloses: 2021-09-20");
    let digests = |now: &str| {
        let now = format!("--now={now}");
        let dry = site.run(&[&now, "remind", "--dry-run"]).exits(0);
        let run = site.run(&[&now, "remind"]).exits(0).stderr;
        let is_due = run.starts_with("1 digest");
        assert_eq!(dry.stderr.contains("1 digest would"), is_due, "{now}: {run} {dry:?}");
        is_due
    };
    // Before the hour there is no plan of the day.
    assert!(!digests("2021-08-29") && !digests("2021-08-30T05:00:00+02:00"));
    let said = site.run(&["--now=2021-08-31", "explain", "a", "--recipient", "a@example.org"]);
    assert!(said.stdout.contains("yes"), "{said:?}");
    assert!(digests("2021-08-31") && !digests("2021-08-31"));
    site.posting("b.md", "title: B\nopens: 2021-09-01\ncloses: 2021-09-20");
    for day in ["2021-09-01", "2021-09-02", "2021-09-05"] {
        assert!(!digests(day), "{day}");
    }
    assert!(digests("2021-09-06"));
}

/// The settings of a site with a posting and a list, with the mail server at a port.
fn by_smtp(port: u16) -> String {
    let smtp =
        format!("transport: smtp, smtp: {{ host: 127.0.0.1, port: {port}, retry_after: [] }}");
    SETTINGS.replace("mail: { ", &format!("mail: {{ {smtp}, "))
}

#[test]
fn a_run_ends_with_the_worse_of_building_and_reminding() {
    let broken = |site: &Site| site.posting("b.md", "title: B\ncloses: 2021-02-30");
    // Something is left out, and everybody is reminded.
    let site = site();
    broken(&site);
    let run = site.run(&[&on(20), "run"]).exits(1);
    assert!(run.stderr.contains("; 1 digest in"), "{}", run.stderr);
    // The same, and nobody takes mail.
    let site = self::site();
    broken(&site);
    let away = Away::new();
    site.write("content/site.yaml", by_smtp(away.port));
    let run = site.run(&[&on(27), "run"]).exits(75);
    assert!(run.stderr.contains("published 1 open posting"), "{}", run.stderr);
    assert!(run.stderr.contains("1 not taken yet"), "{}", run.stderr);
    // All is published, and somebody is refused for good.
    let site = self::site();
    let refusing = |at: &Step<'_>| {
        (at.name == "rcpt" && at.recipient == "b@example.org")
            .then_some(Act::Say("550 5.1.1 nobody"))
    };
    let server = Server::start(Options::new(refusing));
    site.write("content/site.yaml", by_smtp(server.port));
    site.write("content/recipients.yaml", "- a@example.org\n- b@example.org\n- c@example.org\n");
    let run = site.run(&[&on(27), "run"]).exits(1);
    assert!(run.stderr.contains("2 digests sent, 1 refused"), "{}", run.stderr);
    // The build fails: its code is the one, whatever became of the digests.
    let site = self::site();
    site.write("content/site.yaml", by_smtp(away.port));
    site.write("out", "a file in the folder's place");
    let run = site.run(&[&on(27), "run"]).exits(78);
    assert!(run.stderr.contains("1 not taken yet"), "{}", run.stderr);
}

/// Takes the ledger away, and makes one of what is left: its backups.
fn only_the_backup_is_left(site: &Site) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(site.path(&format!(".crieur/ledger.sqlite3{end}")));
    }
    assert!(!site.exists(".crieur/ledger.sqlite3"));
    let restored = site.run(&[&on(21), "ledger", "restore"]).exits(1);
    assert!(restored.stderr.contains("from the backup"), "{}", restored.stderr);
}

#[test]
fn who_came_or_left_since_the_last_run_stands_in_a_backup() {
    use std::io::Write;
    for way in ["unsubscribe", "receive", "recipients remove", "recipients add", "forget"] {
        let site = site();
        let mail = "mail: { bounces: back@example.org, ";
        let settings = site.read("content/site.yaml").replace("mail: { ", mail);
        site.write("content/site.yaml", settings);
        if way == "recipients remove" {
            site.write("content/recipients.yaml", "");
            site.run(&[&on(1), "recipients", "add", "a@example.org"]).exits(0);
        }
        let written_to = || {
            let dry = site.run(&[&on(21), "remind", "--dry-run"]).exits(0).stdout;
            ["a@example.org", "b@example.org"].map(|who| dry.contains(who))
        };
        site.run(&[&on(20), "remind"]).exits(0);
        assert_eq!(written_to(), [true, false], "{way}");
        let mut process = site.command();
        process.arg(on(20)).args(way.split(' ')).stdin(std::process::Stdio::piped());
        match way {
            "receive" => &mut process,
            "recipients add" => process.arg("b@example.org"),
            _ => process.arg("a@example.org"),
        };
        let mut process = process.stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        if way == "receive" {
            input.write_all(b"From: a@example.org\nSubject: unsubscribe\n\n").unwrap();
        }
        drop(input);
        // That the address still stands in the list is said of who is forgotten.
        assert_eq!(process.wait().unwrap().code(), Some(i32::from(way == "forget")), "{way}");
        let after = if way == "recipients add" { [true, true] } else { [false, false] };
        assert_eq!(written_to(), after, "{way}");
        only_the_backup_is_left(&site);
        assert_eq!(written_to(), after, "{way}, restored");
    }
}

#[test]
fn what_is_private_is_so_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let open = "umask 000";
    let is_private = |site: &Site, after: &str| {
        for entry in walkdir::WalkDir::new(site.path(".crieur")) {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let expected = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "after {after}: {} is {mode:o}", entry.path().display());
        }
    };
    // Whichever makes the folder.
    for first in [
        &["build"][..],
        &["preview"],
        &["remind"],
        &["unsubscribe", "b@example.org"],
        &["recipients", "add", "b@example.org"],
    ] {
        let site = site();
        let now = on(20);
        site.run_after(open, &[&[now.as_str()], first].concat()).exits(0);
        assert!(site.exists(".crieur"), "{first:?}");
        is_private(&site, first[0]);
    }
    let site = site();
    for command in [&["build"][..], &["preview"], &["remind"]] {
        site.run_after(open, &[&[on(20).as_str()], command].concat()).exits(0);
    }
    for folder in ["outbox", "backups", "preview", "cache"] {
        assert!(!site.files(&format!(".crieur/{folder}")).is_empty(), "{folder}");
    }
    std::fs::write(site.path(".crieur/ledger.sqlite3"), [0; 8192]).unwrap();
    site.run_after(open, &[&on(20), "remind"]).exits(78);
    site.run_after(open, &[&on(20), "ledger", "restore"]).exits(1);
    assert!(site.exists(".crieur/damaged-1.sqlite3"));
    is_private(&site, "ledger restore");
    site.run_after(open, &[&on(21), "remind"]).exits(0);
    is_private(&site, "the next run");
}

#[test]
fn a_ledger_in_a_file_is_not_passed_over_for_one_on_a_server() {
    let site = site();
    site.run(&[&on(20), "remind"]).exits(0);
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", format!("{settings}ledger: postgres://u@127.0.0.1:1/x\n"));
    for command in [
        &["status"][..],
        &["remind", "--dry-run"],
        &["simulate", "--from", "2021-09-21", "--to", "2021-09-22"],
        &["preview"],
        &["explain", "a", "--recipient", "a@example.org"],
        &["recipients", "list"],
        &["recipients", "export"],
        &["recipients", "add", "b@example.org"],
        &["remind"],
        &["run"],
        &["unsubscribe", "a@example.org"],
        &["forget", "a@example.org"],
        &["ledger", "settle", "--lost"],
    ] {
        let run = site.run(&[&[on(21).as_str()], command].concat()).exits(78);
        assert!(run.stderr.contains("`crieur ledger move`"), "{command:?}: {}", run.stderr);
        assert!(!run.stdout.contains('@'), "{command:?}: {}", run.stdout);
    }
    for command in ["check", "restore"] {
        let run = site.run(&[&on(21), "ledger", command]).exits(78);
        assert!(run.stderr.contains("`pg_dump`"), "{command}: {}", run.stderr);
    }
    // Without the file it is the server that is asked, and nobody answers there.
    std::fs::rename(site.path(".crieur/ledger.sqlite3"), site.path("elsewhere.sqlite3")).unwrap();
    let run = site.run(&[&on(21), "status"]).exits(75);
    assert!(run.stderr.contains("error connecting to server"), "{}", run.stderr);
}

/// A program that runs beside the test, and no longer.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not only of one that a server has open (`no_ledger_is_put_in_the_place_of_one_that_a_server_has_open`).
#[cfg(target_os = "linux")]
#[test]
fn no_ledger_is_put_in_the_place_of_one_that_a_command_has_open() {
    let leaves = b"From: a@example.org\nTo: off@example.org\nSubject: unsubscribe\n\n";
    for command in [&["remind"][..], &["receive"], &["unsubscribe", "b@example.org"]] {
        let site = site();
        site.run(&[&on(20), "remind"]).exits(0);
        let path = site.path(".crieur/ledger.sqlite3");
        let ledger = rusqlite::Connection::open(&path).unwrap();
        // Whoever wants to write waits.
        ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut writer = site.command();
        writer.arg(on(21)).args(command).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut writer = Beside(writer.spawn().unwrap());
        // What the other commands do not read is nobody's business.
        let _ = writer.0.stdin.take().unwrap().write_all(leaves);
        let files = format!("/proc/{}/fd", writer.0.id());
        let has_it_open = || {
            let files = std::fs::read_dir(&files).unwrap();
            let mut opened = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            opened.any(|opened| opened == path.canonicalize().unwrap())
        };
        while !has_it_open() {
            assert_eq!(writer.0.try_wait().unwrap(), None, "{command:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        site.run(&[&on(21), "ledger", "restore"]).exits(75);
        assert!(!site.exists(".crieur/damaged-1.sqlite3"));
        ledger.execute_batch("ROLLBACK").unwrap();
        assert!(writer.0.wait().unwrap().success(), "{command:?}");
        drop(ledger);
        site.run(&[&on(21), "ledger", "restore"]).exits(0);
    }
}

#[test]
fn what_was_restored_belongs_to_whom_the_site_belongs() {
    use std::os::unix::fs::{MetadataExt, lchown};
    let site = site();
    site.run(&[&on(20), "remind"]).exits(0);
    if std::fs::metadata(site.root()).unwrap().uid() != 0 {
        let _ = writeln!(std::io::stderr(), "not run: only root can give files to others");
        return;
    }
    site.write(".crieur/ledger.sqlite3", "nonsense ".repeat(2000));
    // As a run leaves it that was killed.
    site.write(".crieur/ledger.sqlite3-wal", "");
    let all = || walkdir::WalkDir::new(site.root()).into_iter().map(|entry| entry.unwrap());
    for entry in all() {
        lchown(entry.path(), Some(12345), Some(12346)).unwrap();
    }
    let restored = site.run(&[&on(20), "ledger", "restore"]);
    assert!(restored.stderr.contains("knows of 1 digest again"), "{}", restored.stderr);
    for name in ["ledger.sqlite3", "damaged-1.sqlite3", "remind.lock", "serve.lock"] {
        assert!(site.exists(&format!(".crieur/{name}")), "{name}");
    }
    for entry in all() {
        let metadata = entry.metadata().unwrap();
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(owner, (12345, 12346), "{}", entry.path().display());
    }
}

#[test]
fn what_a_power_failure_left_of_out_is_made_again() {
    let site = site();
    site.run(&[&on(20), "build"]).exits(0);
    let whole = site.files("out");
    // What was not written yet is empty, or nothing but zeros.
    for (name, bytes) in whole.iter().filter(|(name, _)| *name != ".published") {
        let is_page = std::path::Path::new(name).extension().is_some_and(|end| end == "html");
        let left = if is_page { vec![0; bytes.len()] } else { Vec::new() };
        site.write(&format!("out/{name}"), left);
    }
    std::fs::remove_dir_all(site.path(".crieur/cache")).unwrap();
    site.run(&[&on(20), "build"]).exits(0);
    assert_eq!(site.files("out"), whole);
    // As the page says, whatever became of the list of what is ours.
    std::fs::remove_dir_all(site.path("out")).unwrap();
    std::fs::remove_dir_all(site.path(".crieur/cache")).unwrap();
    site.run(&[&on(20), "build"]).exits(0);
    assert_eq!(site.files("out"), whole);
}

#[test]
fn what_was_built_elsewhere_is_served_from_there() {
    let site = site();
    site.run(&[&on(20), "build"]).exits(0);
    site.posting("elsewhere.md", "title: E\ncloses: 2021-09-30");
    site.run(&[&on(20), "build", "--out", "public/jobs"]).exits(0);
    let mut server = site.command();
    server.args([&on(20), "serve", "--addr=127.0.0.1:0", "--out", "public/jobs"]);
    let mut server = Beside(server.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let said = lines.find_map(|line| {
        line.unwrap().split_once("serving at http://").map(|(_, at)| at.to_owned())
    });
    let address = said.unwrap().split('/').next().unwrap().to_owned();
    std::thread::spawn(move || lines.for_each(drop));
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: jobs.example.org\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    };
    for name in ["feed.atom", "postings/elsewhere.html"] {
        let (answer, file) = (get(&format!("/{name}")), site.read(&format!("public/jobs/{name}")));
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{name}");
        assert!(answer.ends_with(file.as_bytes()), "{name}");
    }
    assert!(!site.exists("out/postings/elsewhere.html"));
}
