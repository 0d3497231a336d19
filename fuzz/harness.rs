//! What must hold whatever bytes come from outside: nothing panics, and what is made of them can be
//! read by others. The fuzzer calls these, and so does a test, with everything that was ever found.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use chrono::{DateTime, TimeZone, Utc};
use crieur::catalog::Catalog;
use crieur::edition::{Edition, Means};
use crieur::feeds::Format;
use crieur::inbound;
use crieur::key::Key;
use crieur::ledger::Ledger;
use crieur::outline::Category;
use crieur::posting::{Posting, front_matter, parse};
use crieur::reminders::Recipient;
use crieur::reminders::recipients::{read_csv, read_yaml};
use crieur::serve::{self, Limits, Metrics, People, Server, Tongue, Tongues, World};
use crieur::site::Site;
use crieur::templates::Templates;
use crieur::tokens::Keys;
use tower::ServiceExt;

/// What is done with bytes.
type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("front_matter", front_matter),
    ("posting", posting),
    ("recipients_yaml", recipients_yaml),
    ("recipients_csv", recipients_csv),
    ("settings", settings),
    ("template", template),
    ("inbound", inbound),
    ("form", form),
];

const SETTINGS: &str = "title: Offres\nurl: https://jobs.example.org/\nmail: { from: offres@example.org, bounces: back@example.org }\nsubscribe: { url: 'https://jobs.example.org/on' }\nunsubscribe: { url: 'https://jobs.example.org/off' }\n";

fn site() -> Site {
    Site::parse(SETTINGS).expect("these settings are sound")
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2021, 8, 31, 8, 0, 0).unwrap()
}

fn catalog(language: &str) -> Arc<Catalog> {
    let language = language.parse().expect("a tag");
    Arc::new(Catalog::new(&language, None).expect("it is built in"))
}

/// The beginning of a file, and where its text begins.
pub fn front_matter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(matter) = front_matter::read(&text) {
        assert!(text.get(matter.body).is_some(), "the text is within the file");
    }
}

/// A whole posting, through everything that is published of it.
pub fn posting(data: &[u8]) {
    let parsed = parse::parse(&site(), "content/postings/a.md", data, Key::of(data));
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.human("").is_empty());
    }
    let Some(posting) = parsed.posting else { return };
    publish(&[posting], &BTreeMap::new());
}

/// Publishes postings, and reads it with others' readers.
fn publish(postings: &[Posting], own: &BTreeMap<String, String>) {
    let (site, catalog) = (site(), catalog("fr"));
    let Ok(templates) = Templates::new(own, catalog.clone()) else { return };
    let means =
        Means { site: &site, catalog: &catalog, templates: &templates, own, key: Key::of(b"") };
    let edition = Edition::new(means, postings, now());
    for (at, outline) in edition.outlines.iter().enumerate() {
        let Ok(rendered) = edition.render(at, outline) else { continue };
        assert!(std::str::from_utf8(&rendered.page).is_ok());
        if own.is_empty() {
            let page = String::from_utf8_lossy(&rendered.page);
            // As a text it is only that.
            assert!(!page.contains("<script>"), "{page}");
            for followed in ["href", "src", "action"] {
                assert!(!page.contains(&format!("{followed}=\"javascript:")), "{page}");
            }
        }
        if let Some(event) = rendered.event {
            let calendar = edition.calendar_of("a.ics", &event);
            let calendar = String::from_utf8(calendar).expect("text");
            assert!(calendar.lines().all(|line| line.len() <= 75), "{calendar}");
            assert_eq!(
                calendar.matches("\nBEGIN:").count(),
                calendar.matches("\nEND:").count() - 1
            );
        }
        let (Some(feed), 1) = (edition.feeds.first(), rendered.parts.len() / 3) else { continue };
        for (format, part) in Format::ALL.into_iter().zip(&rendered.parts) {
            let whole = feed.frame(format).expect("a frame").around(part);
            match format {
                Format::Atom => {
                    let read = atom_syndication::Feed::read_from(whole.as_bytes());
                    assert_eq!(read.expect("Atom").entries.len(), 1, "{whole}");
                }
                Format::Rss => {
                    let read = rss::Channel::read_from(whole.as_bytes()).expect("RSS");
                    assert_eq!(read.items.len(), 1, "{whole}");
                }
                Format::Json => {
                    let read: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
                    assert_eq!(read["items"].as_array().map(Vec::len), Some(1), "{whole}");
                }
            }
        }
    }
}

