use super::*;
use crate::posting::parse::tests::posting;
use chrono::{FixedOffset, NaiveTime, TimeDelta, Weekday};
use proptest::prelude::*;

fn site(settings: &str) -> Site {
    Site::parse(&format!("title: T\nurl: https://jobs.example.org/\n{settings}")).unwrap()
}

fn somebody() -> Recipient {
    Recipient::new("a@example.org")
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse::<DateTime<FixedOffset>>().unwrap().to_utc()
}

/// Each morning of so many days.
fn mornings(from: &str, days: i64) -> Vec<DateTime<Utc>> {
    (0..days).map(|day| at(&format!("{from}T08:00:00Z")) + TimeDelta::days(day)).collect()
}

/// A posting that changes: from each instant on, what it says.
type Story<'a> = [(&'a str, &'a str)];

/// Runs at each instant and returns what was sent, as "day section what stage".
fn replay(site: &Site, story: &Story<'_>, who: &Recipient, runs: &[DateTime<Utc>]) -> Vec<String> {
    let mut sent = Sent::default();
    let mut log = Vec::new();
    for now in runs {
        let known = story.iter().rfind(|(from, _)| at(&format!("{from}T00:00:00Z")) <= *now);
        let postings: Vec<Posting> = known.iter().map(|(_, yaml)| posting(yaml)).collect();
        let audience = [who.clone()];
        for digest in Today::new(site, &postings, *now).digests(&audience, &sent) {
            for item in &digest.items {
                let words = [
                    digest.day.to_string(),
                    item.section.as_str().to_owned(),
                    item.section.what().unwrap_or_default().to_owned(),
                    item.stage.map_or_else(String::new, |stage| stage.to_string()),
                ];
                log.push(words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "));
            }
            digest.remember(&mut sent);
        }
    }
    log
}

#[test]
fn one_reminder_a_lead() {
    let runs: Vec<_> =
        (0..300).map(|hour| at("2021-09-01T06:30:00Z") + TimeDelta::hours(hour)).collect();
    let log = replay(&site(""), &[("2021-01-01", "closes: 2021-09-10")], &somebody(), &runs);
    assert_eq!(log, ["2021-09-03 closing 7", "2021-09-07 closing 3", "2021-09-09 closing 1"]);
}

#[test]
fn a_late_run_sends_the_one_that_matters_now() {
    let story = [("2021-01-01", "closes: 2021-09-10")];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-09", 2));
    assert_eq!(log, ["2021-09-09 closing 1"]);
}

#[test]
fn nothing_before_the_hour() {
    let story = [("2021-01-01", "closes: 2021-09-03")];
    let count = |now| replay(&site(""), &story, &somebody(), &[at(now)]).len();
    assert_eq!(count("2021-09-03T05:59:00Z"), 0);
    assert_eq!(count("2021-09-03T06:00:00Z"), 1);
}

#[test]
fn an_hour_that_comes_twice_has_come_for_good() {
    let site = site("timezone: Europe/Paris\nreminders: { send_after: \"02:30\" }\n");
    for (now, is_time) in
        [("00:29", false), ("00:30", true), ("01:00", true), ("01:29", true), ("01:31", true)]
    {
        let now = at(&format!("2026-10-25T{now}:00Z"));
        assert_eq!(Today::new(&site, &[], now).is_time(), is_time, "{now}");
    }
    // One that does not come has come with the next.
    for (now, is_time) in [("00:59", false), ("01:00", true)] {
        let now = at(&format!("2026-03-29T{now}:00Z"));
        assert_eq!(Today::new(&site, &[], now).is_time(), is_time, "{now}");
    }
}

#[test]
fn interests_narrow() {
    let story =
        [("2021-01-01", "closes: 2021-09-03\ndomaines: [Développement]\nequipe: A\njunior: oui")];
    let runs = mornings("2021-09-03", 1);
    let wants = |change: &dyn Fn(&mut Recipient)| {
        let mut recipient = somebody();
        change(&mut recipient);
        replay(&site(""), &story, &recipient, &runs).len()
    };
    assert_eq!(wants(&|r| r.domains = vec!["developpement".to_owned(), "x".to_owned()]), 1);
    assert_eq!(wants(&|r| r.domains = vec!["design".to_owned()]), 0);
    assert_eq!(wants(&|r| r.teams = vec!["a".to_owned()]), 1);
    assert_eq!(wants(&|r| r.contracts = vec!["cdi".to_owned()]), 0);
    assert_eq!(wants(&|r| r.junior = true), 1);
}

#[test]
fn an_entry_tells_the_section_that_it_stood_in() {
    let site = site("");
    let postings = [posting("opens: 2021-06-01")];
    let today = Today::new(&site, &postings, at("2021-09-01T08:00:00Z"));
    let sections = [
        Section::Closing,
        Section::New,
        Section::Changed(Change::Moved),
        Section::Changed(Change::Closed),
        Section::Changed(Change::Filled),
        Section::Changed(Change::Withdrawn),
        Section::Owner(Duty::Closes),
        Section::Owner(Duty::StillOpen),
        Section::Owner(Duty::Endless),
    ];
    for section in sections {
        let item = Item {
            posting: &postings[0],
            section,
            stage: Some(3),
            days_left: None,
            open_for: Some(92),
        };
        assert_eq!(today.items(&[Arc::new(item.entry())]), [item]);
    }
}

#[test]
fn a_closing_date_written_otherwise_is_no_change() {
    for (before, after) in [
        ("2021-09-09T18:00:00+02:00", "2021-09-09T16:00:00Z"),
        ("2021-09-10T00:00:00+02:00", "2021-09-09"),
        ("2021-09-09", "2021-09-10T00:00:00+02:00"),
    ] {
        let (before, after) = (format!("closes: {before}"), format!("closes: {after}"));
        let story = [("2021-01-01", before.as_str()), ("2021-09-03", after.as_str())];
        let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-02", 4));
        assert_eq!(log, ["2021-09-02 closing 7"], "{before} {after}");
    }
}

#[test]
fn a_weekly_digest_that_nobody_took_is_made_up_for() {
    let weekly = Recipient { weekly: Some(Weekday::Wed), new: true, ..somebody() };
    let site = site("");
    let said = |past: &Past, day: &str| -> Vec<String> {
        let yamls = [
            "id: urn:x-a:1\nopens: 2021-08-01\ncloses: 2021-09-08",
            "id: urn:x-a:2\nopens: 2021-08-31\ncloses: 2021-10-30",
        ];
        let postings: Vec<Posting> = yamls.iter().map(|yaml| posting(yaml)).collect();
        let today = Today::new(&site, &postings, at(&format!("{day}T08:00:00Z")));
        let digest = today.due(&weekly, past);
        let items = digest.iter().flat_map(|digest| &digest.items);
        items.map(|item| item.section.as_str().to_owned()).collect()
    };
    // 2021-09-01 is a Wednesday.
    let owed = |days: &[&str]| {
        let mut past = Past::default();
        for day in days {
            past.add_owed(day.parse().unwrap());
        }
        past
    };
    assert_eq!(said(&Past::default(), "2021-09-01"), ["closing", "new"]);
    assert_eq!(said(&Past::default(), "2021-09-02"), [""; 0]);
    assert_eq!(said(&owed(&["2021-09-01"]), "2021-09-02"), ["closing", "new"]);
    assert_eq!(said(&owed(&["2021-09-01", "2021-09-02"]), "2021-09-03"), ["closing", "new"]);
    assert_eq!(said(&owed(&["2021-08-31"]), "2021-09-02"), [""; 0]);
    // The next day of theirs is theirs again; what opened meanwhile is still news.
    assert_eq!(said(&Past::default(), "2021-09-08"), ["closing", "new"]);
    // What was sent the week before does not make up for it; what was sent on the day or since, does.
    for (day, expected) in
        [("2021-08-25", &["closing", "new"][..]), ("2021-09-01", &[]), ("2021-09-02", &[])]
    {
        let mut sent = owed(&["2021-09-01"]);
        sent.add_day(day.parse().unwrap());
        assert_eq!(said(&sent, "2021-09-03"), expected, "{day}");
    }
}

#[test]
fn what_nobody_took_between_two_weekly_digests_is_not_the_weeks() {
    let weekly = Recipient { weekly: Some(Weekday::Mon), new: true, ..somebody() };
    let site = site("");
    let postings: Vec<Posting> = [
        "id: urn:x-a:1\nopens: 2021-08-01\ncloses: 2021-09-10",
        "id: urn:x-a:2\nopens: 2021-08-01\ncloses: 2021-09-16",
        "id: urn:x-a:3\nopens: 2021-09-08\ncloses: 2021-12-01",
    ]
    .map(posting)
    .to_vec();
    // 2021-09-06 is a Monday.
    let said = |plans: &[&str], owed: &[&str], day: &str| {
        let mut past = Past::default();
        for day in owed {
            past.add_owed(day.parse().unwrap());
        }
        let plans = plans.iter().map(|day| day.parse().unwrap()).collect();
        let today = Today::new(&site, &postings, at(&format!("{day}T08:00:00Z"))).following(plans);
        let digest = today.due(&weekly, &past);
        digest.iter().flat_map(|digest| &digest.items).count()
    };
    // There was a plan on Monday, and nothing to say: Wednesday's mail was what cannot wait.
    let plans = ["2021-08-30", "2021-09-06", "2021-09-08"];
    assert_eq!(said(&plans[..2], &[], "2021-09-08"), 1);
    assert_eq!(said(&plans, &["2021-09-08"], "2021-09-09"), 1);
    // Monday's was not taken, or Tuesday's, which made up for it.
    assert_eq!(said(&plans, &["2021-09-06", "2021-09-08"], "2021-09-09"), 3);
    assert_eq!(said(&["2021-08-30", "2021-09-07"], &["2021-09-07"], "2021-09-08"), 2);
    // Nothing ran on Monday; and nothing was known before it.
    assert_eq!(said(&["2021-08-30"], &[], "2021-09-09"), 3);
    assert_eq!(said(&[], &[], "2021-09-09"), 1);
}

#[test]
fn what_a_weekly_reader_is_told_between_two_digests_counts_as_the_reminder_that_it_is() {
    let weekly = |weekday, leads: &[u16]| Recipient {
        weekly: Some(weekday),
        lead_days: Some(leads.to_vec()),
        ..somebody()
    };
    // 2021-09-03 is a Friday. Published on Thursday, it closes on Friday evening.
    let late = [("2021-09-02", "closes: 2021-09-03T18:00:00+02:00")];
    let log = |story: &Story<'_>, who: &Recipient, from, days| {
        replay(&site(""), story, who, &mornings(from, days))
    };
    assert_eq!(log(&late, &weekly(Weekday::Fri, &[3]), "2021-09-01", 3), ["2021-09-02 closing 3"]);
    // A date that moves on Thursday, told because the old one cannot wait.
    let moved =
        [("2021-01-01", "closes: 2021-09-10T09:00:00+02:00"), ("2021-09-09", "closes: 2021-09-17")];
    assert_eq!(
        log(&moved, &weekly(Weekday::Fri, &[10]), "2021-09-03", 8),
        ["2021-09-03 closing 7", "2021-09-09 changed moved 10"]
    );
    // What closed early can wait as what was filled can.
    for over in ["closes: 2021-09-08", "closes: 2021-09-30\nfilled: true"] {
        let story = [("2021-01-01", "closes: 2021-09-30"), ("2021-09-09", over)];
        let log = log(&story, &weekly(Weekday::Mon, &[30]), "2021-09-06", 9);
        let days: Vec<&str> = log.iter().map(|line| &line[..10]).collect();
        assert_eq!(days, ["2021-09-06", "2021-09-13"], "{over}");
    }
}

