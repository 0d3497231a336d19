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

/// How many digests left, each of them once. The outbox alone would not show more: the second to somebody
/// on one day is a file of the same name.
fn left_once(site: &Site) -> u64 {
    let status = site.run(&["--now=2021-12-31", "status", "--format", "json"]).exits(0).json();
    let sent = |run: &serde_json::Value| run["sent"].as_u64().unwrap();
    let sent: u64 = status["runs"].as_array().unwrap().iter().map(sent).sum();
    assert_eq!(outbox(site).len() as u64, sent);
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    let query = "SELECT count(*) FROM digests WHERE state <> 'sent' OR attempts <> 1";
    let others: u32 = ledger.query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(others, 0, "not sent, or not at once");
    sent
}

#[test]
fn a_run_publishes_and_reminds_and_the_next_sends_nothing_again() {
    let site = site();
    let run = site.run(&["--now=2021-08-31", "run"]).exits(1);
    assert!(run.stderr.contains("this is not a mail address"), "{}", run.stderr);
    assert!(site.exists("out/feed.atom"));
    let mails = outbox(&site);
    assert_eq!(mails.len(), 2);
    let again = site.run(&["--now=2021-08-31T18:00:00Z", "run"]).exits(1);
    assert!(again.stderr.contains("no digest is due"), "{}", again.stderr);
    assert_eq!(outbox(&site), mails);
    // The day before the first closes; the second keeps its stage.
    site.run(&["--now=2021-09-02", "run"]).exits(1);
    assert_eq!(left_once(&site), 4);
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
    site.run(&["--now=2021-08-31", "remind"]).exits(78);
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
    assert!(mails[0].contains("Et 55 autres"), "{}", mails[0]);
}

