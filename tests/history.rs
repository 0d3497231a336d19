//! Dates of changes from git, with repositories that the tests make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::Site;
use gix::objs::tree::{Entry, EntryKind};

const NOW: &str = "--now=2021-08-31";

/// Commits all files below content/postings as they are, at an instant.
fn commit(site: &Site, at: i64, parents: Vec<gix::ObjectId>) -> gix::ObjectId {
    let repository = gix::open(site.root()).unwrap();
    let write = |entries: Vec<Entry>| {
        repository.write_object(gix::objs::Tree { entries }).unwrap().detach()
    };
    let files: Vec<Entry> = site
        .files("content/postings")
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .map(|(name, bytes)| Entry {
            mode: EntryKind::Blob.into(),
            filename: name.into(),
            oid: repository.write_blob(bytes).unwrap().detach(),
        })
        .collect();
    let entry =
        |kind: EntryKind, name: &str, oid| Entry { mode: kind.into(), filename: name.into(), oid };
    let settings = repository.write_blob(site.read("content/site.yaml")).unwrap().detach();
    let settings = entry(EntryKind::Blob, "site.yaml", settings);
    // Git keeps no empty folders.
    let postings = (!files.is_empty()).then(|| entry(EntryKind::Tree, "postings", write(files)));
    let content = write(postings.into_iter().chain([settings]).collect());
    let tree = write(vec![entry(EntryKind::Tree, "content", content)]);
    let time = gix::date::Time { seconds: at, offset: 7200 };
    let mut buffer = gix::date::parse::TimeBuf::default();
    let who = gix::actor::Signature { name: "A".into(), email: "a@example.org".into(), time };
    let who = who.to_ref(&mut buffer);
    repository.commit_as(who, who, "HEAD", "change", tree, parents).unwrap().detach()
}

/// 2021-08-DD at noon, in seconds.
fn august(day: i64) -> i64 {
    1_627_776_000 + (day - 1) * 86_400 + 43_200
}

/// `updated` of each entry, to the minute.
fn updated(site: &Site) -> Vec<String> {
    site.run(&[NOW, "build"]).exits(0);
    let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
    let mut found: Vec<String> = feed
        .entries
        .iter()
        .map(|entry| {
            let slug = entry.id.rsplit(':').next().unwrap();
            format!("{slug} {}", entry.updated.unwrap().format("%dT%H:%M"))
        })
        .collect();
    found.sort();
    found
}

fn site() -> Site {
    let site = Site::new();
    gix::init(site.root()).unwrap();
    site.posting("a.md", "title: A\nopens: 2021-08-01");
    site.posting("b.md", "title: B\nopens: 2021-08-02");
    site
}

#[test]
fn the_last_commit_that_touched_the_file_counts() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02");
    let second = commit(&site, august(6), vec![first]);
    site.write("elsewhere.txt", "not a posting");
    commit(&site, august(7), vec![second]);
    assert_eq!(updated(&site), ["a 05T12:00", "b 06T12:00"]);
}

/// Git keeps no empty folders: one that is not there may be one whose last file was deleted, or a disk that is away.
#[test]
fn a_site_without_postings_is_one_whose_last_was_deleted_and_no_other() {
    let site = site();
    site.posting("a.md", "title: A\ncloses: 2021-09-30");
    let first = commit(&site, august(1), vec![]);
    site.run(&[NOW, "build"]).exits(0);
    std::fs::remove_dir_all(site.path("content/postings")).unwrap();
    let away = site.run(&[NOW, "build"]).exits(78);
    assert!(away.stderr.contains("mount it"), "{}", away.stderr);
    assert!(site.read("out/feed.atom").contains("<entry>"));

    commit(&site, august(2), vec![first]);
    for command in ["check", "list", "remind"] {
        site.run(&[NOW, command]).exits(0);
    }
    let built = site.run(&[NOW, "build"]).exits(0);
    assert!(built.stderr.contains("published 0 open postings"), "{}", built.stderr);
    assert!(!site.read("out/feed.atom").contains("<entry>"));
    assert!(site.run(&[NOW, "build"]).exits(0).stderr.contains("nothing changed"));

    // Nor is one empty that no commit ever had: it may be ignored, and mounted.
    let site = self::site();
    std::fs::remove_dir_all(site.path("content/postings")).unwrap();
    commit(&site, august(1), vec![]);
    site.run(&[NOW, "build"]).exits(78);
}