#[test]
fn who_was_told_that_it_is_over_hears_of_another_closing_date() {
    let reader = Recipient { lead_days: Some(vec![14]), ..somebody() };
    let replay = |story: &Story<'_>| replay(&site(""), story, &reader, &mornings("2021-09-07", 9));
    let early = [
        ("2021-01-01", "closes: 2021-09-14"),
        ("2021-09-08", "closes: 2021-09-07"),
        ("2021-09-09", "closes: 2021-09-14"),
    ];
    let told = ["2021-09-07 closing 14", "2021-09-08 changed closed", "2021-09-09 changed moved"];
    assert_eq!(replay(&early), told);
    let filled = [
        ("2021-01-01", "closes: 2021-09-14"),
        ("2021-09-08", "closes: 2021-09-14\nfilled: true"),
        ("2021-09-09", "closes: 2021-09-30"),
    ];
    let told = ["2021-09-07 closing 14", "2021-09-08 changed filled", "2021-09-09 changed moved"];
    assert_eq!(replay(&filled), told);
    // Open again as they were told of it: they were reminded.
    let again =
        [early[0], ("2021-09-08", "closes: 2021-09-14\nfilled: true"), ("2021-09-09", early[0].1)];
    assert_eq!(replay(&again), ["2021-09-07 closing 14", "2021-09-08 changed filled"]);
}