/// What is left out of a long digest stands on the site's page. What does not is never left out.
#[test]
fn what_changed_and_what_somebody_owns_is_in_the_longest_digest() {
    let site = Site::new();
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", format!("{settings}reminders: {{ owners: true }}\n"));
    site.write("content/recipients.yaml", "- email: a@example.org\n");
    site.posting("told.md", "title: Told\ncloses: 2021-09-20\nopens: 2021-08-01");
    site.run(&["--now=2021-09-14", "remind"]).exits(0);
    site.posting("told.md", "title: Told\ncloses: 2021-09-20\nopens: 2021-08-01\nfilled: true");
    site.posting("mine.md", "title: Mine\ncloses: 2021-09-10\nopen: true\ncontact: a@example.org");
    for n in 0..200 {
        site.posting(
            &format!("p{n}.md"),
            &format!("title: {n} {}\ncloses: 2021-09-17", "Ж".repeat(150)),
        );
    }
    site.run(&["--now=2021-09-15", "remind"]).exits(0);
    let mails = outbox(&site);
    assert_eq!(mails.len(), 2);
    let long = mails.iter().max_by_key(|mail| mail.len()).unwrap();
    assert!(long.len() < 90_000, "{}", long.len());
    assert!(long.contains("postings/told.html") && long.contains("postings/mine.html"));
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
fn a_posting_that_became_a_draft_is_not_linked_to() {
    let site = site();
    site.run(&["--now=2021-08-31", "run"]).exits(1);
    let before = outbox(&site);
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-03\nstatus: draft");
    site.run(&["--now=2021-09-01", "run"]).exits(1);
    assert!(!site.exists("out/postings/a.html"));
    let told: Vec<String> = outbox(&site).into_iter().filter(|m| !before.contains(m)).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("https://jobs.example.org/"), "{}", told[0]);
    assert!(!told[0].contains("postings/a.html"), "{}", told[0]);
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

#[test]
fn a_list_may_be_csv_and_one_line_is_one_line() {
    let site = site();
    std::fs::remove_file(site.path("content/recipients.yaml")).unwrap();
    site.write(
        "content/recipients.csv",
        "email;domains;language\na@example.org;;\nnot an address;;\nb@example.org;Design, Dév;en\n",
    );
    let run = site.run(&["--now=2021-08-31", "remind"]).exits(1);
    assert!(run.stderr.contains("content/recipients.csv:3:1"), "{}", run.stderr);
    assert_eq!(outbox(&site).len(), 2);
    let check = site.run(&["check", "--format", "json"]).exits(1).json();
    assert_eq!(check[0]["code"], "invalid-recipient");
    assert_eq!((&check[0]["line"], &check[0]["column"]), (&3.into(), &1.into()));
}

#[test]
fn a_simulation_is_what_happens_then() {
    let site = site();
    let simulate = ["simulate", "--from", "2021-08-29", "--to", "2021-09-06", "--format", "json"];
    let simulated = site.run(&simulate).exits(1).json();
    assert!(!site.exists(".crieur"));
    for n in 0..9 {
        let day = chrono::NaiveDate::from_ymd_opt(2021, 8, 29).unwrap() + chrono::Days::new(n);
        site.run(&[&format!("--now={day}T08:00:00+02:00"), "remind"]).exits(1);
    }
    let rows = simulated.as_array().unwrap();
    let told = |row: &serde_json::Value| {
        ["day", "recipient", "subject"].map(|key| row[key].as_str().unwrap().to_owned())
    };
    let happened = |(name, message): (String, Vec<u8>)| {
        let mail = mail_parser::MessageParser::new().parse(&message).unwrap();
        let to = mail.to().unwrap().first().unwrap().address().unwrap().to_owned();
        [name[..10].to_owned(), to, mail.subject().unwrap().to_owned()]
    };
    let mut mails: Vec<_> = site.files(".crieur/outbox").into_iter().map(happened).collect();
    mails.sort();
    let mut expected: Vec<_> = rows.iter().map(told).collect();
    expected.sort();
    assert_eq!(mails, expected);
    assert!(mails.len() > 5, "{mails:?}");
    assert_eq!(rows[0]["recipient"], "a@example.org");
    assert_eq!(rows[0]["subject"], "2 offres ferment bientôt");
    assert_eq!(
        rows[0]["items"][0],
        serde_json::json!({ "slug": "a", "section": "closing", "stage": 7, "days_left": 5 })
    );
    // What was sent before is not sent again, in a simulation either.
    let again = site.run(&["simulate", "--from", "2021-09-06", "--to", "2021-09-09"]).exits(1);
    assert_eq!(again.stdout, "");
    site.run(&["simulate", "--from", "2021-09-06", "--to", "2021-09-05"]).exits(2);
}

#[test]
fn previews_are_files_to_look_at_whether_or_not_they_were_sent() {
    let site = site();
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    let preview = site.run(&["--now=2021-08-31T06:00:00Z", "preview"]).exits(1);
    let paths: Vec<&str> = preview.stdout.lines().collect();
    assert_eq!(paths.len(), 2);
    assert!(site.read(paths[1]).contains("closes in 5 days"), "{}", paths[1]);
    let one = site.run(&["--now=2021-08-31", "preview", "--recipient", "b@example.org"]).exits(1);
    assert_eq!(one.stdout.trim(), paths[1]);
    let none = site.run(&["--now=2021-07-01", "preview"]).exits(1);
    assert!(none.stderr.contains("try another day"), "{}", none.stderr);
}

#[test]
fn who_unsubscribed_gets_nothing_whatever_the_list_says() {
    let site = site();
    site.run(&["unsubscribe", "A@example.org"]).exits(0);
    let again = site.run(&["unsubscribe", "a@example.org"]).exits(0);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    let dry = site.run(&["--now=2021-08-31", "remind", "--dry-run"]).exits(1);
    assert!(!dry.stdout.contains("a@example.org"), "{}", dry.stdout);
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    assert_eq!(outbox(&site).len(), 1);
    let why =
        site.run(&["--now=2021-08-31", "explain", "a", "--recipient", "a@example.org"]).exits(0);
    assert!(why.stdout.contains("not written to any more"), "{}", why.stdout);
    site.run(&["unsubscribe", "--undo", "a@example.org"]).exits(0);
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    assert_eq!(left_once(&site), 2);
    site.run(&["unsubscribe", "nobody"]).exits(2);
}

#[test]
fn who_is_forgotten_is_in_no_file_of_ours() {
    let site = site();
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    site.run(&["--now=2021-08-31", "preview"]).exits(1);
    // What nobody knows of any more, and what was not finished.
    site.write(".crieur/outbox/2021-01-01-0.eml", "To: b@example.org\r\n");
    site.write(".crieur/outbox/.tmp123", "To: b@example.org\r\n");
    site.write(".crieur/restored.sqlite3", "b@example.org");
    site.write(".crieur/ledger.moved.sqlite3", "b@example.org");
    let forget = site.run(&["--now=2021-08-31", "forget", "b@example.org"]).exits(1);
    assert!(
        forget.stderr.contains("still stands in `content/recipients.yaml`"),
        "{}",
        forget.stderr
    );
    for (name, bytes) in site.files(".crieur") {
        let found = bytes.windows(13).any(|window| window == b"b@example.org");
        assert!(!found, "{name}");
    }
    site.run(&["--now=2021-09-01", "remind"]).exits(1);
    assert_eq!(outbox(&site).len(), 1);
}

/// What one file keeps from being forgotten keeps nothing else, and is said.
#[test]
fn what_cannot_be_deleted_keeps_nothing_else() {
    let site = site();
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    // A folder is no file that could be read or deleted, whoever runs this.
    site.write(".crieur/outbox/2021-01-01-0.eml/file", "");
    let forget = site.run(&["--now=2021-08-31", "forget", "b@example.org"]).exits(75);
    assert!(forget.stderr.contains("once more"), "{}", forget.stderr);
    let named: Vec<String> =
        outbox(&site).into_iter().filter(|m| m.contains("b@example.org")).collect();
    assert!(named.is_empty(), "{named:?}");
    std::fs::remove_dir_all(site.path(".crieur/outbox/2021-01-01-0.eml")).unwrap();
    site.run(&["--now=2021-08-31", "forget", "b@example.org"]).exits(1);
}

/// However much is wanted, what stands in a list is nobody's business.
#[test]
fn a_list_is_not_shown_in_what_cron_keeps() {
    let site = site();
    site.write("content/recipients.yaml", "- { email: secret@example.org, domian: x }\n- { email: other@example.org, language: third@example.org }\n");
    let run = site.run(&["--now=2021-08-31", "-v", "remind"]);
    assert!(run.stderr.contains("domian"), "{}", run.stderr);
    for address in ["secret@", "other@", "third@"] {
        assert!(!run.stderr.contains(address), "{}", run.stderr);
    }
    let check = site.run(&["check"]);
    assert!(check.stdout.contains("secret@example.org"), "{}", check.stdout);
}

#[test]
fn a_backup_that_cannot_be_made_needs_a_person() {
    let site = site();
    site.write("content/recipients.yaml", "- a@example.org\n");
    site.run(&["--now=2021-08-30", "remind"]).exits(0);
    site.write(".crieur/backups/ledger-2021-08-31.sqlite3/file", "in the way");
    let run = site.run(&["--now=2021-08-31", "remind"]);
    assert!(run.code == 1 && run.stderr.contains("no new backup"), "{run:?}");
}

#[test]
fn a_damaged_ledger_has_a_way_out() {
    let site = site();
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    site.run(&["ledger", "check"]).exits(0);
    site.write(".crieur/ledger.sqlite3", "nonsense ".repeat(2000));
    site.run(&["ledger", "check"]).exits(1);
    site.run(&["--now=2021-08-31", "remind"]).exits(78);
    site.run(&["status"]).exits(78);
    site.run(&["--now=2021-09-01", "remind", "--dry-run"]).exits(78);
    let restored = site.run(&["ledger", "restore"]).exits(1);
    assert!(restored.stderr.contains("knows of 2 digests again"), "{}", restored.stderr);
    assert!(site.exists(".crieur/damaged-1.sqlite3"));
    // Without one that is sound nobody is sent round in a circle.
    let backups = site.files(".crieur/backups");
    for name in backups.keys().filter(|name| name.ends_with(".sqlite3")) {
        site.write(&format!(".crieur/backups/{name}"), "nonsense ".repeat(2000));
    }
    std::fs::rename(site.path(".crieur/ledger.sqlite3"), site.path("aside")).unwrap();
    let refused = site.run(&["ledger", "restore"]).exits(78).stderr;
    assert!(refused.contains("every backup") && !refused.contains("ledger restore"), "{refused}");
    std::fs::rename(site.path("aside"), site.path(".crieur/ledger.sqlite3")).unwrap();
    let again = site.run(&["--now=2021-08-31", "remind"]).exits(1);
    assert!(again.stderr.contains("no digest is due"), "{}", again.stderr);
    std::fs::remove_dir_all(site.path(".crieur")).unwrap();
    site.run(&["ledger", "restore"]).exits(2);
}

/// What is damaged shows only where it is read: whoever says how things stand looks at all of it.
#[test]
fn damage_in_the_middle_is_no_good_news() {
    let site = site();
    site.run(&["--now=2021-08-31", "remind"]).exits(1);
    let mut ledger = std::fs::read(site.path(".crieur/ledger.sqlite3")).unwrap();
    let middle = ledger.len() / 3..ledger.len() / 2;
    ledger[middle].fill(0xAA);
    std::fs::write(site.path(".crieur/ledger.sqlite3"), ledger).unwrap();
    for command in [&["remind"][..], &["remind", "--dry-run"], &["status"]] {
        let run = site.run(&[&["--now=2021-09-01"], command].concat()).exits(78);
        assert!(run.stderr.contains("the ledger is damaged"), "{command:?}: {}", run.stderr);
    }
}

#[test]
fn a_mistyped_address_is_asked_about() {
    let site = site();
    for command in ["unsubscribe", "forget"] {
        let nobody = format!("{command}@exmaple.org");
        let run = site.run(&["--now=2021-08-31", command, &nobody]).exits(0);
        assert!(run.stderr.contains("is it the right address?"), "{}", run.stderr);
        let run = site.run(&["--now=2021-08-31", command, "b@example.org"]);
        assert!(!run.stderr.contains("right address"), "{}", run.stderr);
    }
}

#[test]
fn what_stands_in_the_ledgers_place_is_for_a_person_to_move() {
    let site = site();
    site.write(".crieur/ledger.sqlite3/file", "in the way");
    site.run(&["--now=2021-08-31", "remind"]).exits(78);
    std::fs::remove_dir_all(site.path(".crieur")).unwrap();
    site.write(".crieur", "in the way");
    site.run(&["--now=2021-08-31", "remind"]).exits(78);
}

#[test]
fn dry_runs_write_nothing_even_beside_a_ledger() {
    let site = site();
    site.run(&["--now=2021-08-29", "remind"]).exits(1);
    // Previews are what `preview` is there for.
    let is_other = |name: &String| !name.starts_with(".crieur/preview/");
    let seen = || {
        let (mut files, mut times) = (site.files("."), site.times("."));
        files.retain(|name, _| is_other(name));
        times.retain(|name, _| is_other(name));
        (files, times)
    };
    let before = seen();
    for arguments in [
        &["remind", "--dry-run"][..],
        &["status"],
        &["status", "--format", "json"],
        &["simulate", "--from", "2021-09-01", "--to", "2021-09-09"],
        &["explain", "a", "--recipient", "a@example.org"],
        &["ledger", "check"],
        &["check"],
        &["list", "--all"],
        &["recipients", "list"],
        &["preview"],
    ] {
        let code = site.run(&[&["--now=2021-08-31"], arguments].concat()).code;
        assert!(code < 2, "{arguments:?}");
        assert_eq!(seen(), before, "{arguments:?}");
    }
    assert!(!site.files(".crieur/preview").is_empty());
}

#[test]
fn logs_are_lines_for_machines_where_they_are_wanted() {
    let site = site();
    let run = site.run(&["--now=2021-08-31", "--log-format", "json", "-v", "remind"]).exits(1);
    let lines: Vec<serde_json::Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["level"], "error");
    assert_eq!(lines[0]["code"], "invalid-recipient");
    assert_eq!(lines[0]["line"], 5);
    assert_eq!(lines[1]["recipient"], "a…@example.org");
    assert_eq!(lines[1]["time"], "2021-08-31T06:00:00Z");
    assert_eq!(lines[3]["message"], "2 digests in `.crieur/outbox`");
    assert!(!run.stderr.contains("a@example.org"));
    site.write("content/site.yaml", "title: x");
    let failed = site.run(&["--log-format", "json", "remind"]).exits(78);
    let last = failed.stderr.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(last).unwrap()["exit_code"], 78);
}