#[test]
fn a_file_that_is_not_committed_has_its_opening_date() {
    let site = site();
    commit(&site, august(5), vec![]);
    site.posting("c.md", "title: C\nopens: 2021-08-03");
    // Midnight in Paris is 22:00 of the day before in UTC.
    assert_eq!(updated(&site), ["a 05T12:00", "b 05T12:00", "c 02T22:00"]);
}

#[test]
fn what_the_author_says_counts_most() {
    let site = site();
    site.posting("b.md", "title: B\nupdated: 2021-08-20T10:00:00Z");
    commit(&site, august(5), vec![]);
    assert_eq!(updated(&site), ["a 05T12:00", "b 20T10:00"]);
}

#[test]
fn a_merge_changes_only_what_differs_from_all_of_its_parents() {
    let site = site();
    let base = commit(&site, august(5), vec![]);
    site.posting("a.md", "title: A, ours\nopens: 2021-08-01");
    let ours = commit(&site, august(6), vec![base]);
    // The other branch, from the base.
    site.posting("a.md", "title: A\nopens: 2021-08-01");
    site.posting("b.md", "title: B, theirs\nopens: 2021-08-02");
    std::fs::write(site.path(".git/refs/heads/main"), format!("{base}\n")).unwrap();
    let head = std::fs::read_to_string(site.path(".git/HEAD")).unwrap();
    let branch = head.trim().trim_start_matches("ref: ").to_owned();
    std::fs::write(site.path(&format!(".git/{branch}")), format!("{base}\n")).unwrap();
    let theirs = commit(&site, august(7), vec![base]);
    site.posting("a.md", "title: A, ours\nopens: 2021-08-01");
    commit_merge(&site, august(8), theirs, ours);
    assert_eq!(updated(&site), ["a 06T12:00", "b 07T12:00"]);
}

fn commit_merge(site: &Site, at: i64, first: gix::ObjectId, second: gix::ObjectId) {
    commit(site, at, vec![first, second]);
}

/// What is kept of an earlier run tells what reading everything tells.
fn is_the_same_without_a_cache(site: &Site) -> Vec<String> {
    let kept = updated(site);
    std::fs::remove_dir_all(site.path(".crieur/cache")).unwrap();
    assert_eq!(kept, updated(site));
    updated(site)
}

#[test]
fn a_history_that_goes_on_or_is_rewritten_is_read_again_where_it_must_be() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    assert_eq!(is_the_same_without_a_cache(&site), ["a 05T12:00", "b 05T12:00"]);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02");
    let second = commit(&site, august(9), vec![first]);
    assert_eq!(is_the_same_without_a_cache(&site), ["a 05T12:00", "b 09T12:00"]);
    // A branch that was begun before and is merged after.
    let head = std::fs::read_to_string(site.path(".git/HEAD")).unwrap();
    let branch = site.path(&format!(".git/{}", head.trim().trim_start_matches("ref: ")));
    site.posting("b.md", "title: B\nopens: 2021-08-02");
    site.posting("a.md", "title: A, theirs\nopens: 2021-08-01");
    std::fs::write(&branch, format!("{first}\n")).unwrap();
    let theirs = commit(&site, august(7), vec![first]);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02");
    std::fs::write(&branch, format!("{second}\n")).unwrap();
    assert_eq!(updated(&site), ["a 05T12:00", "b 09T12:00"]);
    commit_merge(&site, august(12), second, theirs);
    assert_eq!(is_the_same_without_a_cache(&site), ["a 07T12:00", "b 09T12:00"]);
    // Rewritten: what was kept of the merge does not count any more.
    site.posting("a.md", "title: A\nopens: 2021-08-01");
    std::fs::write(&branch, format!("{second}\n")).unwrap();
    assert_eq!(is_the_same_without_a_cache(&site), ["a 05T12:00", "b 09T12:00"]);
    // A clock that was late.
    site.posting("b.md", "title: B, once more\nopens: 2021-08-02");
    commit(&site, august(3), vec![second]);
    assert_eq!(is_the_same_without_a_cache(&site), ["a 05T12:00", "b 09T12:00"]);
}

#[test]
fn a_shallow_clone_does_not_pass_its_beginning_off_as_a_change() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02");
    let second = commit(&site, august(6), vec![first]);
    site.posting("b.md", "title: B, changed again\nopens: 2021-08-02");
    commit(&site, august(7), vec![second]);
    std::fs::write(site.path(".git/shallow"), format!("{second}\n")).unwrap();
    // The first commit is not there in a shallow clone.
    let object = first.to_string();
    std::fs::remove_file(site.path(&format!(".git/objects/{}/{}", &object[..2], &object[2..])))
        .unwrap();
    assert_eq!(updated(&site), ["a 31T22:00", "b 07T12:00"]);
    let check = site.run(&[NOW, "check"]).exits(0);
    assert!(
        check.stdout.contains("warning[history]: the git clone is shallow"),
        "{}",
        check.stdout
    );
}