#[test]
fn what_has_no_opening_date_is_news_when_its_file_comes() {
    let site = site("");
    let curious = Recipient { new: true, ..somebody() };
    let mut posting = posting("closes: 2021-12-01");
    for (added, expected) in
        [(None, 0), (Some("2021-09-01T20:00:00Z"), 1), (Some("2021-01-01T20:00:00Z"), 0)]
    {
        posting.added = added.map(at);
        let postings = [posting.clone()];
        let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
        let digests = today.digests(std::slice::from_ref(&curious), &Sent::default());
        assert_eq!(digests.len(), expected, "{added:?}");
    }
}

#[test]
fn a_weekly_digest_has_what_closes_before_the_next() {
    let weekly = Recipient { weekly: Some(Weekday::Mon), lead_days: Some(vec![1]), ..somebody() };
    // 2021-09-06 is a Monday.
    for (closes, expected) in [
        ("2021-09-12", "2021-09-06 closing 7"),
        // On the morning of the next digest, before it is sent.
        ("2021-09-13T07:00:00+02:00", "2021-09-06 closing 7"),
        ("2021-09-13", "2021-09-13 closing 1"),
    ] {
        let yaml = format!("closes: {closes}");
        let log = replay(&site(""), &[("2021-01-01", &yaml)], &weekly, &mornings("2021-09-06", 14));
        assert_eq!(log, [expected]);
    }
    // Published in between, and closed before the next.
    let story = [("2021-09-08", "closes: 2021-09-10")];
    let log = replay(&site(""), &story, &weekly, &mornings("2021-09-06", 14));
    assert_eq!(log, ["2021-09-08 closing 7"]);
}

#[test]
fn what_closes_before_the_next_digest_is_announced_whatever_the_leads() {
    let on_the_day = Recipient { lead_days: Some(vec![0]), ..somebody() };
    let story = [("2021-01-01", "closes: 2021-09-10T07:00:00+02:00")];
    let log = replay(&site(""), &story, &on_the_day, &mornings("2021-09-01", 14));
    assert_eq!(log, ["2021-09-09 closing 0"]);
}

#[test]
fn what_is_put_off_as_a_whole_is_said_at_once() {
    let story = [
        ("2021-01-01", "closes: 2021-09-10"),
        ("2021-09-05", "opens: 2021-09-15\ncloses: 2021-09-30"),
    ];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-01", 24));
    assert_eq!(
        log,
        ["2021-09-03 closing 7", "2021-09-05 changed withdrawn", "2021-09-23 closing 7"]
    );
    // A clock that shows a day before all that is no reason to take anything back.
    let story = [("2021-01-01", "opens: 2021-08-01\ncloses: 2021-09-10")];
    let days = ["2021-09-03T10:00:00Z", "2021-07-01T10:00:00Z", "2021-09-04T10:00:00Z"];
    let days = days.map(|day| day.parse().unwrap());
    let log = replay(&site(""), &story, &somebody(), &days);
    assert_eq!(log, ["2021-09-03 closing 7"]);
}

#[test]
fn owners_are_told_the_day_before_what_closes_before_the_hour() {
    let site = site("reminders: { owners: true }");
    let owner = Recipient { subscribed: false, ..somebody() };
    let closes = "contact: a@example.org\ncloses: 2021-09-10T07:00:00+02:00";
    let log = replay(&site, &[("2021-01-01", closes)], &owner, &mornings("2021-09-01", 14));
    assert_eq!(log, ["2021-09-03 owner closes 7", "2021-09-09 owner closes 0"]);
}

#[test]
fn a_changed_closing_date_starts_afresh_and_is_said() {
    let story = [("2021-01-01", "closes: 2021-09-10"), ("2021-09-08", "closes: 2021-09-20")];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-01", 25));
    assert_eq!(
        log,
        [
            "2021-09-03 closing 7",
            "2021-09-07 closing 3",
            "2021-09-08 changed moved",
            "2021-09-13 closing 7",
            "2021-09-17 closing 3",
            "2021-09-19 closing 1"
        ]
    );
    // Nearer, so that it is due, too: said once, under what changed.
    let story = [("2021-01-01", "closes: 2021-09-10"), ("2021-09-04", "closes: 2021-09-06")];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-01", 25));
    assert_eq!(log, ["2021-09-03 closing 7", "2021-09-04 changed moved 3", "2021-09-05 closing 1"]);
    // There and back: no stage twice.
    let story = [
        ("2021-01-01", "closes: 2021-09-10"),
        ("2021-09-04", "closes: 2021-09-30"),
        ("2021-09-05", "closes: 2021-09-10"),
    ];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-01", 7));
    assert_eq!(
        log,
        [
            "2021-09-03 closing 7",
            "2021-09-04 changed moved",
            "2021-09-05 changed moved",
            "2021-09-07 closing 3"
        ]
    );
}

