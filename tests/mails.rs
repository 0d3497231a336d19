//! Whole messages, to the byte: in both languages, with every section, signed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::Site;

/// A key of nobody's.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

fn site() -> Site {
    let site = Site::new();
    site.write(
        "content/site.yaml",
        "title: Offres de la Criée
url: https://emplois.example.org/
reminders: { owners: true }
mail:
  from: \"Offres de la Criée <emplois@example.org>\"
  reply_to: contact@example.org
  dkim: { domain: example.org, selector: crieur, key_file: dkim.pem }
unsubscribe: { mailto: off@example.org }
",
    );
    site.write("dkim.pem", KEY);
    site.write(
        "content/recipients.yaml",
        "- { email: fr@example.org, name: \"Zoé L’Hôte\", new: true }
- { email: en@example.org, name: 'Jo \"the\" Smith, Jr.', language: en, new: true }
",
    );
    let posting = |name: &str, yaml: &str| site.posting(&format!("{name}.md"), yaml);
    posting(
        "today",
        "title: Développeuse & <développeur>\nrole: Web\nteam: Marées\ncloses: 2021-09-02",
    );
    posting("tomorrow", "title: Designer\nfriend: Agence\ncloses: 2021-09-03");
    posting("moves", "title: Coach\ncloses: 2021-09-08");
    posting("filled", "title: Bizdev\ncloses: 2021-09-08");
    posting("withdrawn", "title: Intra\ncloses: 2021-09-08");
    posting("ends", "title: Produit\ncloses: 2021-09-08");
    posting("endless", "title: Sans date\nopens: 2021-05-01\ncontact: fr@example.org");
    posting("forgotten", "title: Oubliée\nopen: true\ncloses: 2021-08-20\ncontact: fr@example.org");
    posting("own", "title: Mienne\nstatus: open\ncloses: 2021-09-30\ncontact: en@example.org");
    site
}

/// The second day: everything has happened.
fn mails() -> Vec<(String, String)> {
    let site = site();
    // Tokens are made with a number of the ledger's own: here it is a known one.
    site.run(&["unsubscribe", "nobody@example.org"]).exits(0);
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    ledger.execute("UPDATE secrets SET value = zeroblob(32)", []).unwrap();
    let since = "2021-09-01 00:00:00+00:00";
    ledger.execute("INSERT INTO keys VALUES (1, zeroblob(32), ?1)", [since]).unwrap();
    drop(ledger);
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let posting = |name: &str, yaml: &str| site.posting(&format!("{name}.md"), yaml);
    posting("moves", "title: Coach\ncloses: 2021-09-20");
    posting("filled", "title: Bizdev\nfilled: true\ncloses: 2021-09-08");
    posting("withdrawn", "title: Intra\nopen: false\ncloses: 2021-09-08");
    posting("ends", "title: Produit\ncloses: 2021-09-01");
    posting("own", "title: Mienne\nstatus: open\ncloses: 2021-09-02\ncontact: en@example.org");
    posting("new", "title: Nouvelle\nteam: Équipe\nopens: 2021-09-02\ncloses: 2021-10-30");
    posting("newer", "title: Sans clôture\nopens: 2021-09-02");
    let settings = site.read("content/site.yaml").replace(
        "{ mailto: off@example.org }",
        "{ mailto: off@example.org, url: 'https://emplois.example.org/off' }",
    );
    site.write("content/site.yaml", settings);
    site.run(&["--now=2021-09-02", "remind"]).exits(0);
    let files = site.files(".crieur/outbox").into_iter();
    files.map(|(name, bytes)| (name[..10].to_owned(), String::from_utf8(bytes).unwrap())).collect()
}

#[test]
fn whole_messages() {
    for (day, mail) in mails() {
        let to = if mail.contains("Content-Language: en") { "en" } else { "fr" };
        insta::assert_snapshot!(format!("mail-{day}-{to}"), mail.replace("\r\n", "\n"));
    }
}

