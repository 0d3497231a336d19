//! Every command of the program, with its output and exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{SETTINGS, Site};
use serde_json::Value;

const NOW: &str = "--now=2021-08-31";

fn two() -> Site {
    let site = Site::new();
    site.posting("a.md", "title: Développeuse\nteam: E\nopens: 2021-08-01\ncloses: 2021-09-03");
    site.posting("b.md", "title: Designer\norganisation: O\ncontract: CDI\ndomains: [design, web]\ncloses: 2021-08-01");
    site
}

#[test]
fn init_makes_a_site_that_builds_and_reminds_at_once() {
    let site = Site::empty();
    site.run(&[NOW, "init", "jobs"]).exits(0);
    let run = site.run(&["--site", "jobs", NOW, "run"]).exits(0);
    assert!(run.stderr.contains("published 1 open posting in 4 feeds"), "{}", run.stderr);
    assert!(run.stderr.contains("2 digests in `jobs/.crieur/outbox`"), "{}", run.stderr);
    assert!(site.run(&["--site", "jobs", NOW, "check", "--strict"]).exits(0).stdout.is_empty());
    let again = site.run(&[NOW, "init", "jobs"]).exits(78);
    assert_eq!(again.stderr, "crieur: there is a site in `jobs` already\n");
}

#[test]
fn new_makes_a_posting_dated_today_whatever_its_title() {
    let site = Site::new();
    let title = "Poste : « dév » #1 \"full-stack\" @ l'été";
    let new = site.run(&[NOW, "new", title]).exits(0);
    assert_eq!(new.stdout, "content/postings/2021-08-31-poste-dev-1-full-stack-l-ete.md\n");
    let list = site.run(&[NOW, "list", "--format", "json"]).exits(0).json();
    assert_eq!(list[0]["title"], title);
    assert_eq!(list[0]["opens"], "2021-08-31");
    assert!(site.run(&[NOW, "check", "--strict"]).exits(0).stdout.is_empty());
    let again = site.run(&[NOW, "new", title]).exits(2);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    site.run(&[NOW, "new", "???"]).exits(2);
}

