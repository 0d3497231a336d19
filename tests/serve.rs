//! The web server, from outside: what it gives out, what people can do there, and what nobody can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use common::Site;
use ureq::http::{HeaderMap, Request};

const NOW: &str = "--now=2021-08-31T08:00:00Z";
const FORM: &str = "application/x-www-form-urlencoded";

/// A server that runs for the time of a test.
struct Server {
    process: Child,
    address: String,
    /// Reads what it says until it ends.
    listener: Option<JoinHandle<Vec<String>>>,
}

/// What was answered.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    fn start(site: &Site) -> Self {
        Self::start_at(site, NOW)
    }

    fn start_at(site: &Site, now: &str) -> Self {
        let mut command = site.command();
        command.arg(now);
        Self::run(&mut command)
    }

    fn run(command: &mut Command) -> Self {
        let mut process =
            command.args(["serve", "--addr=127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            said.push(line.clone());
            if let Some((_, address)) = line.split_once("serving at http://") {
                break address.split('/').next().unwrap().to_owned();
            }
        };
        // Whatever else it says must find a reader.
        let listener = std::thread::spawn(move || {
            said.extend(lines.map_while(Result::ok));
            said
        });
        Self { process, address, listener: Some(listener) }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut reply = match method {
            "GET" | "HEAD" => agent.run(request.body(()).unwrap()).unwrap(),
            _ => agent.run(request.body(body).unwrap()).unwrap(),
        };
        let headers = reply.headers().clone();
        let body = reply.body_mut().read_to_vec().unwrap();
        Reply { status: reply.status().as_u16(), headers, body }
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("content-type", FORM)], body.as_bytes())
    }

    /// Sends bytes as they are, and returns the first line of the answer.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // It may hang up before it has heard everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }

    fn stop(self) -> i32 {
        self.end().0
    }

    /// Ends it as the machine does. How it ended, and what it said on standard error.
    fn end(mut self) -> (i32, Vec<String>) {
        let id = self.process.id().to_string();
        let ended = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(ended.success());
        let code = self.process.wait().unwrap().code().unwrap_or(-1);
        (code, self.listener.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn site() -> Site {
    let site = Site::new();
    site.write(
        "content/site.yaml",
        "title: Offres « ici »\nurl: https://jobs.example.org/\nmail:\n  from: \"Offres <offres@example.org>\"\n  bounces: back@example.org\nsubscribe: { url: 'https://jobs.example.org/abonnement' }\nunsubscribe: { url: 'https://jobs.example.org/desabonnement' }\n",
    );
    site.write("content/recipients.yaml", "- email: listed@example.org\n");
    site.posting("a.md", "title: Développeuse\ncloses: 2021-09-03\ndomains: Développement");
    site.posting("b.md", "title: Designer\ndomains: Design\ncloses: 2021-09-05\nteam: Marées");
    site.run(&[NOW, "build"]).exits(0);
    site
}

/// The messages in the outbox that go to an address, decoded, newest last.
fn mails(site: &Site, to: &str) -> Vec<String> {
    let files = site.files(".crieur/outbox").into_values();
    let texts = files.map(|bytes| {
        let decoded = quoted_printable::decode(bytes, quoted_printable::ParseMode::Robust);
        String::from_utf8_lossy(&decoded.unwrap()).into_owned()
    });
    texts.filter(|text| text.contains(&format!("To: {to}\r\n"))).collect()
}

/// Waits for a message that another thread is about to write.
fn mail(site: &Site, to: &str) -> String {
    for _ in 0..400 {
        if let Some(mail) = mails(site, to).pop() {
            return mail;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("no message to {to}");
}

/// The addresses of the site's own pages in a message, without the host.
fn links(mail: &str) -> BTreeSet<String> {
    let ends = |c: char| c.is_whitespace() || "\"<>".contains(c);
    let words = mail.split(ends);
    let own = words.filter_map(|word| word.strip_prefix("https://jobs.example.org"));
    own.map(|path| path.replace("&amp;", "&")).collect()
}

fn link(mail: &str, to: &str) -> String {
    links(mail).into_iter().find(|path| path.starts_with(to)).unwrap_or_else(|| panic!("{mail}"))
}

/// Everybody, and whether they are written to.
fn states(site: &Site) -> Vec<(String, String)> {
    let list = site.run(&[NOW, "recipients", "list", "--format=json"]).exits(0).json();
    let rows = list.as_array().unwrap().iter();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.map(|row| (text(row, "email"), text(row, "state"))).collect()
}

fn state(site: &Site, email: &str) -> Option<String> {
    states(site).into_iter().find(|(address, _)| address == email).map(|(_, state)| state)
}

fn token(link: &str) -> &str {
    link.split_once("token=").unwrap().1
}

#[test]
fn what_was_published_is_given_out_as_readers_want_it() {
    let site = site();
    let server = Server::start(&site);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/postings/a.html", "text/html; charset=utf-8"),
        ("/feed.atom", "application/atom+xml; charset=utf-8"),
        ("/feed.rss", "application/rss+xml; charset=utf-8"),
        ("/feed.json", "application/feed+json; charset=utf-8"),
        ("/closing-dates.ics", "text/calendar; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml; charset=utf-8"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.header("content-type")), (200, kind), "{path}");
        let name = if path == "/" { "index.html" } else { &path[1..] };
        assert_eq!(reply.body, site.files("out")[name], "{path}");
        for name in ["etag", "last-modified", "cache-control", "content-security-policy"] {
            assert!(reply.headers.contains_key(name), "{path}: {name}");
        }
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("strict-transport-security"), "max-age=31536000");

        // Readers that ask for what they have are told so.
        let (tag, changed) = (reply.header("etag"), reply.header("last-modified"));
        for known in [("if-none-match", tag), ("if-modified-since", changed)] {
            let same = server.send("GET", path, &[known], b"");
            assert_eq!((same.status, same.body.len()), (304, 0), "{path} {known:?}");
        }
        let other = [("if-none-match", "\"x\""), ("if-modified-since", changed)];
        assert_eq!(server.send("GET", path, &other, b"").status, 200);

        let head = server.send("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), reply.body.len().to_string());

        let part = server.send("GET", path, &[("range", "bytes=2-5")], b"");
        assert_eq!((part.status, &part.body[..]), (206, &reply.body[2..6]), "{path}");
        let last = server.send("GET", path, &[("range", "Bytes=-3")], b"");
        assert_eq!((last.status, last.body.len()), (206, 3), "{path}");
        let far = format!("bytes=1-{}0", u64::MAX);
        let rest = server.send("GET", path, &[("range", &far)], b"");
        assert_eq!((rest.status, rest.body.len()), (206, reply.body.len() - 1), "{path}");
        for range in [
            "items=0-5",
            "bytes=0-1,4-5",
            "bytes=abc",
            "bytes=5-2",
            "bytes= 0-1",
            "bytes=-100000000",
        ] {
            let whole = server.send("GET", path, &[("range", range)], b"");
            assert_eq!((whole.status, whole.body.len()), (200, reply.body.len()), "{range}");
        }
        let behind = server.send("GET", path, &[("range", "bytes=100000000-")], b"");
        assert_eq!(behind.status, 416);
        let head = server.send("HEAD", path, &[("range", "bytes=2-5")], b"");
        assert_eq!(head.status, 200);
        // Each way of sending it has a length of its own.
        let head = server.send("HEAD", path, &[("accept-encoding", "gzip")], b"");
        let compressed = server.send("GET", path, &[("accept-encoding", "gzip")], b"");
        for name in ["content-length", "content-encoding"] {
            assert_eq!(
                head.header(name).is_empty(),
                compressed.header(name).is_empty(),
                "{path} {name}"
            );
        }
        let same = [("if-none-match", "\"x\""), ("if-none-match", tag)];
        assert_eq!(server.send("GET", path, &same, b"").status, 304, "{path}");

        let compressed = server.send("GET", path, &[("accept-encoding", "gzip")], b"");
        assert_eq!(compressed.status, 200);
        assert!(compressed.header("vary").contains("accept-encoding") || reply.body.len() < 512);
    }
    let large = server.send("GET", "/feed.atom", &[("accept-encoding", "br, gzip")], b"");
    assert_eq!(large.header("content-encoding"), "br");
    assert!(large.body.len() < site.files("out")["feed.atom"].len());

    let missing = server.get("/nothing.html");
    assert_eq!((missing.status, missing.body), (404, site.files("out")["404.html"].clone()));
    assert_eq!(server.send("DELETE", "/", &[], b"").status, 405);
    assert_eq!(server.post("/feed.atom", "").status, 405);
    assert_eq!(server.get("/postings").header("location"), "/postings/");
    // What a build replaces is served at once, also when it has the same length.
    for text in ["a", "b"] {
        site.write("out/new.txt", text);
        fs::rename(site.path("out/new.txt"), site.path("out/x.txt")).unwrap();
        assert_eq!(server.get("/x.txt").text(), text);
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn nothing_else_is_given_out() {
    let site = site();
    site.write("out/.hidden/x.html", "secret");
    let server = Server::start(&site);
    for path in [
        "/../content/site.yaml",
        "/%2e%2e/content/site.yaml",
        "/..%2fcontent%2fsite.yaml",
        "/postings/..%5c..%5ccontent/site.yaml",
        "/.hidden/x.html",
        "/.published",
        "/%2ehidden/x.html",
        "//etc/passwd",
        "/%2f/etc/passwd",
        "/a%00.html",
        &format!("/{}", "a".repeat(300)),
        "/\u{ff}",
    ] {
        let answer = server
            .raw(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    // Nobody is sent on to another site.
    for path in ["//example.com", "//example.com/", "/%2fexample.com/", "//postings", "/\\postings"]
    {
        let reply = server
            .raw(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(reply.starts_with("HTTP/1.1 40"), "{path}: {reply}");
    }
    // Bytes that are no request.
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"]
    {
        let answer = server.raw(bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(1 << 16));
    assert!(
        ["HTTP/1.1 414", "HTTP/1.1 431"].iter().any(|s| server.raw(long.as_bytes()).starts_with(s))
    );
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert!(server.raw(many.as_bytes()).starts_with("HTTP/1.1 431"));
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn somebody_subscribes_chooses_and_leaves() {
    let site = site();
    let server = Server::start(&site);
    let form = server.get("/abonnement?domain=design");
    assert_eq!((form.status, form.header("cache-control")), (200, "no-store"));
    let text = form.text();
    assert!(text.contains("name=\"domain\" value=\"design\" checked"), "{text}");
    assert!(text.contains("name=\"team\" value=\"marees\">"), "{text}");
    assert!(!text.contains("<script"));
    let english = server.send("GET", "/abonnement", &[("accept-language", "en-GB, fr;q=0.5")], b"");
    assert!(english.text().contains("Your email address"));
    let french =
        server.send("GET", "/abonnement", &[("accept-language", "en;q=0.2, fr;q=0.9")], b"");
    assert_eq!(french.header("content-language"), "fr");

    let asked = server.post("/abonnement", "email=Zoe%40example.org&domain=developpement");
    assert_eq!(asked.status, 200);
    assert!(asked.text().contains("Regardez vos messages"));
    let confirmation = mail(&site, "Zoe@example.org");
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("asked"));
    // Nothing else is sent to somebody who did not confirm, and no second confirmation.
    server.post("/abonnement", "email=zoe%40example.org&domain=design&new=true");
    site.run(&[NOW, "remind"]).exits(0);
    assert_eq!(mails(&site, "Zoe@example.org").len(), 1);

    let confirm = link(&confirmation, "/abonnement/confirm?token=");
    // Programs that open every link confirm nothing.
    for method in ["GET", "HEAD"] {
        assert_eq!(server.send(method, &confirm, &[], b"").status, 200);
    }
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("asked"));
    // What somebody else chose meanwhile is shown to who confirms, and what they send counts.
    server.post("/abonnement", "email=zoe@example.org&domain=nothing&cadence=weekly&weekday=Sun");
    let asked = server.get(&confirm).text();
    assert!(
        asked.contains("value=\"nothing\" checked") && asked.contains("value=\"Sun\" selected"),
        "{asked}"
    );
    let wishes = format!("token={}&cadence=daily&domain=design&new=true", token(&confirm));
    let confirmed = server.post("/abonnement/confirm", &wishes);
    assert!(confirmed.text().contains("Vous êtes abonné·e"), "{}", confirmed.text());
    assert!(server.get(&confirm).text().contains("Vous êtes abonné·e"));
    let list = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    assert!(!list.contains("nothing") && !list.contains("weekly"), "{list}");
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("subscribed"));
    // Whoever clicks twice is told the same.
    let again = server.post("/abonnement/confirm", &format!("token={}", token(&confirm)));
    assert_eq!(again.body, confirmed.body);

    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let digest = mails(&site, "Zoe@example.org").pop().unwrap();
    assert!(digest.contains("Designer") && !digest.contains("Développeuse"), "{digest}");
    for path in links(&digest) {
        for method in ["GET", "HEAD"] {
            let reply = server.send(method, &path, &[], b"");
            assert_eq!(reply.status, 200, "{path}");
        }
    }
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("subscribed"));

    let preferences = link(&digest, "/abonnement/preferences?token=");
    let text = server.get(&preferences).text();
    assert!(text.contains("name=\"domain\" value=\"design\" checked"), "{text}");
    assert!(text.contains("name=\"new\" value=\"true\" checked"), "{text}");
    let wishes = format!(
        "token={}&domain=developpement&cadence=weekly&weekday=Tue&language=en",
        token(&preferences)
    );
    assert!(server.post("/abonnement/preferences", &wishes).text().contains("enregistré"));
    let list = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    for line in
        ["Zoe@example.org", "- developpement", "weekday: Tue", "language: en", "source: form"]
    {
        assert!(list.contains(line), "{line}: {list}");
    }

    // As Gmail does it: without cookies, and nothing else in the body.
    let leave = link(&digest, "/desabonnement?token=");
    let done = server.post(&leave, "List-Unsubscribe=One-Click");
    assert_eq!(done.status, 200);
    assert!(!done.headers.contains_key("set-cookie"));
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("unsubscribed"));
    assert!(server.get(&preferences).text().contains("n’est pas abonnée"));
    assert!(server.post("/abonnement/preferences", &wishes).text().contains("n’est pas abonnée"));
    // The link that confirmed once brings nobody back.
    let replayed = server.post("/abonnement/confirm", &format!("token={}", token(&confirm)));
    assert!(replayed.text().contains("ne fonctionne pas"), "{}", replayed.text());
    assert_eq!(state(&site, "Zoe@example.org").as_deref(), Some("unsubscribed"));
    let rest = site.run(&["--now=2021-09-07", "remind", "--dry-run"]).exits(0).stdout;
    assert!(!rest.contains("Zoe"), "{rest}");
}

#[test]
fn who_is_on_the_list_in_a_file_chooses_and_leaves_too() {
    let site = site();
    let server = Server::start(&site);
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let digest = mail(&site, "listed@example.org");
    let preferences = link(&digest, "/abonnement/preferences?token=");
    assert_eq!(server.get(&preferences).status, 200);
    server.post("/abonnement/preferences", &format!("token={}&domain=design", token(&preferences)));
    let list = site.run(&[NOW, "recipients", "export"]).exits(0).stdout;
    assert!(list.contains("source: list") && list.contains("- design"), "{list}");
    // That they chose is no consent, of which nobody knows when it was given.
    assert!(!list.contains("confirmed_at"), "{list}");
    // Without a program's help: a question, and a button.
    let leave = link(&digest, "/desabonnement?token=");
    assert!(server.get(&leave).text().contains("Oui, me désabonner"));
    assert_eq!(state(&site, "listed@example.org").as_deref(), Some("subscribed"));
    server.post("/desabonnement", &format!("token={}", token(&leave)));
    assert_eq!(state(&site, "listed@example.org").as_deref(), Some("unsubscribed"));
}

#[test]
fn a_digest_that_is_planned_already_does_not_leave_any_more() {
    let site = site();
    site.write(
        "content/site.yaml",
        site.read("content/site.yaml").replace("mail:\n", "mail:\n  transport: smtp\n  smtp: { host: 127.0.0.1, port: 9, security: none, retry_after: [] }\n"),
    );
    // Nobody takes it: it stays planned.
    site.run(&["--now=2021-09-01", "remind"]).exits(75);
    let waiting = || {
        let status = site.run(&["--now=2021-09-01", "status", "--format=json"]).json();
        status["waiting"].as_u64().unwrap()
    };
    assert_eq!(waiting(), 1);
    let keys = site.run(&["preview", "--now=2021-09-01"]).exits(0);
    assert_eq!(keys.code, 0);
    let preview = site.files(".crieur/preview").into_values().next().unwrap();
    let preview = String::from_utf8(preview).unwrap();
    let leave = link(&preview, "/desabonnement?token=");
    let server = Server::start(&site);
    assert_eq!(server.post(&leave, "List-Unsubscribe=One-Click").status, 200);
    assert_eq!(waiting(), 0);
    let dry = site.run(&["--now=2021-09-01", "remind", "--dry-run"]).exits(0);
    assert!(dry.stderr.contains("0 digests"), "{}", dry.stderr);
}

#[test]
fn nobody_learns_who_is_on_the_list() {
    let site = site();
    let server = Server::start(&site);
    site.run(&[NOW, "unsubscribe", "left@example.org"]).exits(0);
    site.run(&[NOW, "forget", "gone@example.org"]).exits(0);
    let answers: BTreeSet<(u16, Vec<u8>)> = ["listed", "new", "new", "left", "gone"]
        .into_iter()
        .map(|name| {
            let reply = server.post("/abonnement", &format!("email={name}%40example.org"));
            (reply.status, reply.body)
        })
        .collect();
    assert_eq!(answers.len(), 1);
    // Who left may come back; who wants to be forgotten gets nothing.
    mail(&site, "left@example.org");
    mail(&site, "new@example.org");
    mail(&site, "listed@example.org");
    assert!(mails(&site, "gone@example.org").is_empty());
}

#[test]
fn no_link_can_be_made_or_used_for_something_else() {
    let site = site();
    let server = Server::start(&site);
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let digest = mail(&site, "listed@example.org");
    let (leave, choose) =
        (link(&digest, "/desabonnement?"), link(&digest, "/abonnement/preferences?"));
    let named = token(&leave).split('.').next().unwrap();
    let other = token(&leave).replacen(named, "Zm9vQGV4YW1wbGUub3Jn", 1);
    let long = "a".repeat(4_000);
    for (page, token) in [
        ("/desabonnement", ""),
        ("/desabonnement", "x"),
        ("/desabonnement", named),
        ("/desabonnement", &other),
        ("/desabonnement", token(&choose)),
        ("/desabonnement", &long),
        ("/desabonnement", "%00.%ff"),
        ("/abonnement/preferences", token(&leave)),
        ("/abonnement/confirm", token(&leave)),
        ("/abonnement/confirm", token(&choose)),
    ] {
        for reply in [
            server.get(&format!("{page}?token={token}")),
            server.post(page, &format!("token={token}")),
        ] {
            assert_eq!(reply.status, 400, "{page} {token}");
            assert!(!reply.text().contains("listed"), "{page} {token}");
        }
    }
    assert_eq!(state(&site, "listed@example.org").as_deref(), Some("subscribed"));
    // Whoever goes on to guess waits.
    let mut guesses =
        (0..500).map(|n| server.post("/desabonnement", &format!("token=a.{n}")).status);
    assert!(guesses.any(|status| status == 429));
    assert_eq!(server.post(&leave, "").status, 200);
}

#[test]
fn nothing_that_is_entered_is_more_than_text() {
    let site = site();
    let server = Server::start(&site);
    for email in [
        "",
        "x",
        "a@b@c",
        "a@example.org%0d%0aBcc: all@example.org",
        "a@example.org,b@example.org",
        "<a@example.org>",
        "a@example.org?x",
        "\"><script>@example.org",
        "a@[127.0.0.1]",
        "a@é.1",
        "a@é.1",
    ] {
        let reply = server.post("/abonnement", &format!("email={}", email.replace('+', "%2b")));
        assert_eq!(reply.status, 422, "{email}: {}", reply.text());
        assert!(!reply.text().contains("<script>"), "{email}");
        assert!(reply.text().contains("aria-invalid"), "{email}");
        assert!(states(&site).iter().all(|(_, state)| state != "asked"), "{email}");
    }
    let hostile = "'; DROP TABLE subscribers; --\r\nBcc: x@example.org<script>alert(1)</script>{{ site }}${7*7}";
    let hostile: String = url::form_urlencoded::byte_serialize(hostile.as_bytes()).collect();
    let fields = [
        "domain", "team", "contract", "cadence", "weekday", "language", "new", "junior", "token",
        "x",
    ];
    let body: String = fields.iter().map(|field| format!("&{field}={hostile}")).collect();
    assert_eq!(server.post("/abonnement", &format!("email=a%40example.org{body}")).status, 200);
    let confirmation = mail(&site, "a@example.org");
    assert!(!confirmation.contains("Bcc") && !confirmation.contains("script"), "{confirmation}");
    let confirm = link(&confirmation, "/abonnement/confirm?");
    let confirmed =
        server.post("/abonnement/confirm", &format!("token={}", token(&confirm))).text();
    let preferences =
        confirmed.split("href=\"").find(|part| part.contains("preferences?")).unwrap();
    let preferences = preferences.split('"').next().unwrap();
    // Which letters are in a token is chance.
    let form = server.get(preferences).text().replace(token(preferences), "");
    assert!(!form.contains("<script") && !form.contains("49"), "{form}");
    assert_eq!(state(&site, "a@example.org").as_deref(), Some("subscribed"));

    // The same in the address of a page.
    for page in ["/abonnement", "/abonnement/confirm", "/desabonnement", "/nothing", "/postings/"] {
        let reply = server.get(&format!("{page}?token={hostile}&domain={hostile}&email={hostile}"));
        assert!(!reply.text().contains("<script>alert"), "{page}: {}", reply.text());
        assert!(!reply.headers.contains_key("bcc"));
    }
    let many: String = (0..5_000).map(|n| format!("&domain=d{n}")).collect();
    assert_eq!(server.post("/abonnement", &format!("email=a%40example.org{many}")).status, 413);
    let few: String = (0..1_000).map(|n| format!("&domain=d{n}")).collect();
    assert_eq!(server.post("/abonnement", &format!("email=b%40example.org{few}")).status, 200);
}

#[test]
fn nobody_asks_too_often_or_from_elsewhere() {
    let site = site();
    let server = Server::start(&site);
    let ask = |number: usize, headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("content-type", FORM)].iter().chain(headers).copied().collect();
        let body = format!("email=n{number}%40example.org");
        server.send("POST", "/abonnement", &headers, body.as_bytes())
    };
    for elsewhere in [("sec-fetch-site", "cross-site"), ("origin", "https://example.com")] {
        assert_eq!(ask(0, &[elsewhere]).status, 403, "{elsewhere:?}");
    }
    for here in [("sec-fetch-site", "same-origin"), ("origin", "https://jobs.example.org")] {
        assert_eq!(ask(0, &[here]).status, 200, "{here:?}");
    }
    // Behind a proxy, each network is counted for itself.
    for number in 0..30 {
        let address = format!("198.51.{number}.1");
        assert_eq!(ask(number, &[("x-forwarded-for", &address)]).status, 200);
    }
    let from_one = |number| ask(number, &[("x-forwarded-for", "192.0.2.7, 203.0.113.9")]);
    assert_eq!(from_one(0).status, 200);
    // More may come again while the others are answered.
    let last = (1..500).map(from_one).find(|reply| reply.status == 429).unwrap();
    assert_eq!(last.header("retry-after"), "60");
    assert!(last.text().contains("Trop de demandes"));
    // Who leaves is never limited.
    assert_eq!(server.get("/desabonnement?token=x").status, 400);
    let measured = server.get("/metrics").text();
    assert!(measured.contains("crieur_subscriptions_total{step=\"asked\"}"), "{measured}");
    assert!(
        measured.contains("crieur_requests_total{method=\"POST\",status=\"429\"}"),
        "{measured}"
    );
    assert_eq!(
        server.send("GET", "/metrics", &[("x-forwarded-for", "192.0.2.1")], b"").status,
        404
    );
    assert_eq!(server.get("/healthz").text(), "ok\n");
}

#[test]
fn who_asks_is_who_a_proxy_of_ours_names_last() {
    let site = site();
    let ask = |server: &Server, number: usize, forwarded: &str| {
        let headers = [("content-type", FORM), ("x-forwarded-for", forwarded)];
        let body = format!("email=n{number}%40example.org");
        server.send("POST", "/abonnement", &headers, body.as_bytes()).status
    };
    // What stands before is what the visitor said: another network each time, and still one visitor.
    // Fewer than all together may ask, so that it is not their limit.
    let server = Server::start(&site);
    let mut answers = (1..110).map(|n| ask(&server, n, &format!("{n}.1.1.1, 203.0.113.9")));
    assert!(answers.any(|status| status == 429));
    drop(server);
    let server = Server::start(&site);
    for number in 1..=60 {
        assert_eq!(ask(&server, number, &format!("203.0.113.9, {number}.1.1.1")), 200);
    }
}

#[test]
fn measures_are_for_this_machine_only() {
    let site = site();
    let server = Server::start(&site);
    assert_eq!(server.get("/metrics").status, 200);
    for passed_on in [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")] {
        let reply = server.send("GET", "/metrics", &[passed_on], b"");
        assert_eq!((reply.status, reply.text()), (404, site.read("out/404.html")), "{passed_on:?}");
    }
}

#[test]
fn no_page_is_framed_or_guessed_at_and_no_token_is_told() {
    let site = site();
    let server = Server::start(&site);
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let leave = link(&mail(&site, "listed@example.org"), "/desabonnement?token=");
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (path, status) in
        [("/", 200), ("/nothing.html", 404), (leave.as_str(), 200), ("/desabonnement?token=x", 400)]
    {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{path}: {name}");
        }
        // Whoever is led elsewhere from a page with a token in its address tells nobody of it.
        let of_people = path.starts_with("/desabonnement");
        let referrer = if of_people { "no-referrer" } else { "strict-origin-when-cross-origin" };
        assert_eq!(reply.header("referrer-policy"), referrer, "{path}");
        assert_eq!(reply.header("cache-control") == "no-store", of_people, "{path}");
        assert_eq!(reply.header("x-robots-tag") == "noindex", of_people, "{path}");
    }
    let done = server.post(&leave, "");
    assert_eq!((done.status, done.header("referrer-policy")), (200, "no-referrer"));
    assert_eq!(
        (done.header("cache-control"), done.header("x-robots-tag")),
        ("no-store", "noindex")
    );
}

#[test]
fn neither_tokens_nor_addresses_of_visitors_are_logged() {
    let site = site();
    let mut command = site.command();
    command.args([NOW, "-v", "--log-format=json"]);
    let server = Server::run(&mut command);
    let from = [("x-forwarded-for", "192.0.2.9"), ("user-agent", "VISITOR")];
    let secret = "/desabonnement?token=SECRET";
    assert_eq!(server.send("GET", secret, &from, b"").status, 400);
    let body = [("content-type", FORM), from[0]];
    assert_eq!(server.send("POST", "/desabonnement", &body, b"token=SECRET").status, 400);
    assert_eq!(
        server.send("POST", "/abonnement", &body, b"email=visitor%40example.org").status,
        200
    );
    let (code, said) = server.end();
    assert_eq!(code, 0);
    let lines: Vec<serde_json::Value> =
        said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (method, path, status) in [
        ("GET", "/desabonnement", 400),
        ("POST", "/desabonnement", 400),
        ("POST", "/abonnement", 200),
    ] {
        let is_this = |line: &&serde_json::Value| {
            line["method"] == method && line["path"] == path && line["status"] == status
        };
        assert_eq!(lines.iter().filter(is_this).count(), 1, "{method} {path}: {said:#?}");
    }
    let said = said.concat();
    for private in ["SECRET", "192.0.2.9", "VISITOR", "visitor@", "visitor%40"] {
        assert!(!said.contains(private), "{private}: {said}");
    }
}

#[test]
fn who_left_by_the_page_stays_off_when_only_the_backup_is_left() {
    let site = site();
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let leave = link(&mail(&site, "listed@example.org"), "/desabonnement?token=");
    let is_written_to = || {
        let dry = site.run(&["--now=2021-09-02", "remind", "--dry-run"]).exits(0).stdout;
        dry.contains("listed@example.org")
    };
    assert!(is_written_to());
    let server = Server::start_at(&site, "--now=2021-09-01T20:00:00Z");
    assert_eq!(server.post(&leave, "List-Unsubscribe=One-Click").status, 200);
    // Long before the ten minutes are over, with everything that was done until now.
    assert_eq!(server.stop(), 0);
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(site.path(&format!(".crieur/ledger.sqlite3{end}")));
    }
    site.run(&["ledger", "restore"]).exits(1);
    assert!(!is_written_to());
}