#[test]
fn an_early_end_is_said_once_to_those_who_wait() {
    for (end, expected) in [
        ("poste_pourvu: true\ncloses: 2021-09-10", "2021-09-05 changed filled"),
        ("open: false\ncloses: 2021-09-10", "2021-09-05 changed withdrawn"),
        ("closes: 2021-09-04", "2021-09-05 changed closed"),
    ] {
        let story = [("2021-01-01", "closes: 2021-09-10"), ("2021-09-05", end)];
        let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-01", 25));
        assert_eq!(log, ["2021-09-03 closing 7", expected]);
        // Nobody was told of it, so nobody waits.
        let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-05", 25));
        assert!(log.is_empty(), "{log:?}");
    }
    // When the date that people were told has passed, it ended as they were told.
    let story =
        [("2021-01-01", "closes: 2021-09-10"), ("2021-09-11", "filled: true\ncloses: 2021-09-10")];
    let log = replay(&site(""), &story, &somebody(), &mornings("2021-09-09", 25));
    assert_eq!(log, ["2021-09-09 closing 1"]);
}

#[test]
fn a_weekly_recipient_hears_of_changes_once_a_week_unless_they_cannot_wait() {
    let weekly = Recipient { weekly: Some(Weekday::Mon), lead_days: Some(vec![14]), ..somebody() };
    let runs = mornings("2021-09-06", 21);
    let story =
        [("2021-01-01", "closes: 2021-09-20"), ("2021-09-08", "filled: true\ncloses: 2021-09-20")];
    assert_eq!(
        replay(&site(""), &story, &weekly, &runs),
        ["2021-09-06 closing 14", "2021-09-13 changed filled"]
    );
    let story =
        [("2021-01-01", "closes: 2021-09-12"), ("2021-09-08", "filled: true\ncloses: 2021-09-12")];
    assert_eq!(
        replay(&site(""), &story, &weekly, &runs),
        ["2021-09-06 closing 7", "2021-09-08 changed filled"]
    );
}

#[test]
fn new_postings_are_news_to_those_who_ask() {
    let curious = Recipient { new: true, ..somebody() };
    let runs = mornings("2021-09-01", 20);
    let story = [("2021-09-04", "opens: 2021-09-03\ncloses: 2021-09-20")];
    assert_eq!(
        replay(&site(""), &story, &curious, &runs),
        ["2021-09-04 new", "2021-09-13 closing 7", "2021-09-17 closing 3", "2021-09-19 closing 1"]
    );
    assert_eq!(replay(&site(""), &story, &somebody(), &runs)[0], "2021-09-13 closing 7");
    // What closes soon says more than what is new.
    let story = [("2021-09-04", "opens: 2021-09-03\ncloses: 2021-09-08")];
    assert_eq!(replay(&site(""), &story, &curious, &runs)[0], "2021-09-04 closing 7");
    // Without a closing date, too; but not what is long known.
    let story = [("2021-09-04", "opens: 2021-09-04")];
    assert_eq!(replay(&site(""), &story, &curious, &runs), ["2021-09-04 new"]);
    let story = [("2021-01-01", "opens: 2021-01-01")];
    assert!(replay(&site(""), &story, &curious, &runs).is_empty());
    let weekly = Recipient { weekly: Some(Weekday::Mon), ..curious };
    let story = [("2021-09-04", "opens: 2021-09-04")];
    assert_eq!(replay(&site(""), &story, &weekly, &runs), ["2021-09-06 new"]);
}

#[test]
fn owners_are_told_of_their_postings_and_nobody_else_is() {
    let site = site("reminders: { owners: true }");
    let owner = Recipient { subscribed: false, ..Recipient::new("Owner@example.org") };
    let runs = mornings("2021-09-01", 200);
    let yaml = "contact: Jo <owner@example.org>\nopen: true\ncloses: 2021-09-10";
    let story = [("2021-01-01", yaml)];
    assert_eq!(
        replay(&site, &story, &owner, &runs),
        ["2021-09-03 owner closes 7", "2021-09-10 owner closes 0", "2021-09-11 owner still-open"]
    );
    let stranger = Recipient { subscribed: false, ..somebody() };
    assert!(replay(&site, &story, &stranger, &runs).is_empty());
    let endless = [("2021-01-01", "contact: owner@example.org\nopens: 2021-09-01")];
    assert_eq!(replay(&site, &endless, &owner, &runs), ["2021-11-30 owner endless"]);
    // Somebody who is both gets both in one digest.
    let both = Recipient::new("owner@example.org");
    assert_eq!(
        replay(&site, &story, &both, &mornings("2021-09-03", 1)),
        ["2021-09-03 closing 7", "2021-09-03 owner closes 7"]
    );
    let silent = super::tests::site("");
    assert!(replay(&silent, &story, &owner, &runs).is_empty());
}

#[test]
fn clocks_that_are_put_back_repeat_nothing() {
    // Both weekends of a year, every half hour; and a machine whose clock is set back by a day.
    for (closes, from) in
        [("2021-10-31", "2021-10-30T00:00:00Z"), ("2021-03-28", "2021-03-27T00:00:00Z")]
    {
        let yaml = format!("closes: {closes}");
        let mut runs: Vec<_> =
            (0..144).map(|half| at(from) + TimeDelta::minutes(30 * half)).collect();
        runs.extend(runs.clone().iter().map(|now| *now - TimeDelta::days(1)));
        let always = Recipient { lead_days: Some(vec![1, 0]), ..somebody() };
        let log = replay(&site(""), &[("2021-01-01", &yaml)], &always, &runs);
        assert_eq!(log.len(), 2, "{log:?}");
    }
}