#[test]
fn list_shows_what_is_open_or_all_in_three_formats() {
    let site = two();
    let open = site.run(&[NOW, "list", "--format", "json"]).exits(0).json();
    insta::assert_json_snapshot!(open);
    let all = site.run(&[NOW, "list", "--all", "--format", "csv"]).exits(0);
    insta::assert_snapshot!("list_csv", all.stdout);
    let table = site.run(&[NOW, "list", "--all"]).exits(0);
    insta::assert_snapshot!("list_table", table.stdout);
    let within = |days: &str| {
        site.run(&[NOW, "list", "--closing-within", days, "--format", "json"])
            .exits(0)
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((within("2"), within("3")), (0, 1));
}

#[test]
fn check_tells_problems_in_three_formats() {
    let site = two();
    site.posting("c.md", "role: x\nposte_ferme: 2021-02-30\nlayout: job");
    let json = site.run(&[NOW, "check", "--format", "json"]).exits(1);
    insta::assert_json_snapshot!(json.json());
    assert_eq!(json.stderr, "2 postings: 1 error, 1 note\n");
    let github = site.run(&[NOW, "check", "--format", "github"]).exits(1);
    insta::assert_snapshot!("check_github", github.stdout);
    let coloured = site.run(&[NOW, "--color", "always", "check"]).exits(1);
    assert!(coloured.stdout.contains("\u{1b}["));
    let elsewhere = Site::empty();
    let root = site.root().to_str().unwrap();
    let prefixed = elsewhere.run(&["--site", root, NOW, "check"]).exits(1);
    assert!(
        prefixed.stdout.contains(&format!("{root}/content/postings/c.md:3:14")),
        "{}",
        prefixed.stdout
    );
}

#[test]
fn warnings_fail_only_where_that_is_asked_for() {
    let site = Site::new();
    site.posting("a.md", "role: x\nposte_ferme: 31/12/2021");
    site.run(&[NOW, "check"]).exits(0);
    site.run(&[NOW, "check", "--strict"]).exits(1);
}

#[test]
fn explain_says_why() {
    let site = two();
    site.write(
        "content/recipients.yaml",
        "- email: a@example.org\n- email: b@example.org\n  teams: Z\n",
    );
    let explain = |arguments: &[&str], code| {
        let all: Vec<&str> = [NOW, "explain"].iter().chain(arguments).copied().collect();
        site.run(&all).exits(code)
    };
    insta::assert_snapshot!(
        "explain_open",
        explain(&["a", "--recipient", "a@example.org"], 0).stdout
    );
    insta::assert_snapshot!("explain_closed", explain(&["content/postings/b.md"], 0).stdout);
    let no = explain(&["tag:jobs.example.org,2021:a", "--recipient", "b@example.org"], 0);
    assert!(no.stdout.contains("no: it is not among the recipient's interests"), "{}", no.stdout);
    let eve = site.run(&["--now=2021-09-02", "explain", "a"]).exits(0);
    assert!(eve.stdout.contains("(1 day left)"), "{}", eve.stdout);
    assert!(explain(&["aa"], 2).stderr.contains("did you mean `a`?"));
    site.posting("broken.md", "role: x\nposte_ferme: 2021-02-30");
    let broken = explain(&["broken.md"], 1);
    assert_eq!(broken.stdout, "content/postings/broken.md: not published\n");
    assert!(broken.stderr.contains("invalid-date"));
}

#[test]
fn explain_says_when_it_will_be_and_what_closes_what_has_no_date() {
    let site = Site::new();
    let settings = site.read("content/site.yaml");
    site.write(
        "content/site.yaml",
        format!("{settings}stale_after_days: 90\nreminders: {{ owners: true }}\n"),
    );
    site.write(
        "content/recipients.yaml",
        "- { email: w@example.org, weekday: Wed }\n- { email: n@example.org, new: true }\n",
    );
    site.posting("a.md", "title: A\nopens: 2021-01-01\ncloses: 2021-09-12\ncontact: o@example.org");
    site.posting("b.md", "title: B\nopens: 2021-08-30");
    // A Friday.
    let explain = |posting: &str, to: &str| {
        let arguments = ["--now=2021-09-03", "explain", posting, "--recipient", to];
        site.run(&arguments).exits(0).stdout
    };
    assert!(explain("a", "w@example.org").contains("not yet: the recipient's digest comes on Wed"));
    let owner = explain("a", "o@example.org");
    assert!(owner.contains("no: they are not on the mailing list"), "{owner}");
    site.run(&["--now=2021-09-03", "remind"]).exits(0);
    let told = explain("b", "n@example.org");
    assert!(told.contains("no: it was announced when it opened"), "{told}");
    assert!(told.contains("`stale_after_days` does, after 2021-11-28"), "{told}");
}

#[test]
fn settings_are_refused_with_line_and_suggestion() {
    for (name, settings) in [
        (
            "unknown_keys",
            "title: T\nurl: https://a.example.org/\nlangage: fr\nmail: { form: x, transport: file }\n",
        ),
        ("missing_url", "title: T\n"),
        ("bad_zone", "title: T\nurl: https://a.example.org/\ntimezone: Europe/Pariss\n"),
        (
            "bad_values",
            "title: T\nurl: https://a.example.org/\nreminders: { lead_days: [7, 3000], send_after: \"08:00\" }\nids: { authority: \"A b\", since: soon }\n",
        ),
        ("bad_type", "title: T\nurl: https://a.example.org/\nreminders:\n  owners: perhaps\n"),
        ("bad_enum", "title: T\nurl: https://a.example.org/\nmail:\n  transport: pigeon\n"),
        ("bad_yaml", "title: T\n  url: x\n"),
        ("not_the_web", "title: T\nurl: ftp://a.example.org/\n"),
        ("unknown_language", "title: T\nurl: https://a.example.org/\nlanguage: de\n"),
        ("empty", ""),
    ] {
        let site = Site::new();
        site.write("content/site.yaml", settings);
        let build = site.run(&["build"]).exits(78);
        insta::assert_snapshot!(format!("settings_{name}"), build.stderr);
        assert!(!site.exists("out"));
        let check = site.run(&["check", "--format", "json"]).exits(78).json();
        assert!(!check.as_array().unwrap().is_empty());
    }
}

#[test]
fn what_is_wrong_with_a_setting_is_said_in_plain_words() {
    let mut said = String::new();
    for setting in [
        "mail: { smtp: { port: abc } }",
        "mail: { smtp: { port: 70000 } }",
        "mail: { from: nobody }",
        "mail: { dkim: { domain: a.example.org } }",
        "hub: hub",
        "unsubscribe: { url: 'mailto:a@example.org' }",
        "feeds: { by: [team, domains] }",
        "feeds: { by: team }",
        "reminders: { lead_days: 3 }",
        "reminders: { lead_days: [7, -2] }",
        "reminders: { send_after: 8 }",
        "reminders: { owners: perhaps }",
        "reminders: soon",
        "author: { email: a@example.org }",
        "author: { name: A, name: B }",
        "title: B",
        "description: [a]",
        "recipients: [a]",
        "language: 3",
        "ids: { since: 21 }",
        "ids: { since: [2021] }",
        "stale_after_days: -1",
        "ledger: [a]",
        "ledger: { url: 'postgres://a@db.example.org/a', password_env: A, password_file: b }",
    ] {
        let site = Site::new();
        let settings = format!("title: A\nurl: https://a.example.org/\n{setting}\n");
        site.write("content/site.yaml", settings);
        said += &site.run(&["check"]).exits(78).stdout;
    }
    for word in ["u16", "u32", "struct", "variant", "expected", "untagged", "integer"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_template_that_cannot_be_read_is_shown_where_it_breaks() {
    for (file, text, place) in [
        ("posting.html", "<p>\n  {% if x y %}\n</p>\n", "templates/posting.html:2:3"),
        ("posting.html", "<p>\n{% if x %}\n\n", "templates/posting.html:2:1"),
        ("part.html", "{{ a b }}\n", "templates/part.html:1:1"),
        ("fr.ftl", "a = b\n\nc = {\n", "templates/fr.ftl:3:1"),
    ] {
        let site = two();
        site.write(&format!("templates/{file}"), text);
        let found = site.run(&["check"]).exits(78).stdout;
        assert!(found.contains(place), "{found}");
    }
}

#[test]
fn the_contracts_example_is_accepted() {
    let site = Site::new();
    site.write(
        "content/site.yaml",
        r#"title: Offres d'emploi
url: https://emplois.example.org/
language: fr
timezone: Europe/Paris
author: { name: Exemple, email: emplois@example.org }
ids: { authority: emplois.example.org, since: 2021 }
feeds: { by: [domain, team, contract, organisation] }
reminders: { lead_days: [7, 3, 1], send_after: "08:00", owners: false, in_doubt: resend }
mail:
  from: "Exemple <emplois@example.org>"
  reply_to: contact@example.org
  list_id: emplois.example.org
  transport: file
  smtp: { host: 127.0.0.1, port: 2525, security: none, connections: 4 }
  dkim: { domain: example.org, selector: crieur, key_file: dkim.pem }
unsubscribe: { mailto: desabonnement@example.org }
ledger: sqlite
"#,
    );
    site.run(&["check", "--strict"]).exits(0);
}

#[test]
fn templates_of_a_site_replace_ours_and_their_mistakes_are_shown() {
    let site = two();
    site.write(
        "templates/entry.html",
        "<p>{{ posting.title }}: {{ t(\"closes-on\", date=posting.deadline) }}</p>",
    );
    site.write("templates/fr.ftl", "closes-on = Clôture : { $date }\n");
    site.run(&[NOW, "build"]).exits(0);
    assert!(
        site.read("out/feed.json")
            .contains("<p>Développeuse: Clôture : vendredi 3 septembre 2021</p>")
    );
    site.write("templates/entry.html", "\n{{ posting.titel.x }}");
    let build = site.run(&[NOW, "build"]).exits(78);
    assert!(build.stderr.contains("`templates/entry.html`, line 2"), "{}", build.stderr);
    // One posting without the value is left out; the others are published.
    site.posting("c.md", "title: C\npay: { min: 1 }");
    site.write("templates/entry.html", "<p>{{ posting.extra.pay.min }}</p>");
    let build = site.run(&[NOW, "build"]).exits(1);
    assert!(
        build.stderr.contains("error[template]") && build.stderr.contains("content/postings/a.md"),
        "{}",
        build.stderr
    );
    assert!(site.read("out/feed.json").contains("<p>1</p>"));
    site.write("templates/entry.html", "{% if %}");
    site.run(&[NOW, "check"]).exits(78);
}

#[test]
fn a_site_that_is_not_there_is_said_to_be_missing() {
    let nowhere = Site::empty();
    let build = nowhere.run(&["build"]).exits(78);
    assert!(build.stderr.contains("crieur init DIR"), "{}", build.stderr);
    // Postings that vanished must not look like a site without any.
    let site = Site::empty();
    site.write("content/site.yaml", SETTINGS);
    site.run(&["build"]).exits(78);
    assert!(!site.exists("out"));
}

#[test]
fn usage_completions_and_manual() {
    let site = two();
    site.run(&["--frobnicate"]).exits(2);
    site.run(&["--now", "tomorrow", "list"]).exits(2);
    assert!(site.run(&["completions", "bash"]).exits(0).stdout.contains("_crieur"));
    assert!(site.run(&["man"]).exits(0).stdout.contains(".TH crieur"));
    assert!(site.run(&["--help"]).exits(0).stdout.contains("75 temporary failure"));
    for command in ["init", "new", "check", "list", "build", "remind", "run", "explain"] {
        site.run(&[command, "--help"]).exits(0);
    }
}

#[test]
fn options_may_come_from_the_environment() {
    let site = two();
    let elsewhere = Site::empty();
    let output = elsewhere
        .command()
        .env("CRIEUR_SITE", site.root())
        .env("CRIEUR_NOW", "2021-07-31")
        .args(["list", "--format", "csv"])
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("content/postings/b.md,b,"));
}

#[test]
fn two_postings_with_one_id_are_an_error_that_names_both() {
    let site = Site::new();
    site.posting("A.md", "title: First");
    site.posting("a.md", "title: Second");
    site.posting("c.md", "title: Third\nid: https://example.org/1");
    site.posting("d.md", "title: Fourth\nid: https://example.org/1");
    let build = site.run(&[NOW, "build"]).exits(1);
    assert!(
        build.stderr.contains("`content/postings/A.md` has the same id")
            && build.stderr.contains("content/postings/a.md:2:8"),
        "{}",
        build.stderr
    );
    assert!(
        build.stderr.contains("`content/postings/c.md` has the same id")
            && build.stderr.contains("content/postings/d.md:3:5"),
        "{}",
        build.stderr
    );
    let list = site.run(&[NOW, "list", "--format", "json"]).exits(0).json();
    let titles: Vec<_> =
        list.as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["First", "Third"]);
}

#[test]
fn what_nobody_sees_is_in_nobodys_way() {
    for (other, until) in [
        ("status: draft", None),
        ("open: false", None),
        ("closes: 2021-08-01", None),
        ("opens: 2022-01-01", Some("2022-01-01")),
    ] {
        let site = Site::new();
        site.posting("a.md", &format!("title: Another\nslug: dev\n{other}"));
        site.posting("dev.md", "title: Dev\nopens: 2021-08-01");
        let titles = |now: &str| {
            site.run(&["--now", now, "build"]).exits(1);
            let json: Value = serde_json::from_str(&site.read("out/feed.json")).unwrap();
            let items = json["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let build = site.run(&[NOW, "build"]).exits(1);
        assert!(build.stderr.contains("content/postings/a.md:3:7"), "{}", build.stderr);
        assert_eq!(titles("2021-08-31"), ["Dev"], "{other}");
        if let Some(day) = until {
            // Both are open: the first in path order.
            assert_eq!(titles(day), ["Another"]);
        }
    }
    // What was open last stays, when it closes, too.
    let site = Site::new();
    site.posting("2020.md", "title: Old\nslug: dev\ncloses: 2020-08-01");
    site.posting("2021.md", "title: New\nslug: dev\ncloses: 2021-09-01\nfilled: true");
    site.run(&[NOW, "build"]).exits(1);
    assert!(site.read("out/postings/dev.html").contains("New"));
    assert!(site.read("out/closing-dates.ics").contains("CANCELLED"));
}

#[test]
fn a_settings_file_in_another_encoding_is_said_where_and_in_json() {
    let site = Site::new();
    site.write(
        "content/site.yaml",
        b"title: Offres\nurl: https://x.example.org/\ndescription: caf\xe9\n",
    );
    let check = site.run(&[NOW, "check", "--format", "json"]).exits(78);
    let problem = &check.json()[0];
    assert_eq!((&problem["line"], &problem["column"]), (&3.into(), &17.into()), "{problem}");
    site.write("content/site.yaml", SETTINGS);
    site.write("templates/entry.html", b"{# \xe9 #}");
    let check = site.run(&[NOW, "check", "--format", "json"]).exits(78);
    assert_eq!(check.json()[0]["path"], "templates/entry.html");
}

#[test]
fn nothing_is_published_from_what_is_read_or_private() {
    let site = Site::new();
    for out in [".", "content", "content/postings/x", "templates", ".crieur", ".crieur/x"] {
        for command in [&["build", "--out", out][..], &["serve", "--out", out]] {
            let run = site.run(command).exits(78);
            assert!(run.stderr.contains("is no folder to publish"), "{out}: {}", run.stderr);
        }
    }
}

#[test]
fn a_password_in_the_settings_is_never_shown() {
    let site = Site::new();
    for ledger in ["postgres://u:s3cret@db.example.org/d", "{ url: 'postgres://u:s3cret@h/d' }"] {
        site.write(
            "content/site.yaml",
            format!("title: A\nurl: https://a.example.org/\nledger: {ledger}\n"),
        );
        for command in ["check", "build", "remind", "status"] {
            let output = site.run(&[NOW, command]).exits(78);
            assert!(!format!("{output:?}").contains("s3cret"), "{output:?}");
            assert!(format!("{output:?}").contains("password"), "{output:?}");
        }
    }
}

#[test]
fn a_password_that_stands_in_the_settings_is_shown_in_no_format() {
    let site = Site::new();
    for mail in [
        "mail: { smtp: { password: hunter2, prot: 5 } }",
        "mail: { smtp: { password: hunter2, port: abc } }",
        "mail:\n  smtp:\n    host: mail.example.org\n    password: hunter2\n    prot: 5",
        // The same, and no YAML any more.
        "mail: { smtp: { password: hunter2, prot: 5 }",
        "mail: { smtp: { password: hunter2, prot: [5 } }",
        "mail:\n  smtp:\n    password: hunter2\n   prot: 5",
        "mail:\n  smtp:\n    password: \"hunter2\n    prot: 5",
        // Whatever a key is called that is none.
        "mail: { smtp: { kennwort: hunter2, prot: 5 } }",
        "mail:\n  smpt:\n    geheim: hunter2",
        "ledger: { url: 'postgres://h/d', parole: hunter2 }",
        "smtp: { host: h, kennwort: hunter2 }",
        "smpt:\n  host: h\n  kennwort: hunter2",
        "mail:\n  smtp:\n    kennwort: hunter2: x",
        "mail: { smtp: { host: h, kennwort: hunter2, x: [ }",
        "smtp:\n  kennwort: hunter2: x",
    ] {
        let settings = format!("title: A\nurl: https://a.example.org/\n{mail}\n");
        site.write("content/site.yaml", settings);
        for command in [
            &["check"][..],
            &["check", "--format=json"],
            &["check", "--format=github"],
            &["build"],
            &["--log-format=json", "build"],
            &["-v", "run"],
        ] {
            let run = site.run(&[&[NOW], command].concat()).exits(78);
            let said = run.stdout + &run.stderr;
            assert!(said.contains("site.yaml"), "{command:?} {mail}: {said}");
            assert!(!said.contains("hunter2"), "{command:?} {mail}: {said}");
        }
    }
}

/// Whoever only asks needs no password, no key and no token: none of them is in the memory of what answers.
#[test]
fn commands_that_only_answer_read_no_secret() {
    let site = Site::new();
    let mail = "mail:\n  from: a@example.org\n  transport: smtp\n  smtp: { host: mail.example.org, user: u, password_file: away }\n  dkim: { domain: example.org, selector: s, key_file: away.pem }\n";
    site.write("content/site.yaml", format!("title: A\nurl: https://a.example.org/\n{mail}"));
    site.posting("a.md", "title: A\ncloses: 2021-09-03");
    site.write("content/recipients.yaml", "- a@example.org\n");
    for command in [
        &["status"][..],
        &["list"],
        &["remind", "--dry-run"],
        &["preview"],
        &["explain", "a"],
        &["simulate", "--from", "2021-08-01", "--to", "2021-08-02"],
    ] {
        let run = site.run(&[&[NOW], command].concat()).exits(0);
        assert!(!format!("{run:?}").contains("away"), "{run:?}");
    }
    assert!(site.run(&[NOW, "remind"]).exits(78).stderr.contains("away"));
    // Nor is one an argument, which everybody can read in the list of processes.
    for command in ["remind", "run", "serve", "receive"] {
        let help = site.run(&[command, "--help"]).exits(0).stdout.to_lowercase();
        assert!(["password", "secret", "token"].iter().all(|word| !help.contains(word)), "{help}");
    }
}

#[test]
fn what_keeps_people_or_search_engines_from_something_is_checked() {
    let site = two();
    let settings = site.read("content/site.yaml");
    site.write(
        "content/site.yaml",
        format!("{settings}reminders: {{ send_after: \"23:30\" }}\ntimezone: UTC\n"),
    );
    let check = site.run(&[NOW, "check"]).exits(0).stdout;
    assert!(check.contains("digests leave from 23:30 to midnight only"), "{check}");
    assert!(check.contains("`country` is missing"), "{check}");
    site.run(&[NOW, "build"]).exits(0);
    assert!(!site.read("out/postings/a.html").contains("ld+json"));

    let people = "unsubscribe: { url: \"https://jobs.example.org/off\" }\nsubscribe: { url: \"https://jobs.example.org/on\" }\nmail: { from: a@example.org }\n";
    site.write("content/site.yaml", format!("title: A\nurl: https://jobs.example.org/\n{people}"));
    for name in ["notice.html", "form.html", "confirm.txt"] {
        site.write(&format!("templates/{name}"), "{{ site.title }}\n{{ nothing.more }}");
        let check = site.run(&[NOW, "check"]).exits(1).stdout;
        assert!(check.contains(&format!("templates/{name}:2")), "{check}");
        site.run(&[NOW, "serve", "--addr", "127.0.0.1:0"]).exits(78);
        std::fs::remove_file(site.path(&format!("templates/{name}"))).unwrap();
    }
    site.run(&[NOW, "check"]).exits(0);
}

/// What is secret has no text, in whatever message somebody prints it one day.
#[test]
fn no_key_and_no_password_is_printed_by_mistake() {
    let secret = b"hunter2".to_vec();
    let bytes = format!("{secret:?}");
    let bytes = bytes.trim_matches(['[', ']']);
    let keys = crieur::tokens::Keys::new(secret.clone(), vec![(1, secret.clone())]);
    let address = crieur::ledger::Address::new(
        "postgres://user@127.0.0.1/database",
        Some("hunter2"),
        || Err("it is here".to_owned()),
        |why| why,
    );
    for printed in [format!("{keys:?} {keys:#?}"), format!("{address:?} {address:#?}")] {
        for secret in ["hunter2", bytes] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
    assert!(address.is_ok());
}

#[test]
fn what_is_not_said_of_a_mail_server_is_as_is_usual() {
    use crieur::site::Security;
    use crieur::site::Site as Settings;
    for (smtp, port, security) in [
        ("", 25, Security::None),
        ("host: localhost", 25, Security::None),
        ("host: '::1'", 25, Security::None),
        ("host: mail.example.org", 587, Security::Starttls),
        ("host: 192.0.2.1", 587, Security::Starttls),
        ("host: mail.example.org, port: 465", 465, Security::Tls),
        ("host: localhost, port: 465", 465, Security::Tls),
        ("host: mail.example.org, port: 25", 25, Security::Starttls),
        ("host: mail.example.org, security: tls", 465, Security::Tls),
        ("host: localhost, security: starttls", 587, Security::Starttls),
        ("host: localhost, security: tls", 465, Security::Tls),
        ("host: mail.example.org, security: starttls, port: 465", 465, Security::Starttls),
    ] {
        let settings = Settings::parse(
            &format!("{SETTINGS}\n")
                .replace("mail: { ", &format!("mail: {{ transport: smtp, smtp: {{ {smtp} }}, ")),
        );
        let smtp_settings = settings.unwrap().mail.smtp;
        assert_eq!((smtp_settings.port(), smtp_settings.security()), (port, security), "{smtp}");
        assert_eq!(smtp_settings.retry_after, [1, 5, 15], "{smtp}");
        assert_eq!((smtp_settings.timeout_seconds, smtp_settings.connections), (60, 4), "{smtp}");
        assert_eq!(smtp_settings.rate_per_second, None, "{smtp}");
    }
}

#[test]
fn a_command_line_that_is_wrong_ends_with_2() {
    let site = two();
    site.write("content/recipients.yaml", "- a@example.org\n");
    for wrong in [
        &[][..],
        &["publish"],
        &["build", "--nothing"],
        &["list", "--closing-within", "soon"],
        &["list", "--format", "xml"],
        &["simulate", "--from", "2021-09-01"],
        &["--now=soon", "list"],
        &["--now=", "list"],
        &["--now=2021-02-30", "list"],
        &["explain", "nothing-like-it"],
        &["explain", "a", "--recipient", "nobody@example.org"],
        &["preview", "--recipient", "nobody@example.org"],
        &["remind", "--recipient", "nobody@example.org"],
        &["recipients", "remove", "nobody@example.org"],
        &["recipients", "add", "no address"],
        &["unsubscribe", "no address"],
    ] {
        let run = site.run(wrong).exits(2);
        assert!(!run.stderr.is_empty(), "{wrong:?}");
        assert!(!site.exists(".crieur/outbox"), "{wrong:?}");
    }
}

#[test]
fn what_would_not_be_published_is_found_before() {
    let site = two();
    site.write("templates/posting.html", "{{ posting.title }}{{ posting.salary.much }}");
    site.posting("b.md", "title: B\nredirect_from: /feed.atom");
    let found = site.run(&[NOW, "check"]).exits(1).stdout;
    assert!(found.contains("templates/posting.html") && found.contains("/feed.atom"), "{found}");
    let strict = site.run(&[NOW, "build", "--strict"]).exits(1);
    assert!(strict.stderr.contains("nothing was published"), "{}", strict.stderr);
    assert!(!site.exists("out/index.html"));
    let same = "https://a.example.org/on";
    site.write("content/site.yaml", format!("title: A\nurl: https://a.example.org/\nsubscribe: {{ url: '{same}' }}\nunsubscribe: {{ url: '{same}' }}\n"));
    assert!(site.run(&[NOW, "check"]).stdout.contains("two pages would be at"));
}

#[test]
fn what_is_private_is_not_served_by_whatever_way_its_folder_is_named() {
    let site = two();
    std::os::unix::fs::symlink(site.root(), site.root().join("link")).unwrap();
    for out in [".", "out/..", "link", "link/out/..", "content", "link/content"] {
        let built = site.run(&[NOW, "build", "--out", out]).exits(78);
        assert!(built.stderr.contains("is no folder to publish"), "{out}: {}", built.stderr);
    }
    assert!(!site.root().join("index.html").exists() && !site.root().join("out").exists());
    site.run(&[NOW, "build", "--out", "link/public"]).exits(0);
}

#[test]
fn what_has_one_address_and_what_nobody_can_be_told_in_is_pointed_out() {
    let site = Site::new();
    site.posting("a.md", "title: A\nteam: R&D");
    site.posting("b.md", "title: B\nteam: R-D");
    site.posting("c.md", "title: C\nteam: r&d");
    site.write("content/recipients.yaml", "- { email: a@example.org, language: de }\n");
    let check = site.run(&[NOW, "check"]).exits(0).stdout;
    assert!(check.contains("`R-D` and `R&D` have one address"), "{check}");
    assert_eq!(check.matches("have one address").count(), 1, "{check}");
    assert!(check.contains("there is no catalog for `de`"), "{check}");
}

#[test]
fn an_address_with_a_password_in_it_is_refused_without_showing_it() {
    let site = Site::new();
    for setting in
        ["hub: https://u:s3cret@hub.example.org/", "url: https://u:s3cret@a.example.org/"]
    {
        let url = if setting.starts_with("url") { "" } else { "url: https://a.example.org/\n" };
        site.write("content/site.yaml", format!("title: T\n{url}{setting}\n"));
        for command in ["check", "build"] {
            let run = site.run(&[command]).exits(78);
            let said = run.stdout + &run.stderr;
            assert!(said.contains("neither a user nor a password"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

#[test]
fn a_new_site_keeps_what_is_private_out_of_git() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::empty();
    site.write(".gitignore", "_site\n/out/");
    site.run(&["--now=2026-08-30", "init"]).exits(0);
    let list = std::fs::metadata(site.path("content/recipients.yaml")).unwrap();
    assert_eq!(list.permissions().mode() & 0o777, 0o600);
    let ignored = site.read(".gitignore");
    assert!(ignored.starts_with("_site\n/out/\n/.crieur/\n"), "{ignored}");
    assert_eq!(ignored.matches("/out/").count(), 1, "{ignored}");
    assert!(ignored.contains("*.pem") && ignored.ends_with("/smtp-password\n"), "{ignored}");
}

#[test]
fn the_manual_has_every_command_with_its_options() {
    let site = Site::empty();
    let manual = site.run(&["man"]).exits(0).stdout;
    for said in
        ["crieur build", "crieur recipients add", "\\-\\-strict", "\\-\\-dry\\-run", "CRIEUR_SITE"]
    {
        assert!(manual.contains(said), "{said}: {manual}");
    }
    assert!(!manual.contains("crieur\\-init(1)"), "{manual}");
}