#[test]
fn a_site_may_lie_anywhere_in_a_repository_or_in_none() {
    let site = site();
    assert_eq!(updated(&site), ["a 31T22:00", "b 01T22:00"], "no commit yet");
    std::fs::remove_dir_all(site.path(".git")).unwrap();
    assert_eq!(updated(&site), ["a 31T22:00", "b 01T22:00"], "no repository");
}

#[test]
fn postings_committed_together_are_told_apart() {
    let site = site();
    commit(&site, august(5), vec![]);
    site.run(&[NOW, "build"]).exits(0);
    let atom = site.read("out/feed.atom");
    let stamps: Vec<&str> = atom
        .split("<entry>")
        .skip(1)
        .map(|e| e.split("<updated>").nth(1).unwrap().split('<').next().unwrap())
        .collect();
    assert_eq!(stamps.len(), 2);
    assert_ne!(stamps[0], stamps[1]);
}

#[test]
fn a_damaged_repository_is_a_warning() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    let object = first.to_string();
    std::fs::write(site.path(&format!(".git/objects/{}/{}", &object[..2], &object[2..])), "junk")
        .unwrap();
    site.run(&[NOW, "build"]).exits(0);
    let check = site.run(&[NOW, "check"]).exits(0);
    assert!(check.stdout.contains("warning[history]"), "{}", check.stdout);
}

#[test]
fn while_git_cannot_be_asked_what_it_told_the_last_time_stands() {
    let site = site();
    commit(&site, august(5), vec![]);
    let before = updated(&site);
    let (head, feed) = (site.read(".git/HEAD"), site.read("out/feed.atom"));
    site.write(".git/HEAD", "junk");
    assert_eq!(updated(&site), before);
    assert_eq!(site.read("out/feed.atom"), feed);
    let check = site.run(&[NOW, "check"]).exits(0);
    assert!(check.stdout.contains("warning[history]"), "{}", check.stdout);
    site.write(".git/HEAD", head);
    assert_eq!(updated(&site), before);
}

/// Neither back, when the author adds the day, nor still, when it stays.
#[test]
fn a_repository_may_keep_its_own_folder_elsewhere() {
    let site = site();
    site.posting("a.md", "title: A");
    commit(&site, august(3), Vec::new());
    let before = updated(&site);
    let elsewhere = tempfile::tempdir().unwrap();
    let git = elsewhere.path().join("x.git");
    std::fs::rename(site.path(".git"), &git).unwrap();
    // What cannot be used is no repository that is gone.
    site.write(".git", "gitdir: /nowhere/x.git\n");
    let dangling = site.run(&[NOW, "-v", "build"]).exits(0);
    assert!(dangling.stderr.contains("is no repository"), "{}", dangling.stderr);
    assert_eq!(updated(&site), before);
    site.write(".git", format!("gitdir: {}\n", git.display()));
    std::fs::remove_dir_all(site.path(".crieur/cache")).unwrap();
    assert_eq!(updated(&site), before);
}

#[test]
fn of_a_day_that_the_author_names_git_tells_the_hour() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    assert_eq!(updated(&site)[1], "b 05T12:00");
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nupdated: 2021-08-05");
    let second = commit(&site, august(5) + 3600, vec![first]);
    assert_eq!(updated(&site)[1], "b 05T13:00");
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nupdated: 2021-08-05\nlieu: Lyon");
    let third = commit(&site, august(5) + 7200, vec![second]);
    assert_eq!(updated(&site)[1], "b 05T14:00");
    // What the author does not mention is no change.
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nupdated: 2021-08-05\nlieu: Nice");
    let fourth = commit(&site, august(9), vec![third]);
    assert_eq!(updated(&site)[1], "b 05T14:00");
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nupdated: 2021-08-07");
    commit(&site, august(10), vec![fourth]);
    assert_eq!(updated(&site)[1], "b 06T22:00");
}