fn entries(digest: &Digest<'_>) -> Vec<Arc<Entry>> {
    digest.items.iter().map(|item| Arc::new(item.entry())).collect()
}

#[test]
fn within_a_day_the_hour_decides() {
    let site = site("");
    let closes = [
        ("a", "2021-09-03"),
        ("b", "2021-09-03T23:00:00+02:00"),
        ("z", "2021-09-03T12:00:00+02:00"),
    ];
    let postings = closes.map(|(slug, closes)| {
        posting(&format!("id: urn:x-a:{slug}\nslug: {slug}\ncloses: {closes}"))
    });
    let recipient = somebody();
    let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
    let digest = today.digest(&recipient, &Past::default()).unwrap();
    let order: Vec<&str> = digest.items.iter().map(|item| item.posting.slug.as_str()).collect();
    assert_eq!(order, ["z", "b", "a"]);
}

#[test]
fn who_may_have_been_told_hears_that_it_is_over() {
    let site = site("");
    let said = |yaml: &str| {
        let mut past = Past::default();
        let closes = Some("2021-09-08".to_owned());
        let section = Section::Closing;
        let entry = Entry { posting: posting("").id, section, closes, stage: Some(7) };
        past.add_perhaps(Arc::new(entry));
        let postings = [posting(yaml)];
        let recipient = somebody();
        let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
        let digest = today.digest(&recipient, &past);
        digest.map(|digest| digest.items.iter().map(|item| item.section).collect::<Vec<_>>())
    };
    assert_eq!(
        said("closes: 2021-09-08\nfilled: true"),
        Some(vec![Section::Changed(Change::Filled)])
    );
    // Of what is open they are reminded as if nothing had been said.
    assert_eq!(said("closes: 2021-09-08"), Some(vec![Section::Closing]));
    assert_eq!(said("closes: 2021-09-20"), None);
}

#[test]
fn a_digest_of_this_morning_is_looked_at_again() {
    let site = site("");
    let before = [posting("closes: 2021-09-03T12:00:00+02:00")];
    let audience = [somebody()];
    let morning = Today::new(&site, &before, at("2021-09-03T08:00:00Z"));
    let digests = morning.digests(&audience, &Sent::default());
    let entries = entries(&digests[0]);
    assert!(morning.still_says(&entries));
    assert!(!Today::new(&site, &before, at("2021-09-03T11:00:00Z")).still_says(&entries));
    let moved = [posting("closes: 2021-09-04")];
    assert!(!Today::new(&site, &moved, at("2021-09-03T08:30:00Z")).still_says(&entries));
}

#[test]
fn what_was_said_to_be_over_is_looked_at_again_too() {
    let site = site("");
    let told = |yaml: &str, section: Section| {
        let closes = Some("2021-09-10".to_owned());
        let entry = Entry { posting: posting("").id, section, closes, stage: None };
        Today::new(&site, &[posting(yaml)], at("2021-09-03T08:30:00Z")).still_says(&[entry.into()])
    };
    let (filled, withdrawn) = (Change::Filled, Change::Withdrawn);
    assert!(told("closes: 2021-09-10\nfilled: true", Section::Changed(filled)));
    assert!(!told("closes: 2021-09-10\nfilled: true", Section::Changed(withdrawn)));
    assert!(told("closes: 2021-09-10\nopen: false", Section::Changed(withdrawn)));
    assert!(told("closes: 2021-09-01", Section::Changed(Change::Closed)));
    assert!(told("closes: 2021-09-01\nopen: true", Section::Owner(Duty::StillOpen)));
    for section in [filled, withdrawn, Change::Closed].map(Section::Changed) {
        assert!(!told("closes: 2021-09-10", section));
    }
    assert!(!told("closes: 2021-09-10", Section::Owner(Duty::StillOpen)));
}

#[test]
fn what_is_put_off_after_its_end_is_said_too() {
    let story = [("2021-01-01", "closes: 2021-09-08"), ("2021-09-08", "closes: 2021-10-08")];
    let mut mornings = mornings("2021-09-07", 5);
    mornings.remove(1);
    let log = replay(&site(""), &story, &somebody(), &mornings);
    assert_eq!(log, ["2021-09-07 closing 1", "2021-09-09 changed moved"]);
    // What is over is over.
    let story = [("2021-01-01", "closes: 2021-09-08"), ("2021-09-09", "closes: 2021-09-05")];
    let log = replay(&site(""), &story, &somebody(), &mornings);
    assert_eq!(log, ["2021-09-07 closing 1"]);
}

/// A posting of a random story: when its file appears, and what it says from then on.
#[derive(Debug, Clone)]
struct Plot {
    appears: i64,
    closes: Vec<(i64, Option<i64>)>,
    hour: Option<u8>,
    filled: Option<i64>,
    domain: u8,
    open: bool,
}

prop_compose! {
    fn plots()(
        appears in 0_i64..40,
        closes in prop::option::weighted(0.9, 0_i64..60),
        moves in prop::collection::vec((0_i64..50, prop::option::weighted(0.9, 0_i64..60)), 0..3),
        hour in prop::option::weighted(0.3, 0_u8..24),
        filled in prop::option::weighted(0.2, 0_i64..60),
        domain in 0_u8..3,
        open in any::<bool>(),
    ) -> Plot {
        let mut closes = vec![(i64::MIN, closes)];
        closes.extend(moves);
        closes[1..].sort_by_key(|(from, _)| *from);
        Plot { appears, closes, hour, filled, domain, open }
    }
}