/// A list of recipients.
pub fn recipients_yaml(data: &[u8]) {
    let (list, _) = read_yaml("recipients.yaml", data);
    check(&list);
}

/// The same as a table.
pub fn recipients_csv(data: &[u8]) {
    if let Ok((list, _)) = read_csv("recipients.csv", Cursor::new(data)) {
        check(&list);
    }
}

fn check(list: &[Recipient]) {
    for recipient in list {
        assert!(!recipient.email.contains(['\r', '\n', ' ']), "{:?}", recipient.email);
        assert!(recipient.name.as_ref().is_none_or(|name| !name.contains(['\r', '\n'])));
    }
}

/// A site's settings.
pub fn settings(data: &[u8]) {
    match Site::parse(&String::from_utf8_lossy(data)) {
        Ok(site) => assert!(site.url.path().ends_with('/'), "{}", site.url),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// A template of a site's own, in place of that of a posting.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let file = b"---\ntitle: Titre\ncloses: 2021-09-03\ndomains: [a, b]\n---\n\nTexte **gras**.\n";
    let parsed = parse::parse(&site(), "content/postings/a.md", file, Key::of(file));
    let posting = parsed.posting.expect("it is sound");
    publish(&[posting], &BTreeMap::from([("posting.html".to_owned(), text)]));
}

/// A message that came back.
pub fn inbound(data: &[u8]) {
    let keys = Keys::new(b"secret".to_vec(), Vec::new());
    let _ = inbound::read(data, None, &site(), &keys);
}

/// A request to one of the pages of people: its address on the first line, then headers, an empty
/// line, and what is posted, if anything is.
pub fn form(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri(lines.next().unwrap_or("/"));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(body.to_owned())) else { return };
    let (runtime, server) = server();
    let (status, page) = runtime.block_on(async {
        let response = serve::router(server.clone()).oneshot(request).await.expect("an answer");
        let status = response.status();
        (status, to_bytes(response.into_body(), usize::MAX).await.expect("a page"))
    });
    assert_ne!(status.as_u16(), 500, "{text}");
    let page = String::from_utf8_lossy(&page);
    assert!(!page.contains("<script"), "{page}");
}

fn server() -> &'static (tokio::runtime::Runtime, Arc<Server>) {
    static SERVER: OnceLock<(tokio::runtime::Runtime, Arc<Server>)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tongues = ["fr", "en"].map(|language| {
            let catalog = catalog(language);
            let templates = Templates::new(&BTreeMap::new(), catalog.clone()).expect("built in");
            Tongue { language: language.parse().expect("a tag"), catalog, templates }
        });
        let people = People::new(site(), Tongues::new(tongues.into()), Box::new(Nowhere));
        let server = Server {
            out: PathBuf::from("nowhere"),
            root: "/".to_owned(),
            people: Arc::new(people.expect("pages of their own")),
            limits: Arc::new(Limits::default()),
            metrics: Metrics::default(),
            is_https: true,
            log: Box::new(|_, _, _| {}),
        };
        (runtime.expect("a runtime"), Arc::new(server))
    })
}

/// A world with a ledger in memory, and nothing else.
struct Nowhere;

impl World for Nowhere {
    fn now(&self) -> DateTime<Utc> {
        now()
    }

    fn ledger(&self) -> anyhow::Result<Ledger> {
        Ok(Ledger::in_memory()?)
    }

    fn choices(&self) -> Arc<Vec<Category>> {
        Arc::default()
    }

    fn listed(&self, _: &str) -> anyhow::Result<Option<Recipient>> {
        Ok(None)
    }

    fn asked(&self) {}

    fn changed(&self) {}

    fn complain(&self, line: &str) {
        panic!("{line}");
    }
}