#[test]
fn a_ledger_that_cannot_be_used_stops_people_and_no_reader() {
    let site = site();
    let server = Server::start(&site);
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let leave = link(&mail(&site, "listed@example.org"), "/desabonnement?");
    let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
    ledger.execute_batch("ALTER TABLE secrets RENAME TO elsewhere").unwrap();
    assert_eq!(server.post(&leave, "").status, 503);
    assert_eq!(server.get("/healthz").status, 503);
    assert_eq!(server.get("/feed.atom").status, 200);
    ledger.execute_batch("ALTER TABLE elsewhere RENAME TO secrets").unwrap();
    assert_eq!(server.post(&leave, "").status, 200);
}

#[test]
fn without_pages_of_people_only_files_are_served() {
    let site = Site::new();
    site.posting("a.md", "title: A\ncloses: 2021-09-03");
    site.run(&[NOW, "build"]).exits(0);
    let server = Server::start(&site);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.post("/subscribe", "email=a%40example.org").status, 405);
    assert_eq!(server.stop(), 0);
    assert!(!site.exists(".crieur/ledger.sqlite3"));
}

#[test]
fn pages_need_addresses_of_their_own() {
    let site = Site::new();
    for (subscribe, unsubscribe) in [
        ("https://jobs.example.org/a", "https://jobs.example.org/a"),
        ("https://jobs.example.org/", "https://jobs.example.org/off"),
        ("https://jobs.example.org/a", "https://jobs.example.org/a/confirm"),
        ("https://jobs.example.org/metrics", "https://jobs.example.org/a"),
    ] {
        site.write(
            "content/site.yaml",
            format!(
                "{}subscribe: {{ url: '{subscribe}' }}\nunsubscribe: {{ url: '{unsubscribe}' }}\n",
                common::SETTINGS
            ),
        );
        let refused = site.run(&[NOW, "serve", "--addr=127.0.0.1:0"]).exits(78);
        assert!(refused.stderr.contains("two pages would be at"), "{}", refused.stderr);
    }
}