prop_compose! {
    fn recipients()(
        domain in prop::option::of(0_u8..3),
        lead_days in prop::option::of(prop::collection::vec(0_u16..15, 1..4)),
        weekly in prop::option::of(0_u8..7),
        new in any::<bool>(),
        subscribed in prop::bool::weighted(0.9),
    ) -> Recipient {
        Recipient {
            domains: domain.iter().map(|domain| format!("d{domain}")).collect(),
            lead_days,
            weekly: weekly.map(|day| Weekday::try_from(day).unwrap()),
            new,
            subscribed,
            ..somebody()
        }
    }
}

const BEGIN: NaiveDate = NaiveDate::from_ymd_opt(2021, 10, 10).unwrap();

fn day(number: i64) -> NaiveDate {
    BEGIN + TimeDelta::days(number)
}

impl Plot {
    /// The posting as its file says it on a day, where there is a file.
    fn on(&self, number: usize, today: i64) -> Option<Posting> {
        let (_, closes) = self.closes.iter().rfind(|(from, _)| *from <= today)?;
        let mut yaml = format!("opens: {}\ndomains: d{}\n", day(self.appears), self.domain);
        if let Some(closes) = closes {
            let time = self.hour.map_or_else(String::new, |hour| format!("T{hour:02}:00:00+02:00"));
            yaml.push_str(&format!("closes: {}{time}\n", day(*closes)));
        }
        if self.filled.is_some_and(|from| from <= today) {
            yaml.push_str("filled: true\n");
        }
        if self.open {
            yaml.push_str("open: true\ncontact: a@example.org\n");
        }
        let mut posting = posting(&yaml);
        posting.slug = format!("p{number}");
        posting.id = format!("tag:{number}");
        (self.appears <= today).then_some(posting)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// However runs come, late, doubled or not at all, and whatever happens to postings meanwhile.
    #[test]
    fn never_twice_never_too_late_and_never_about_what_is_closed(
        plots in prop::collection::vec(plots(), 1..5),
        recipient in recipients(),
        leads in prop::collection::vec(0_u16..20, 1..4),
        zone in prop::sample::select(vec!["Europe/Paris", "America/New_York", "Pacific/Kiritimati", "UTC"]),
        send_after in prop::sample::select(vec!["00:00", "08:00", "23:30"]),
        mut minutes in prop::collection::vec(0_i64..60 * 24 * 60, 0..60),
        back in prop::option::weighted(0.2, 0_usize..40),
    ) {
        let site = site(&format!(
            "timezone: {zone}\nreminders: {{ lead_days: {leads:?}, send_after: \"{send_after}\", owners: true }}"
        ));
        minutes.sort_unstable();
        if let Some(at) = back.filter(|at| *at < minutes.len()) {
            // The machine's clock is set back by a day, and goes on from there.
            for minute in &mut minutes[at..] { *minute -= 24 * 60; }
        }
        let mut sent = Sent::default();
        let mut stages = std::collections::HashSet::new();
        let mut days = std::collections::HashSet::new();
        let audience = [recipient.clone()];
        let key = recipient.key();
        for minute in minutes {
            let now = BEGIN.and_time(NaiveTime::MIN).and_utc() + TimeDelta::minutes(minute);
            let postings: Vec<Posting> =
                plots.iter().enumerate().filter_map(|(n, plot)| plot.on(n, minute / (24 * 60))).collect();
            let today = Today::new(&site, &postings, now);
            let could = today.is_due(sent.of(&key));
            let digests = today.digests(&audience, &sent);
            prop_assert!(could || digests.is_empty());
            for digest in &digests {
                prop_assert!(!digest.items.is_empty());
                prop_assert!(days.insert(digest.day), "two digests on {}", digest.day);
                prop_assert_eq!(&today.items(&entries(digest)), &digest.items);
                for item in &digest.items {
                    let state = lifecycle::state(item.posting, now, &Rules::of(&site));
                    let may_be_over = matches!(item.section, Section::Changed(_) | Section::Owner(Duty::StillOpen));
                    prop_assert!(state == State::Open || may_be_over, "{:?} {:?}", item.section, state);
                    if let Some(stage) = item.stage {
                        let is_owner = matches!(item.section, Section::Owner(_));
                        let entry = item.entry();
                        prop_assert!(stages.insert((entry.posting, entry.closes, is_owner, stage)), "stage {} twice", stage);
                        let reader = Reader { recipient: &recipient, past: &Past::default(), next: today.next_digest(&recipient) };
                        let (ends, days_left) = (item.posting.closes.unwrap().end(site.timezone), item.days_left.unwrap());
                        let is_last = is_owner && today.is_before_tomorrows(ends);
                        prop_assert!(is_last || i64::from(stage) >= days_left || today.stage(&reader, ends, days_left) == Some(stage));
                    }
                }
                digest.remember(&mut sent);
            }
            // The same run once more has nothing to say.
            prop_assert!(today.digests(&audience, &sent).is_empty());
            if !could { continue; }
            // What this run knew to be open, and what would close before the next digest could
            // come, or is within a lead, has been announced with the date that it has.
            for candidate in &today.candidates {
                let (Some(closes), Some(days_left)) = (candidate.posting.closes, candidate.days_left) else { continue };
                if candidate.state != State::Open || !recipient.wants(candidate) { continue; }
                let largest = i64::from(*recipient.lead_days.as_ref().unwrap_or(&leads).iter().max().unwrap());
                let is_near = recipient.weekly.is_none_or(|weekday| weekday == today.day.weekday()) && days_left <= largest;
                let (past, next) = (&Past::default(), today.next_digest(&recipient));
                let reader = Reader { recipient: &recipient, past, next };
                if is_near || today.cannot_wait(&reader, closes.end(site.timezone)) {
                    let told = today.smallest_stage(sent.of(&key), candidate, |entry| !entry.section.is_owners());
                    prop_assert!(told.is_some(), "{} closes {closes} and nobody was told by {now}", candidate.posting.slug);
                }
            }
        }
    }
}

#[test]
fn what_closes_stands_before_what_changed_what_is_owned_and_what_is_new() {
    let site = site("reminders: {owners: true}\n");
    let yamls = [
        "id: urn:x-a:1\nopens: 2021-08-30\ncloses: 2021-12-30",
        "id: urn:x-a:2\nopens: 2020-01-01\ncontact: a@example.org",
        "id: urn:x-a:3\nopens: 2021-08-01\ncloses: 2021-11-30",
        "id: urn:x-a:4\nopens: 2021-08-01\ncloses: 2021-09-07",
        "id: urn:x-a:5\nopens: 2021-08-01\ncloses: 2021-09-05",
    ];
    let postings: Vec<Posting> = yamls.iter().map(|yaml| posting(yaml)).collect();
    let reader = Recipient { new: true, ..somebody() };
    let mut past = Past::default();
    past.add(Entry {
        posting: "urn:x-a:3".to_owned(),
        section: Section::Closing,
        closes: Some("2021-10-30".to_owned()),
        stage: Some(7),
    });
    let today = Today::new(&site, &postings, at("2021-09-01T08:00:00Z"));
    let digest = today.due(&reader, &past).unwrap();
    let said = digest.items.iter().map(|item| (item.section.as_str(), item.posting.id.as_str()));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            ("closing", "urn:x-a:5"),
            ("closing", "urn:x-a:4"),
            ("changed", "urn:x-a:3"),
            ("owner", "urn:x-a:2"),
            ("new", "urn:x-a:1"),
        ]
    );
}