#[test]
fn owners_of_postings_are_told_when_the_site_wants_it() {
    let site = Site::new();
    let settings = site.read("content/site.yaml");
    site.write("content/site.yaml", format!("{settings}reminders: {{ owners: true }}\n"));
    site.posting("a.md", "title: A\ncloses: 2021-09-03\ncontact: Jo <jo@example.org>");
    site.run(&["--now=2021-08-31", "remind"]).exits(0);
    let mails = outbox(&site);
    assert!(mails[0].contains("To: jo@example.org"), "{}", mails[0]);
    assert!(mails[0].contains("Vos offres"), "{}", mails[0]);
    site.run(&["unsubscribe", "jo@example.org"]).exits(0);
    site.run(&["--now=2021-09-03", "remind"]).exits(0);
    assert_eq!(outbox(&site).len(), 1);
}

#[cfg(unix)]
#[test]
fn the_machines_own_mail_system_is_handed_what_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let site = site();
    let settings = site.read("content/site.yaml");
    let transport = "transport: sendmail, sendmail: bin/sendmail, smtp: { retry_after: [] }";
    site.write("content/site.yaml", settings.replace("mail: {", &format!("mail: {{ {transport},")));
    let script = |body: &str| {
        site.write("bin/sendmail", format!("#!/bin/sh\n{body}\n"));
        std::fs::set_permissions(site.path("bin/sendmail"), PermissionsExt::from_mode(0o755))
            .unwrap();
    };
    let remind = |code| site.run(&["--now=2021-08-31", "remind"]).exits(code).stderr;
    script("cat > /dev/null; echo busy >&2; exit 75");
    assert!(remind(75).contains("2 not taken yet"));
    script("cat > /dev/null; case $5 in a@*) echo unknown >&2; exit 67;; esac; kill -9 $$");
    let said = remind(75);
    assert!(said.contains("a…@example.org: refused") && said.contains("unknown"), "{said}");
    assert!(said.contains("b…@example.org: may have arrived"), "{said}");
    // However it reads its input.
    script("printf '%s\\n' \"$*\" >> args; cat /dev/stdin >> mails");
    assert!(remind(1).contains("1 digest sent"));
    assert_eq!(site.read("args"), "-i -f offres@example.org -- b@example.org\n");
    let mail = site.read("mails");
    assert!(mail.contains("To: b@example.org\n") && !mail.contains('\r'), "{mail}");
    std::fs::remove_file(site.path("bin/sendmail")).unwrap();
    site.posting("c.md", "title: C\ncloses: 2021-09-02");
    let missing = site.run(&["--now=2021-09-01", "remind"]).exits(78).stderr;
    assert!(missing.contains("bin/sendmail`: correct `mail.sendmail`"), "{missing}");
}

