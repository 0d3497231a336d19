//! What authors get wrong, one file each, and what they are told. The rest of the site is published
//! whatever they wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests"
)]

mod common;

use common::Site;

/// A name for the snapshot, the file's name, and its bytes.
type Case = (&'static str, &'static str, Vec<u8>);

fn yaml(name: &'static str, yaml: &str) -> Case {
    (name, "posting.md", format!("---\n{yaml}\n---\n\nText.\n").into_bytes())
}

fn raw(name: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    (name, "posting.md", bytes.into())
}

fn named(name: &'static str, file: &'static str) -> Case {
    (name, file, b"---\nrole: dev\n---\n\nText.\n".to_vec())
}

fn bomb() -> String {
    let mut yaml = String::from("role: dev\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        yaml.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    yaml
}

fn cases() -> Vec<Case> {
    vec![
        // The file.
        raw("empty_file", ""),
        raw("only_blank_lines", "\n  \n\t\n"),
        raw("byte_order_mark", "\u{FEFF}---\nrole: dev\n---\n"),
        raw(
            "utf16",
            [
                &[0xFF, 0xFE][..],
                &"---\nrole: dév\n---\n"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>(),
            ]
            .concat(),
        ),
        raw("crlf", "---\r\nrole: dev\r\ncloses: 2021-02-30\r\n---\r\n\r\nText.\r\n"),
        raw("latin1", b"---\nrole: d\xE9veloppeuse\n---\n\n\xC9t\xE9.\n".to_vec()),
        raw("binary", (0..=255).cycle().take(4096).collect::<Vec<u8>>()),
        raw("fifty_megabytes", vec![b'a'; 50 << 20]),
        raw("control_characters", "---\nrole: d\u{1}ev\u{7}\n---\n\nBell\u{7}.\n"),
        raw("noncharacters", "---\nrole: dev\n---\n\na\u{FFFE}b\u{85}c\n"),
        raw("million_brackets", format!("---\nrole: dev\nx: {}\n---\n", "[".repeat(900_000))),
        raw("million_quotes", format!("---\nrole: dev\n---\n\n{}\n", "> ".repeat(400_000))),
        named("name_without_extension", "posting"),
        named("name_with_dots", "posting.with.dots"),
        named("name_with_spaces_and_accents", "2021-08-03 Chef·fe d'équipe – e-inspé.md"),
        named("name_without_letters", "…。.md"),
        named("name_of_a_backup", "posting.md~"),
        named("name_of_a_readme", "README.md"),
        ("name_of_an_image", "photo.png", vec![0x89, b'P', b'N', b'G', 0, 1, 2]),
        ("text_file", "notes.txt", b"Call them back.".to_vec()),
        ("no_extension_no_front_matter", "NOTES", b"Call them back.".to_vec()),
        // Fences.
        raw("no_front_matter", "# Developer\n\nText.\n"),
        raw("toml", "+++\nrole = \"dev\"\n+++\n"),
        raw("json", "{ \"role\": \"dev\" }\n"),
        raw("blank_lines_before_fence", "\n\n---\nrole: dev\n---\n"),
        raw("four_dashes", "----\nrole: dev\n----\n"),
        raw("typographic_dashes", "———\nrole: dev\n———\n"),
        raw("no_opening_fence", "role: dev\nopen: true\n---\n\nText.\n"),
        raw("no_closing_fence", "---\nrole: dev\nopen: true\n\nText.\n"),
        raw("indented_keys", "---\n role: dev\n open: true\n ---\n\n Text.\n"),
        raw("fence_with_spaces", "---   \nrole: dev\n---\t\n"),
        raw("empty_front_matter", "---\n---\n\n# A heading\n"),
        // YAML.
        yaml("unquoted_colon", "title: Poste : développeuse\nopen: true"),
        yaml("two_unquoted_colons", "title: A: b\nrole: C: d\nopen: true"),
        yaml("tabs", "\trole: dev\n\topen: true"),
        yaml("tab_after_key", "role:\tdev"),
        yaml("quote_never_closed", "title: \"Une offre\nopen: true"),
        yaml("quote_closed_early", "title: \"Une\" offre\nopen: true"),
        yaml("value_begins_with_at", "title: @home\nopen: true"),
        yaml("value_begins_with_star", "title: *full stack*\nopen: true"),
        yaml("value_begins_with_bracket", "title: [H/F] Développeur\nopen: true"),
        yaml("list_instead_of_keys", "- role\n- dev"),
        yaml("prose_instead_of_keys", "We look for a developer.\nWrite to us."),
        yaml("duplicate_key", "role: dev\nrole: ops"),
        yaml("same_meaning_twice", "role: dev\npost_ouvert: 2021-08-01\ndate: 2021-07-01"),
        yaml("yaml_bomb", &bomb()),
        yaml(
            "deep_nesting",
            &format!(
                "role: dev\nx:\n{}",
                (1..60).map(|n| format!("{}- a:\n", " ".repeat(2 * n))).collect::<String>()
            ),
        ),
        yaml("unknown_alias", "role: dev\nteam: *nobody"),
        yaml("complex_key", "role: dev\n? [a, b]\n: c"),
        // Keys.
        yaml("misspelt_key", "role: dev\nposte_fermee: 2021-09-30"),
        yaml("key_in_another_spelling", "Role: dev\nÉquipe: E\nposte-ferme: 2021-09-30"),
        yaml("unknown_key", "role: dev\nlayout: job"),
        yaml("no_break_space_in_a_date", "role: dev\ncloses: 3\u{A0}septembre 2021"),
        yaml("no_break_space_after_the_colon", "role:\u{A0}dev\ncloses:\u{A0}2021-08-20"),
        yaml("fence_inside_of_a_text", "role: dev\nnote: |\n  a\n  ---\n  b\ncloses: 2021-08-10"),
        yaml("contact_with_a_name", "role: dev\ncontact: Alix Martin <alix@example.org>"),
        yaml("one_value_in_two_spellings", "role: dev\ndomaines: [Design, design, C, C++]"),
        yaml(
            "a_thousand_domains",
            &format!(
                "role: dev\ndomaines: [{}]",
                (0..1000).map(|n| format!("d{n}")).collect::<Vec<_>>().join(", ")
            ),
        ),
        yaml("a_title_of_tags", &format!("role: dev\ntitle: \"{}\"", "<div>".repeat(100_000))),
        raw(
            "a_body_of_crossed_tags",
            format!("---\nrole: dev\n---\n\n{}\n", "<div></x>".repeat(100_000)),
        ),
        raw(
            "a_body_of_empty_links",
            format!("---\nrole: dev\n---\n\n{}\n", "[]()".repeat(200_000)),
        ),
        raw(
            "latin1_among_utf8",
            [&b"---\nrole: d\xC3\xA9v\n---\n\n"[..], &b"\xC9t\xE9 \xC3\xA9.\n"[..]].concat(),
        ),
        raw("nothing_to_read", "---\nrole: dev\n---\n\n<style>p {}</style>\n"),
        named("control_character_in_the_name", "\u{1}.md"),
        yaml("empty_value", "role: dev\ncontrat:\nequipe: \"\""),
        // Values.
        yaml("list_instead_of_text", "role: [dev, ops]"),
        yaml("mapping_instead_of_text", "role: dev\nteam: { name: E }"),
        yaml("mapping_instead_of_date", "role: dev\ncloses: { day: 3 }"),
        yaml("list_instead_of_date", "role: dev\ncloses: [2021-09-30, 2021-10-31]"),
        yaml("list_with_an_empty_item", "role: dev\ndomaines: [design, , \"\"]"),
        yaml("no_title", "open: true"),
        yaml("day_that_does_not_exist", "role: dev\nposte_ferme: 2021-02-30"),
        yaml("month_that_does_not_exist", "role: dev\nposte_ferme: 2021-13-01"),
        yaml("day_month_year", "role: dev\nposte_ferme: 31/08/2021"),
        yaml("day_month_year_short", "role: dev\nposte_ferme: 31/08/21"),
        yaml("date_in_words", "role: dev\nposte_ferme: fin septembre"),
        yaml("date_without_zeros", "role: dev\nposte_ferme: 2021-9-3"),
        yaml("year_with_a_slip", "role: dev\nposte_ferme: 0202-09-03"),
        yaml("time_that_does_not_exist", "role: dev\nposte_ferme: 2021-09-03T25:00:00"),
        yaml("updated_that_does_not_exist", "role: dev\nupdated: yesterday"),
        yaml("updated_in_the_future", "role: dev\nupdated: 2031-01-01"),
        yaml("closes_before_it_opens", "role: dev\nopens: 2021-08-01\ncloses: 2021-07-01"),
        yaml("open_after_closing", "role: dev\nopen: true\ncloses: 2021-07-01"),
        yaml("status_open_but_closed", "role: dev\nstatus: open\nopen: false"),
        yaml("open_but_filled", "role: dev\nopen: true\nposte_pourvu: true"),
        yaml("flag_in_words", "role: dev\nopen: oui\njunior: peut-être"),
        yaml("flag_that_is_none", "role: dev\nopen: bientôt"),
        yaml("status_misspelt", "role: dev\nstatus: opne"),
        yaml("address_without_scheme", "role: dev\nexternalURL: www.example.org/apply"),
        yaml("address_that_acts", "role: dev\napply_url: \"javascript:alert(1)\""),
        yaml("address_of_nobody", "role: dev\napply_url: \"mailto:\""),
        yaml("address_that_is_none", "role: dev\napply_url: see below"),
        yaml("slug_upwards", "role: dev\nslug: ../../etc/passwd"),
        yaml("slug_without_letters", "role: dev\nslug: \"???\""),
        yaml("id_that_is_no_uri", "role: dev\nid: 42"),
        yaml("redirect_upwards", "role: dev\nredirect_from: [/old.html, ../../secret]"),
        yaml("language_that_is_none", "role: dev\nlang: français"),
        yaml("type_that_is_none", "role: dev\ntype: cdi"),
        yaml(
            "item_with_a_colon",
            "role: dev\ndomaines:\n  - Design: UX\n  - Dev\ncontact:\n  - Marie: marie@example.org",
        ),
        yaml("items_with_signs", "role: dev\ndomaines: [Design, , web]"),
        yaml("backslash_in_quotes", "title: \"C:\\dev\"\nrole: dev"),
        yaml(
            "key_inside_of_another",
            "role: dev\nresume: >\n  Un texte\n  poste_ferme: 2021-08-31\nseo:\n  closes: 2021-08-31",
        ),
        yaml("second_key_without_a_value", "role: dev\ncloses: 2021-09-10\ncloses:"),
        yaml("dashes_and_an_h", "role: dev\ncloses: 2021\u{2013}09\u{2011}03 18h00"),
        yaml("time_that_nobody_can_read", "role: dev\ncloses: 2021-12-03 in the evening"),
        yaml("hugo_has_two_dates", "role: dev\ndate: 2021-08-01\npublishDate: 2021-08-15"),
        yaml("title_for_xml", "title: 'A & B < C ]]> \"D\"'\nrole: dev"),
        yaml("title_with_markup", "title: <b>Dev</b> R&amp;D<script>alert(1)</script>\nrole: dev"),
        yaml(
            "title_with_escapes",
            "title: \"a\\0b\\x1Bc\\uFFFEd\\r\\nBcc: x@example.org\"\nrole: dev",
        ),
        yaml("title_right_to_left", "title: مطور ويب\nrole: dev"),
        yaml("title_that_turns", "title: \"abc\u{202E}def\"\nrole: dev"),
        yaml("title_with_emoji", "title: \"👩🏽‍💻 Développeuse 🚀\"\nrole: dev"),
        yaml("very_long_title", &format!("title: {}\nrole: dev", "très ".repeat(2000))),
        // Text.
        raw(
            "empty_link",
            "---\nrole: dev\n---\n\nVoir [le site]() et [la page](https://example.org/).\n",
        ),
        raw(
            "element_that_has_no_end",
            "---\nrole: dev\n---\n\nIntro\n\n<iframe src=\"https://v.example.org/1\" />\n\n## Missions\n\nThe job.\n",
        ),
        raw("lines_that_end_with_cr", "---\rrole: dev\rcloses: 2021-02-30\r---\r\rText\r"),
        raw("unclosed_html", "---\nrole: dev\n---\n\n<div><table><p>Text <b>bold\n"),
        raw(
            "style_and_script",
            "---\nrole: dev\n---\n\n<style>p { color: red }</style>\n\nText <script>alert(1)</script>\n",
        ),
    ]
}

#[test]
fn every_mistake_is_understood_or_explained_and_stops_nobody_else() {
    let cases = cases();
    assert!(cases.len() >= 60);
    // A snapshot that no case writes any more would say nothing.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_prefix("misuse__") else { continue };
        assert!(
            cases.iter().any(|(case, ..)| name == format!("{case}.snap")),
            "{file} is left over"
        );
    }
    for (name, file, bytes) in cases {
        let site = Site::new();
        site.posting("another.md", "role: another");
        site.write(&format!("content/postings/{file}"), &bytes);
        let now = "--now=2021-08-15";
        let check = site.run(&[now, "check"]);
        let human = check.stdout;
        let built = site.run(&[now, "build"]);
        assert!([0, 1].contains(&built.code), "{name}: {built:?}");
        let listed = site.run(&[now, "list", "--all", "--format", "json"]).exits(0).json();
        let rows: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["slug"] != "another")
            .map(|row| {
                let title: String = row["title"].as_str().unwrap().chars().take(60).collect();
                format!("{} {} {title:?} closes {}", row["state"], row["slug"], row["closes"])
            })
            .collect();
        // Every entry once, with something to read.
        let feed = feed_rs::parser::parse(site.read("out/feed.atom").as_bytes()).unwrap();
        let mut ids: Vec<_> = feed.entries.iter().map(|entry| &entry.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), feed.entries.len(), "{name}");
        // Nobody else suffers.
        assert!(site.exists("out/postings/another.html"), "{name}");
        for feed in ["out/feed.atom", "out/feed.rss", "out/feed.json"] {
            let read = feed_rs::parser::parse(site.read(feed).as_bytes());
            assert!(read.is_ok_and(|feed| !feed.entries.is_empty()), "{name}: {feed}");
        }
        // Published, or named in a message: never silently lost.
        let visible: String = file
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect();
        assert!(!rows.is_empty() || human.contains(&visible), "{name} is lost");
        let what = if rows.is_empty() { "not published".to_owned() } else { rows.join("\n") };
        insta::assert_snapshot!(name, format!("{what}\n\n{}", human.trim_end()));
    }
}