#[test]
fn the_same_mail_is_the_same_to_the_byte() {
    let bytes = || {
        let site = site();
        site.run(&["--now=2021-09-01", "remind"]).exits(0);
        site.files(".crieur/outbox")
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn every_message_is_as_servers_want_it() {
    for (_, mail) in mails() {
        assert!(mail.is_ascii());
        assert!(mail.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        let head = mail.split("\r\n\r\n").next().unwrap();
        for name in [
            "DKIM-Signature",
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Reply-To",
            "List-Id",
            "List-Unsubscribe",
            "Auto-Submitted",
            "X-Auto-Response-Suppress",
            "Content-Language",
            "Feedback-ID",
            "MIME-Version",
            "Content-Type",
        ] {
            let count = head.split("\r\n").filter(|l| l.starts_with(&format!("{name}: "))).count();
            assert_eq!(count, 1, "{name}:\n{head}");
        }
        // One-click only where there is a page for it.
        let is_https = head.contains("<https://");
        assert_eq!(head.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), is_https);
        assert!(head.contains("<mailto:off@example.org?subject=unsubscribe>"));
    }
}

/// The HTML of a message, as a mail program reads it.
fn html(message: &str) -> String {
    let message = mail_parser::MessageParser::default().parse(message).unwrap();
    let mut found = message.parts.iter().filter_map(|part| match &part.body {
        mail_parser::PartType::Html(html) => Some(html.clone().into_owned()),
        _ => None,
    });
    let html = found.next().unwrap();
    assert!(found.next().is_none(), "one is enough");
    html
}

/// Nobody is told that a message was opened, or which of its links was followed.
#[test]
fn no_message_fetches_anything_or_leads_anywhere_but_to_the_site() {
    let confirmations = ["fr", "en"].map(|language| (language.to_owned(), confirmation(language)));
    let mut kinds = std::collections::BTreeSet::new();
    for (kind, mail) in mails().into_iter().chain(confirmations) {
        let html = html(&mail);
        let lower = html.to_lowercase();
        for fetches in [
            "<img",
            "src=",
            "srcset",
            "url(",
            "<link",
            "@import",
            "background=",
            "<script",
            "<iframe",
        ] {
            assert!(!lower.contains(fetches), "{kind}: {fetches} in\n{html}");
        }
        let links: Vec<String> = lower
            .split("href=")
            .skip(1)
            .map(|rest| rest.trim_start_matches('"').split('"').next().unwrap().to_owned())
            .collect();
        assert!(!links.is_empty(), "{kind}");
        for link in links {
            let own = link.strip_prefix("https://emplois.example.org/");
            assert!(own.is_some() || link.starts_with("mailto:"), "{kind}: {link}");
            // Only what is for one person has anything of them in it.
            let path = own.unwrap_or_default();
            let is_plain = !path.contains(['?', '#']);
            let is_theirs = path.starts_with("off?token=") || path.starts_with("abonnement");
            assert!(is_plain || is_theirs, "{kind}: {link}");
            kinds.insert(path.split(['/', '?']).next().unwrap().to_owned());
        }
    }
    for kind in ["postings", "off", "abonnement"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
}

/// The message to somebody who asked to subscribe, in a language.
fn confirmation(language: &str) -> String {
    use crieur::catalog::Catalog;
    use crieur::mail::confirmation::{Asked, confirmation};
    use crieur::reminders::Recipient;
    use crieur::templates::Templates;
    use crieur::tokens::Keys;

    let settings = "title: Offres « d’ici » & <là>\nurl: https://emplois.example.org/\nmail: { from: 'Offres <emplois@example.org>', reply_to: contact@example.org }\nsubscribe: { url: 'https://emplois.example.org/abonnement?liste=a' }\n";
    let site = crieur::site::Site::parse(settings).unwrap();
    let keys = Keys::new(vec![0; 32], Vec::new());
    let at = "2021-09-01T08:00:00Z".parse().unwrap();
    let catalog = std::sync::Arc::new(Catalog::new(&language.parse().unwrap(), None).unwrap());
    let templates = Templates::new(&std::collections::BTreeMap::new(), catalog.clone()).unwrap();
    let recipient = Recipient::new("Zoe.Test@example.org");
    let asked = Asked { recipient: &recipient, at, within: crieur::ledger::CONFIRMATION };
    let words = (catalog.as_ref(), &templates);
    let message = confirmation(asked, &site, &keys, None, words, at).unwrap();
    String::from_utf8(message.bytes).unwrap()
}

#[test]
fn confirmations() {
    for language in ["fr", "en"] {
        let text = confirmation(language);
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 998));
        insta::assert_snapshot!(format!("confirmation-{language}"), text.replace('\r', ""));
    }
}