#[test]
fn a_commit_by_a_clock_that_is_ahead_says_nothing_yet() {
    let site = site();
    let first = commit(&site, august(5), vec![]);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02");
    let second = commit(&site, august(3650), vec![first]);
    let feed = |site: &Site| {
        let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
        feed.updated.unwrap().format("%Y-%m-%d").to_string()
    };
    assert_eq!(updated(&site), ["a 05T12:00", "b 05T12:00"]);
    assert_eq!(feed(&site), "2021-08-05");
    site.posting("b.md", "title: B, changed again\nopens: 2021-08-02");
    commit(&site, august(9), vec![second]);
    assert_eq!(updated(&site), ["a 05T12:00", "b 09T12:00"]);
    // An unchanged site is looked at again when that time has come.
    site.run(&["--now=2031-09-01", "build"]).exits(0);
    assert_eq!(feed(&site), "2031-07-29");
}

/// A time of the day, as of which a site is built; and what its feed then says of a posting.
fn published_at(site: &Site, now: &str) -> Option<String> {
    site.run(&[&format!("--now=2021-08-31T{now}:00Z"), "build"]).exits(0);
    let feed: serde_json::Value = serde_json::from_str(&site.read("out/feed.json")).unwrap();
    let date = feed["items"][0]["date_published"].as_str()?;
    Some(date.get(..16)?.to_owned())
}

#[test]
fn what_was_moved_ahead_of_the_clock_is_looked_at_when_its_times_have_come() {
    let site = Site::new();
    gix::init(site.root()).unwrap();
    site.posting("x.md", "title: X");
    let first = commit(&site, august(31) - 7200, vec![]);
    std::fs::rename(site.path("content/postings/x.md"), site.path("content/postings/y.md"))
        .unwrap();
    commit(&site, august(31) + 7200, vec![first]);
    assert_ne!(published_at(&site, "09:00").as_deref(), Some("2021-08-31T10:00"));
    assert_eq!(published_at(&site, "11:00").as_deref(), Some("2021-08-31T10:00"));
    assert_eq!(published_at(&site, "15:00").as_deref(), Some("2021-08-31T10:00"));
}

#[test]
fn a_commit_of_today_that_is_ahead_takes_back_no_hour_that_was_told() {
    let site = site();
    site.posting("b.md", "title: B\nopens: 2021-08-02\nupdated: 2021-08-31");
    let first = commit(&site, august(31) - 3 * 3600, vec![]);
    let updated = |site: &Site| {
        site.run(&["--now=2021-08-31T12:00:00Z", "build"]).exits(0);
        let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
        feed.updated.unwrap().format("%dT%H:%M").to_string()
    };
    assert_eq!(updated(&site), "31T09:00");
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nupdated: 2021-08-31");
    commit(&site, august(31) + 3 * 3600, vec![first]);
    assert_eq!(updated(&site), "31T09:00");
}

#[test]
fn a_corrected_title_does_not_make_a_posting_new() {
    let site = site();
    site.posting("c.md", "title: Sea");
    let first = commit(&site, august(5), vec![]);
    site.posting("c.md", "title: C");
    commit(&site, august(9), vec![first]);
    assert_eq!(updated(&site)[2], "c 09T12:00");
    let json: serde_json::Value = serde_json::from_str(&site.read("out/feed.json")).unwrap();
    assert_eq!(json["items"][0]["title"], "C");
    assert!(json["items"][0]["date_published"].as_str().unwrap().starts_with("2021-08-05T12:00"));
}

#[test]
fn a_list_that_git_keeps_is_pointed_out() {
    let site = site();
    site.write("content/recipients.yaml", "- a@example.org\n");
    site.run(&[NOW, "check", "--strict"]).exits(0);
    let repository = gix::open(site.root()).unwrap();
    let blob = repository.write_blob("- a@example.org\n").unwrap().detach();
    let tree = |name: &str, kind: EntryKind, oid| {
        let entry = Entry { mode: kind.into(), filename: name.into(), oid };
        repository.write_object(gix::objs::Tree { entries: vec![entry] }).unwrap().detach()
    };
    let content = tree("recipients.yaml", EntryKind::Blob, blob);
    let root = tree("content", EntryKind::Tree, content);
    let time = gix::date::Time { seconds: august(1), offset: 0 };
    let mut buffer = gix::date::parse::TimeBuf::default();
    let who = gix::actor::Signature { name: "A".into(), email: "a@example.org".into(), time };
    let who = who.to_ref(&mut buffer);
    let nobody: [gix::ObjectId; 0] = [];
    repository.commit_as(who, who, "HEAD", "list", root, nobody).unwrap();
    let check = site.run(&[NOW, "check", "--strict"]).exits(1);
    assert!(check.stdout.contains("public-list") && check.stdout.contains("git rm --cached"));
    // Elsewhere it is nobody's.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("list.csv"), "email\na@example.org\n").unwrap();
    std::fs::remove_file(site.path("content/recipients.yaml")).unwrap();
    let settings = site.read("content/site.yaml");
    let list = elsewhere.path().join("list.csv");
    site.write("content/site.yaml", format!("{settings}recipients: {}\n", list.display()));
    site.run(&[NOW, "check", "--strict"]).exits(0);
}