#[test]
fn a_clock_that_was_wrong_for_a_run_silences_nobody() {
    let site = Site::new();
    site.write("content/recipients.yaml", "- a@example.org\n");
    site.posting("a.md", "title: A\ncloses: 2027-09-05");
    site.posting("b.md", "title: B\ncloses: 2021-09-05");
    site.run(&["--now=2027-09-05", "remind"]).exits(0);
    site.run(&["--now=2021-09-04", "remind"]).exits(0);
    assert_eq!(left_once(&site), 2);
    site.run(&["--now=2021-09-04T20:00:00Z", "remind"]).exits(0);
    assert_eq!(left_once(&site), 2);
}

/// An hour is repeated in autumn and left out in spring, and machines' clocks are set back: no day
/// has two digests, and no reminder comes twice.
#[test]
fn clocks_are_put_back_and_nothing_is_sent_twice() {
    for (closes, from) in [("2021-10-31", "2021-10-29"), ("2021-03-28", "2021-03-26")] {
        let site = Site::new();
        site.write("content/recipients.yaml", "- email: a@example.org\n  lead_days: [2, 1, 0]\n");
        site.posting("a.md", &format!("title: A\ncloses: {closes}"));
        let begin = format!("{from}T00:00:00Z").parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let hours = (0..72).chain(47..72).chain(24..72);
        for hour in hours {
            let now = begin + chrono::TimeDelta::hours(hour);
            let now = format!("--now={}", now.to_rfc3339());
            let output =
                site.command().args([&now, "remind"]).env("TZ", "America/New_York").output();
            assert!(output.unwrap().status.success());
        }
        assert_eq!(left_once(&site), 3, "{closes}");
    }
}