#[test]
fn no_ledger_is_put_in_the_place_of_one_that_a_server_has_open() {
    let site = site();
    site.run(&["--now=2021-09-01", "remind"]).exits(0);
    let server = Server::start(&site);
    let refused = site.run(&["ledger", "restore"]).exits(75);
    assert!(refused.stderr.contains("crieur serve"), "{}", refused.stderr);
    assert_eq!(server.stop(), 0);
    site.run(&["ledger", "restore"]).exits(0);
}

#[test]
fn who_does_not_confirm_is_forgotten() {
    let site = site();
    let server = Server::start(&site);
    server.post("/abonnement", "email=a%40example.org");
    mail(&site, "a@example.org");
    drop(server);
    site.run(&["--now=2021-09-02T07:00:00Z", "remind"]).exits(0);
    let asked = |site: &Site| {
        let ledger = rusqlite::Connection::open(site.path(".crieur/ledger.sqlite3")).unwrap();
        ledger.query_row("SELECT count(*) FROM requests", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(asked(&site), 1);
    site.run(&["--now=2021-09-02T09:00:00Z", "remind"]).exits(0);
    assert_eq!(asked(&site), 0);
}

#[test]
fn the_service_manager_is_told() {
    let site = site();
    let socket = site.path("notify");
    let told = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut command = site.command();
    command.arg(NOW).env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let server = Server::run(&mut command);
    let mut heard = BTreeSet::new();
    let mut listen = |until: &str| {
        let mut buffer = [0; 256];
        while !heard.contains(until) {
            let length = told.recv(&mut buffer).unwrap();
            heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
    };
    listen("READY=1");
    assert_eq!(server.get("/").status, 200);
    listen("WATCHDOG=1");
    assert_eq!(server.stop(), 0);
    listen("STOPPING=1");
}

#[test]
fn a_site_below_another_has_a_slash_at_its_end() {
    let site = site();
    let settings = site.read("content/site.yaml");
    let settings = settings.replace("https://jobs.example.org/", "https://jobs.example.org/sub/");
    site.write("content/site.yaml", settings);
    site.run(&[NOW, "build"]).exits(0);
    let server = Server::start(&site);
    let reply = server.get("/sub");
    assert_eq!(reply.status, 307);
    assert_eq!(reply.header("location"), "/sub/");
    assert_eq!(server.get("/sub/").status, 200);
    assert_eq!(server.get("/subway").status, 404);
}