#[test]
fn the_day_is_that_of_the_sites_zone() {
    let site = site("timezone: Europe/Paris\n");
    let day = |now| Today::new(&site, &[], at(now)).day().to_string();
    assert_eq!(day("2021-08-31T21:59:59Z"), "2021-08-31");
    assert_eq!(day("2021-08-31T22:00:00Z"), "2021-09-01");
}

#[test]
fn a_digest_of_this_morning_is_dropped_when_it_is_not_true_any_more() {
    let site = site("");
    let now = at("2021-09-01T08:00:00Z");
    let entry = |section: Section, stage| {
        Arc::new(Entry {
            posting: "urn:x-a:1".to_owned(),
            section,
            closes: Some("2021-09-03".to_owned()),
            stage,
        })
    };
    let says = |yaml: &str, entry: &Arc<Entry>| {
        let postings = [posting(&format!("id: urn:x-a:1\nopens: 2021-08-01\n{yaml}"))];
        Today::new(&site, &postings, now).still_says(std::slice::from_ref(entry))
    };
    let of_what_is_open = [
        entry(Section::Closing, Some(3)),
        entry(Section::Closing, None),
        entry(Section::New, None),
        entry(Section::Changed(Change::Moved), None),
        entry(Section::Owner(Duty::Closes), Some(7)),
    ];
    for entry in &of_what_is_open {
        assert!(says("closes: 2021-09-03", entry), "{entry:?}");
        assert!(!says("closes: 2021-09-03\nfilled: true", entry), "{entry:?}");
        assert!(!says("closes: 2021-09-04", entry), "{entry:?}");
        assert!(!Today::new(&site, &[], now).still_says(std::slice::from_ref(entry)), "{entry:?}");
    }
    assert!(says(
        "closes: 2021-09-03\nfilled: true",
        &entry(Section::Changed(Change::Filled), None)
    ));
}

/// What somebody was told of a posting, and whether the change is told: before a weekly reader's next
/// digest, or only then.
#[test]
fn a_change_waits_for_the_weekly_digest_unless_somebody_would_know_too_late() {
    let site = site("");
    // Wednesdays; 2021-09-02 is a Thursday, and the next digest comes on the 8th, perhaps late.
    let weekly = Recipient { weekly: Some(Weekday::Wed), ..somebody() };
    let told = |closes: &str| {
        let mut past = Past::default();
        past.add_day("2021-09-01".parse().unwrap());
        past.add(Entry {
            posting: "urn:x-a:1".to_owned(),
            section: Section::Closing,
            closes: Some(closes.to_owned()),
            stage: Some(7),
        });
        past
    };
    let said = |closes: &str, past: &Past| -> Vec<&str> {
        let postings = [posting(&format!("id: urn:x-a:1\nopens: 2021-08-01\ncloses: {closes}"))];
        let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
        let digest = today.due(&weekly, past);
        digest.iter().flat_map(|digest| &digest.items).filter_map(|i| i.section.what()).collect()
    };
    let next = Today::new(&site, &[], at("2021-09-02T08:00:00Z")).next_digest(&weekly);
    let next = Moment::Day(next).end(site.timezone);
    let earlier = next - TimeDelta::seconds(1);
    let (next, earlier) = (next.to_rfc3339(), earlier.to_rfc3339());
    assert_eq!(said("2021-09-20", &told(&next)), [""; 0]);
    assert_eq!(said("2021-09-20", &told(&earlier)), ["moved"]);
    assert_eq!(said(&earlier, &told("2021-09-20")), ["moved"]);
    assert_eq!(said(&next, &told("2021-09-20")), [""; 0]);
    // Closed as it was said: nobody has to be told.
    let closed = |closes: &str, status: &str| -> usize {
        let yaml = format!("id: urn:x-a:1\nopens: 2021-08-01\ncloses: {closes}\nstatus: {status}");
        let postings = [posting(&yaml)];
        let today = Today::new(&site, &postings, at("2021-09-05T08:00:00Z"));
        today.due(&somebody(), &told("2021-09-06")).map_or(0, |digest| digest.items.len())
    };
    assert_eq!(closed("2021-09-04", "open"), 1);
    assert_eq!(closed("2021-09-06", "filled"), 1);
}