/// Who wants to know of what is new is told when it comes, and not when it is moved.
#[test]
fn a_move_is_no_news_and_a_merge_brings_what_was_written_elsewhere() {
    let site = Site::new();
    gix::init(site.root()).unwrap();
    site.write("content/recipients.yaml", "- { email: a@example.org, new: true }\n");
    site.posting("old.md", "title: Old");
    let first = commit(&site, august(1), vec![]);
    let news = |at: &str| {
        let run = site.run(&[&format!("--now=2021-08-{at}"), "remind", "--dry-run"]).exits(0);
        run.stdout.lines().filter(|line| line.starts_with("  ")).count()
    };
    assert_eq!((news("02"), news("20")), (1, 0));
    let repository = |site: &Site| {
        let head = std::fs::read_to_string(site.path(".git/HEAD")).unwrap();
        site.path(&format!(".git/{}", head.trim().trim_start_matches("ref: ")))
    };
    // Moved within the folder, under another name.
    std::fs::rename(site.path("content/postings/old.md"), site.path("content/postings/new.md"))
        .unwrap();
    let second = commit(&site, august(20), vec![first]);
    assert_eq!(is_the_same_without_a_cache(&site), ["new 20T12:00"]);
    assert_eq!(news("21"), 0);
    // Written on a branch, merged three weeks later.
    site.posting("branch.md", "title: Branch");
    std::fs::write(repository(&site), format!("{first}\n")).unwrap();
    std::fs::rename(site.path("content/postings/new.md"), site.path("content/postings/old.md"))
        .unwrap();
    let theirs = commit(&site, august(3), vec![first]);
    std::fs::rename(site.path("content/postings/old.md"), site.path("content/postings/new.md"))
        .unwrap();
    std::fs::write(repository(&site), format!("{second}\n")).unwrap();
    commit_merge(&site, august(24), second, theirs);
    assert_eq!(is_the_same_without_a_cache(&site), ["branch 03T12:00", "new 20T12:00"]);
    assert_eq!(news("25"), 1);
    let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
    assert_eq!(feed.updated.unwrap().timestamp(), august(24));
}

/// What stands at the place that a file was moved from is another file.
#[test]
fn what_stands_where_another_file_was_does_not_date_what_was_moved() {
    let site = Site::new();
    gix::init(site.root()).unwrap();
    site.write("content/recipients.yaml", "- { email: a@example.org, new: true }\n");
    site.posting("offer.md", "title: One");
    let first = commit(&site, august(1), vec![]);
    let offer = site.path("content/postings/offer.md");
    std::fs::rename(&offer, site.path("content/postings/archive.md")).unwrap();
    let second = commit(&site, august(5), vec![first]);
    site.posting("offer.md", "title: Two");
    commit(&site, august(20), vec![second]);
    assert_eq!(is_the_same_without_a_cache(&site), ["archive 05T12:00", "offer 20T12:00"]);
    let run = site.run(&["--now=2021-08-21", "remind", "--dry-run"]).exits(0);
    assert!(run.stdout.contains("Two") && !run.stdout.contains("One"), "{}", run.stdout);
}

#[test]
fn a_day_that_a_file_is_given_by_a_new_name_is_its_day() {
    let site = Site::new();
    gix::init(site.root()).unwrap();
    site.posting("dev.md", "title: Dev");
    let first = commit(&site, august(1), vec![]);
    let published = |site: &Site| {
        site.run(&[NOW, "build"]).exits(0);
        let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
        feed.entries[0].published.map(|at| at.format("%m-%dT%H:%M").to_string())
    };
    assert_eq!(published(&site).as_deref(), Some("08-01T12:00"));
    let dated = site.path("content/postings/2021-08-20-dev.md");
    std::fs::rename(site.path("content/postings/dev.md"), dated).unwrap();
    commit(&site, august(20), vec![first]);
    assert_eq!(published(&site).as_deref(), Some("08-19T22:00"));
}