#[test]
fn a_list_that_is_empty_all_of_a_sudden_is_pointed_out() {
    let site = Site::new();
    site.posting("a.md", "title: A\ncloses: 2021-09-03");
    site.write("content/recipients.yaml", "");
    let now = "--now=2021-09-01T10:00:00Z";
    // Nobody was ever on it.
    assert_eq!(site.run(&[now, "remind"]).exits(0).stderr, "no digest is due\n");
    site.write("content/recipients.yaml", "- email: a@example.org\n");
    site.run(&[now, "remind"]).exits(0);
    site.write("content/recipients.yaml", "");
    let run = site.run(&["--now=2021-09-02T10:00:00Z", "remind"]).exits(1);
    assert!(run.stderr.contains("nobody on the mailing list any more"), "{}", run.stderr);
}

#[test]
fn addresses_that_cannot_be_read_are_made_unreadable_in_what_cron_keeps() {
    let site = Site::new();
    site.posting("a.md", "title: A\ncloses: 2021-09-03");
    let list = "- email: Jean <jean.martin@example.org>\n- email: a@example.org\n- email: a@example.org\n- lena.secret at example.org\n- email: [lena.secret example.org]\n- email: x\n  name: y\n- email: '@lena.secret'\n";
    site.write("content/recipients.yaml", list);
    for arguments in [&["remind", "-v"][..], &["remind", "--log-format", "json"], &["run", "-q"]] {
        let mut all = vec!["--now=2021-09-01T10:00:00Z"];
        all.extend(arguments);
        let run = site.run(&all);
        let is_shown = run.stderr.contains("J***") || run.stderr.contains("\"line\":1");
        assert!(is_shown, "{}", run.stderr);
        for secret in ["jean.martin", "lena.secret", "secret at example.org"] {
            assert!(!run.stderr.contains(secret), "{}", run.stderr);
        }
    }
    // Whoever mends the list has to see it.
    let check = site.run(&["--now=2021-09-01", "check"]);
    assert!(check.stdout.contains("jean.martin@example.org"), "{}", check.stdout);
}
