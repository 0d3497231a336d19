//! The people who subscribe, beside the list in the site's files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::Site;

const NOW: &str = "--now=2021-08-31";

fn site() -> Site {
    let site = Site::new();
    site.write(
        "content/recipients.yaml",
        "- email: listed@example.org\n- email: both@example.org\n  domains: [design]\n",
    );
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-03\ndomains: Développement");
    site.posting("b.md", "title: Designer\ndomains: design\ncloses: 2021-09-05");
    site
}

/// Who is written to, and how many postings each digest has.
fn planned(site: &Site) -> Vec<(String, usize)> {
    let simulated =
        site.run(&["simulate", "--from=2021-08-31", "--to=2021-08-31", "--format=json"]).exits(0);
    let digests = simulated.json();
    let digests = digests.as_array().unwrap().iter();
    digests
        .map(|digest| {
            let email = digest["recipient"].as_str().unwrap().to_owned();
            (email, digest["items"].as_array().unwrap().len())
        })
        .collect()
}

#[test]
fn who_subscribes_and_who_is_listed_are_one_list() {
    let site = site();
    let add = |arguments: &[&str]| {
        let all: Vec<&str> =
            [NOW, "recipients", "add"].into_iter().chain(arguments.iter().copied()).collect();
        site.run(&all)
    };
    add(&["new@example.org", "--domain", "Développement", "--weekly", "mardi"]).exits(0);
    let wrong = add(&["new@example.org", "--weekly", "noday"]).exits(2);
    assert!(wrong.stderr.contains("write a day of the week"), "{}", wrong.stderr);
    add(&["new@example.org", "--lead-days", "999"]).exits(2);
    // What somebody wishes now wins over the list.
    add(&["Both@example.org", "--name", "Jo"]).exits(0);
    let mut all = planned(&site);
    all.sort();
    let expected = [("Both@example.org", 2), ("listed@example.org", 2), ("new@example.org", 1)];
    assert_eq!(all, expected.map(|(email, items)| (email.to_owned(), items)));
    let sent = site.run(&[NOW, "remind"]).exits(0).stderr;
    assert!(sent.starts_with("3 digests"), "{sent}");

    let list = site.run(&["recipients", "list", "--format=json"]).exits(0).json();
    let states: Vec<(&str, &str)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["email"].as_str().unwrap(), row["source"].as_str().unwrap_or("file")))
        .collect();
    let expected = [
        ("listed@example.org", "file"),
        ("Both@example.org", "command"),
        ("new@example.org", "command"),
    ];
    assert_eq!(states, expected);
    let table = site.run(&["recipients", "list"]).exits(0).stdout;
    assert!(table.contains("developpement; weekly, Tue"), "{table}");

    site.run(&["recipients", "remove", "new@example.org"]).exits(0);
    site.run(&["recipients", "remove", "new@example.org"]).exits(2);
    let removed = site.run(&["recipients", "remove", "both@example.org"]).exits(1);
    assert!(removed.stderr.contains("stands in `content/recipients.yaml`"), "{}", removed.stderr);
    assert_eq!(planned(&site).len(), 2);
    site.run(&["recipients", "add", "not an address"]).exits(2);
}

#[test]
fn who_left_does_not_come_back_by_a_list() {
    let site = site();
    site.run(&["unsubscribe", "gone@example.org"]).exits(0);
    let refused = site.run(&["recipients", "add", "Gone@example.org"]).exits(2);
    assert!(refused.stderr.contains("unsubscribe --undo Gone@example.org"), "{}", refused.stderr);
    site.write(
        "new.csv",
        "email;domains;confirmed_at;source\ngone@example.org;;;\nx@example.org;design;2020-01-02T03:04:05Z;form\nnot an address;;;\n",
    );
    let import = site.run(&[NOW, "recipients", "import", "new.csv"]).exits(1);
    assert!(import.stderr.contains("1 subscriber entered, 1 left out"), "{}", import.stderr);
    assert!(import.stderr.contains("new.csv:4:1"), "{}", import.stderr);
    site.run(&["recipients", "import", "nowhere.csv"]).exits(78);
}

#[test]
fn what_is_exported_can_be_imported_with_its_consent() {
    let site = site();
    let add = [NOW, "recipients", "add", "new@example.org", "--lead-days", "5", "1", "--new"];
    site.run(&add).exits(0);
    site.run(&["unsubscribe", "listed@example.org"]).exits(0);
    for (format, file) in [("yaml", "list.yaml"), ("csv", "list.csv")] {
        let export = ["recipients", "export", "--format", format];
        let first = site.run(&export).exits(0).stdout;
        assert!(!first.contains("listed@example.org"), "{first}");
        assert!(first.contains("2021-08-31T06:00:00Z"), "{first}");
        let other = Site::new();
        other.write(file, &first);
        other.run(&["--now=2022-01-01", "recipients", "import", file]).exits(0);
        let second = other.run(&export).exits(0).stdout;
        let of = |text: &str| -> Vec<String> {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.retain(|line| !line.contains("both@example.org"));
            lines
        };
        // Of somebody of whom nothing was known, the import is the consent.
        let (first, second) = (of(&first), of(&second));
        assert!(first.iter().all(|line| second.contains(line)), "{first:#?} {second:#?}");
    }
}

#[test]
fn who_subscribes_already_keeps_wishes_and_consent() {
    let site = site();
    let add = |day: &str, more: &[&str]| {
        let now = format!("--now=2021-{day}");
        let all = [now.as_str(), "recipients", "add", "here@example.org"];
        let all: Vec<&str> = all.into_iter().chain(more.iter().copied()).collect();
        site.run(&all).exits(0).stderr
    };
    add("08-01", &["--domain", "design", "--new"]);
    let before = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    assert!(add("08-02", &[]).contains("subscribes already"));
    assert_eq!(site.run(&[NOW, "recipients", "export"]).exits(0).stdout, before);
    add("08-03", &["--domain", "law"]);
    let after = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    let (_, after) = after.split_once("here@example.org").unwrap();
    assert!(after.contains("- law") && !after.contains("design"), "{after}");
    assert!(after.contains("2021-08-01") && !after.contains("2021-08-03"), "{after}");
}

/// Who chose on the page while they stood in a list, and was taken off it, subscribes when they are
/// entered.
#[test]
fn who_is_entered_is_written_to_without_a_list() {
    let site = site();
    let add = || site.run(&[NOW, "recipients", "add", "here@example.org"]).exits(0).stderr;
    add();
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    ledger.execute("UPDATE subscribers SET source = 'list'", []).unwrap();
    drop(ledger);
    let is_written_to = || planned(&site).iter().any(|(email, _)| email == "here@example.org");
    assert!(!is_written_to());
    assert!(add().contains("subscribes"));
    assert!(is_written_to());
}

#[test]
fn a_list_that_is_imported_overwrites_nobodys_wishes() {
    let site = site();
    site.run(&[NOW, "recipients", "add", "here@example.org", "--domain", "design"]).exits(0);
    site.write("list.csv", "email\nhere@example.org\nnew@example.org\n");
    let said = site.run(&[NOW, "recipients", "import", "list.csv"]).exits(0).stderr;
    assert!(said.contains("1 subscriber entered, 1 left as they are"), "{said}");
    let list = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    assert!(list.contains("- design") && list.contains("source: command"), "{list}");
}