#[test]
fn explaining_says_what_a_digest_would() {
    let site = site("");
    let postings = [posting("id: urn:x-a:1\ncloses: 2021-09-03"), posting("id: urn:x-a:2")];
    let today = Today::new(&site, &postings, at("2021-09-01T08:00:00Z"));
    let mut past = Past::default();
    let why = |posting: &Posting, past: &Past| today.explain(posting, &somebody(), past);
    assert_eq!(why(&postings[0], &past), Ok(3));
    assert_eq!(why(&postings[1], &past), Err(NotDue::NoClosingDate));
    assert_eq!(why(&posting("id: urn:x-a:3"), &past), Err(NotDue::NotWanted));
    let digest = today.due(&somebody(), &past).map(|digest| digest.items[0].entry());
    past.add(digest.unwrap());
    assert_eq!(why(&postings[0], &past), Err(NotDue::AlreadySent(3)));
}

#[test]
fn news_are_what_came_within_a_week_before_the_last_digest() {
    let site = site("");
    let curious = Recipient { new: true, ..somebody() };
    let mut past = Past::default();
    past.add_day("2021-09-01".parse().unwrap());
    let is_news = |opens: &str| {
        let postings = [posting(&format!("opens: {opens}\ncloses: 2021-12-01"))];
        let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
        today.due(&curious, &past).is_some()
    };
    assert!(!is_news("2021-08-25") && is_news("2021-08-26"));
    assert!(is_news("2021-09-02") && !is_news("2021-09-03"));
}

#[test]
fn owners_are_told_what_still_says_open_in_either_way() {
    let site = site("reminders: {owners: true}\n");
    for (says, expected) in
        [("open: true", 1), ("status: open", 1), ("status: closed", 0), ("location: Paris", 0)]
    {
        let yaml = format!("opens: 2021-08-01\ncloses: 2021-08-30\ncontact: a@example.org\n{says}");
        let postings = [posting(&yaml)];
        let today = Today::new(&site, &postings, at("2021-09-02T08:00:00Z"));
        let owner = somebody();
        let digest = today.due(&owner, &Past::default());
        assert_eq!(digest.map_or(0, |digest| digest.items.len()), expected, "{says}");
    }
}

#[test]
fn what_closes_on_the_day_of_the_next_weekly_digest_does_not_wait_for_it() {
    let site = site("");
    // Tuesdays: what closes then at 09:00 may have closed before a run that is late.
    let lead_days = Some(vec![1]);
    let weekly = Recipient { weekly: Some(Weekday::Tue), lead_days, ..somebody() };
    let due = |closes: &str, now: &str, past: &Past| {
        let postings = [posting(&format!("opens: 2021-08-01\ncloses: {closes}"))];
        Today::new(&site, &postings, at(now)).due(&weekly, past).is_some()
    };
    for (closes, is_due) in
        [("2021-09-14T09:00", true), ("2021-09-14", false), ("2021-09-15", false)]
    {
        assert_eq!(due(closes, "2021-09-07T21:00:00Z", &Past::default()), is_due, "{closes}");
    }
    // Nor does what came after the last one.
    let mut past = Past::default();
    past.add_day("2021-09-07".parse().unwrap());
    assert!(due("2021-09-14T09:00", "2021-09-10T10:00:00Z", &past));
    assert!(!due("2021-09-14", "2021-09-10T10:00:00Z", &past));
}

#[test]
fn the_owner_of_a_posting_that_its_age_closed_is_told_once() {
    let site = site("stale_after_days: 60\nreminders: { owners: true }");
    let owner = Recipient { subscribed: false, ..somebody() };
    let told = |yaml: &str| {
        let postings = [posting(&format!("opens: 2021-06-01\ncontact: a@example.org\n{yaml}"))];
        let today = Today::new(&site, &postings, at("2021-08-10T08:00:00Z"));
        let mut sent = Sent::default();
        let digest = today.digests(std::slice::from_ref(&owner), &sent);
        for digest in &digest {
            digest.remember(&mut sent);
        }
        assert!(today.digests(std::slice::from_ref(&owner), &sent).is_empty());
        digest
            .into_iter()
            .flat_map(|digest| digest.items)
            .map(|item| item.section)
            .collect::<Vec<_>>()
    };
    assert_eq!(told("open: true"), [Section::Owner(Duty::StillOpen)]);
    assert_eq!(told("status: open"), [Section::Owner(Duty::StillOpen)]);
    assert_eq!(told(""), []);
}

#[test]
fn who_is_told_on_the_day_is_not_told_before() {
    let site = site("");
    let daily = Recipient { lead_days: Some(vec![0]), ..somebody() };
    let postings = [posting("opens: 2021-08-01\ncloses: 2021-09-03T17:00")];
    for (now, is_due) in [("2021-09-02T12:00:00Z", false), ("2021-09-03T08:00:00Z", true)] {
        let digest = Today::new(&site, &postings, at(now)).due(&daily, &Past::default());
        assert_eq!(digest.is_some(), is_due, "{now}");
    }
    // But for what has closed by the hour of its last day, whatever else they were told before.
    let story = [("2021-01-01", "closes: 2021-09-03T06:00:00+02:00")];
    for (leads, told) in [
        (vec![0], &["2021-09-02 closing 0"][..]),
        (vec![7, 0], &["2021-08-27 closing 7", "2021-09-02 closing 0"]),
        (vec![7, 1], &["2021-08-27 closing 7", "2021-09-02 closing 1"]),
        (vec![7], &["2021-08-27 closing 7"]),
    ] {
        let reader = Recipient { lead_days: Some(leads), ..somebody() };
        assert_eq!(replay(&site, &story, &reader, &mornings("2021-08-25", 12)), told);
    }
}
