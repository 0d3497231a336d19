//! A mail server on a loopback port that does what a script says: it behaves, answers what it is
//! told to, drops connections, falls silent, or speaks TLS with whatever certificate it is given.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does at a step, instead of behaving.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers this. Nothing is accepted, whatever it says.
    Say(&'static str),
    /// Closes the connection.
    Drop,
    /// Accepts the message and closes the connection without a word.
    AcceptAndDrop,
    /// Says nothing until the client goes away.
    Stall,
}

/// A step of a session: which one, for which recipient, how often it has come to it before, and
/// whether more has come already.
pub struct Step<'a> {
    pub name: &'a str,
    pub recipient: &'a str,
    pub before: usize,
    pub waits: bool,
}

type Script = dyn Fn(&Step<'_>) -> Option<Act> + Send + Sync;

/// A message that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub recipient: String,
    pub message: Vec<u8>,
}

impl Accepted {
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.message).replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).to_owned()
    }
}

#[derive(Default)]
struct Seen {
    accepted: Vec<Accepted>,
    commands: Vec<String>,
    counts: HashMap<(String, String), usize>,
    connections: usize,
}

pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    /// The certificate of the authority to trust, in PEM.
    pub authority: String,
}

/// A server that is away: a port at which nobody listens, and which nobody else is given meanwhile.
pub struct Away {
    pub port: u16,
    /// Both ends of a connection over it.
    _kept: (TcpStream, TcpStream),
}

impl Away {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect(address).unwrap();
        let (far, _) = listener.accept().unwrap();
        Self { port: address.port(), _kept: (near, far) }
    }
}

/// The kinds of certificates that servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by an authority.
    Usual,
    /// Its own authority.
    OwnAuthority,
    /// The same, and past its end.
    Expired,
}

#[derive(Clone)]
pub struct Options {
    /// The lines of the answer to EHLO, beside the name.
    pub offers: Vec<&'static str>,
    /// TLS from the first byte on.
    pub tls: bool,
    /// The name in the certificate.
    pub name: &'static str,
    /// What is unusual about it.
    pub certificate: Certificate,
    pub script: Arc<Script>,
}

impl Options {
    pub fn new(script: impl Fn(&Step<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        let offers = vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"];
        let (name, certificate) = ("127.0.0.1", Certificate::Usual);
        Self { offers, tls: false, name, certificate, script: Arc::new(script) }
    }

    pub fn offers(self, offers: &[&'static str]) -> Self {
        Self { offers: offers.to_vec(), ..self }
    }
}

impl Server {
    pub fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tls, authority) = certificate(options.name, options.certificate);
        let shared = seen.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (options, tls, seen) = (options.clone(), tls.clone(), shared.clone());
                seen.lock().unwrap().connections += 1;
                // A client that is gone is no failure of the server's.
                thread::spawn(move || {
                    let _ = serve(&stream, &options, &tls, &seen);
                });
            }
        });
        Self { port, seen, authority }
    }

    pub fn behaving() -> Self {
        Self::start(Options::new(|_| None))
    }

    pub fn accepted(&self) -> Vec<Accepted> {
        let mut accepted = self.seen.lock().unwrap().accepted.clone();
        accepted.sort_by(|a, b| a.recipient.cmp(&b.recipient));
        accepted
    }

    pub fn recipients(&self) -> Vec<String> {
        self.accepted().into_iter().map(|accepted| accepted.recipient).collect()
    }

    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

fn certificate(name: &str, kind: Certificate) -> (Arc<ServerConfig>, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if kind == Certificate::Expired {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let authority = params.self_signed(&authority_key).unwrap();
    let (certificate, key) = if kind == Certificate::Usual {
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    } else {
        (authority.clone(), authority_key)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    (Arc::new(config), authority.pem())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn encrypted(stream: TcpStream, config: &Arc<ServerConfig>) -> Box<dyn Stream> {
    let connection = ServerConnection::new(config.clone()).unwrap();
    Box::new(StreamOwned::new(connection, stream))
}

/// One session. Ends with an error when the client does, or when the script ends it.
struct Session<'a> {
    socket: &'a TcpStream,
    stream: BufReader<Box<dyn Stream>>,
    options: &'a Options,
    tls: &'a Arc<ServerConfig>,
    seen: &'a Mutex<Seen>,
    recipient: String,
}

fn over<T>() -> std::io::Result<T> {
    Err(std::io::Error::other("the session is over"))
}

impl Session<'_> {
    fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        self.stream.get_mut().flush()
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return over();
        }
        Ok(line.trim_end().to_owned())
    }

    /// What the script has for a step.
    fn act(&self, name: &str) -> Option<Act> {
        let recipient = &self.recipient;
        let mut seen = self.seen.lock().unwrap();
        let count = seen.counts.entry((name.to_owned(), recipient.clone())).or_default();
        let before = *count;
        *count += 1;
        drop(seen);
        let waits = !self.stream.buffer().is_empty();
        (self.options.script)(&Step { name, recipient, before, waits })
    }

    /// Does what the script has. `true` when that was nothing, and the usual answer was given.
    fn step(&mut self, name: &str, usual: &str) -> std::io::Result<bool> {
        match self.act(name) {
            None => self.say(usual).map(|()| true),
            Some(Act::Say(text)) => {
                self.say(text)?;
                if text.starts_with("421") { over() } else { Ok(false) }
            }
            Some(Act::Stall) => {
                self.stream.read_to_end(&mut Vec::new())?;
                over()
            }
            Some(Act::Drop | Act::AcceptAndDrop) => over(),
        }
    }

    fn run(&mut self) -> std::io::Result<()> {
        self.step("banner", "220 mx.example.org ESMTP")?;
        loop {
            let line = self.line()?;
            self.seen.lock().unwrap().commands.push(line.clone());
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "EHLO" => {
                    let offers = &self.options.offers;
                    let lines: Vec<&str> =
                        ["mx.example.org"].iter().chain(offers).copied().collect();
                    let mut text = lines.join("\r\n250-");
                    let last = text.rfind("250-").map_or(0, |at| at + 3);
                    let first = if last == 0 { "250 " } else { "250-" };
                    if last > 0 {
                        text.replace_range(last..=last, " ");
                    }
                    self.step("ehlo", &format!("{first}{text}"))?;
                }
                "STARTTLS" => {
                    if self.step("starttls", "220 go ahead")? {
                        let stream = encrypted(self.socket.try_clone()?, self.tls);
                        self.stream = BufReader::new(stream);
                    }
                }
                "AUTH" => self.authenticate(&line)?,
                "MAIL" => {
                    self.recipient.clear();
                    self.step("mail", "250 ok")?;
                }
                "RCPT" => {
                    line.split(['<', '>'])
                        .nth(1)
                        .unwrap_or_default()
                        .clone_into(&mut self.recipient);
                    if !self.step("rcpt", "250 ok")? {
                        self.recipient.clear();
                    }
                }
                "DATA" if self.recipient.is_empty() => self.say("503 nobody to send to")?,
                "DATA" => self.data()?,
                "RSET" => {
                    self.recipient.clear();
                    self.say("250 ok")?;
                }
                "QUIT" => return self.say("221 bye"),
                _ => self.say("502 what")?,
            }
        }
    }

    /// The user is `user`, and the secret `secret`.
    fn authenticate(&mut self, line: &str) -> std::io::Result<()> {
        let mut right = line == "AUTH PLAIN AHVzZXIAc2VjcmV0"
            || line == "AUTH XOAUTH2 dXNlcj11c2VyAWF1dGg9QmVhcmVyIHNlY3JldAEB";
        if line == "AUTH LOGIN" {
            self.say("334 VXNlcm5hbWU6")?;
            right = self.line()? == "dXNlcg==";
            self.say("334 UGFzc3dvcmQ6")?;
            right &= self.line()? == "c2VjcmV0";
        } else if !right && line.starts_with("AUTH XOAUTH2") {
            self.say("334 eyJzdGF0dXMiOiI0MDEifQ==")?;
            self.line()?;
        }
        self.step("auth", if right { "235 welcome" } else { "535 5.7.8 no" })?;
        Ok(())
    }

    fn data(&mut self) -> std::io::Result<()> {
        if !self.step("data", "354 go ahead")? {
            return Ok(());
        }
        if self.act("text").is_some() {
            // In the midst of the text.
            return over();
        }
        let mut message = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return over();
            }
            if line == b".\r\n" {
                break;
            }
            let stuffed = usize::from(line.starts_with(b"."));
            message.extend_from_slice(&line[stuffed..]);
        }
        let accepted = Accepted { recipient: std::mem::take(&mut self.recipient), message };
        self.recipient.clone_from(&accepted.recipient);
        match self.act("dot") {
            act @ (None | Some(Act::AcceptAndDrop)) => {
                self.seen.lock().unwrap().accepted.push(accepted);
                if act.is_some() { over() } else { self.say("250 queued") }
            }
            Some(Act::Drop) => over(),
            Some(Act::Stall) => {
                self.stream.read_to_end(&mut Vec::new())?;
                over()
            }
            Some(Act::Say(text)) => {
                self.say(text)?;
                if text.starts_with("421") { over() } else { Ok(()) }
            }
        }
    }
}

fn serve(
    socket: &TcpStream,
    options: &Options,
    tls: &Arc<ServerConfig>,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let plain = socket.try_clone()?;
    let stream: Box<dyn Stream> = if options.tls { encrypted(plain, tls) } else { Box::new(plain) };
    let stream = BufReader::new(stream);
    Session { socket, stream, options, tls, seen, recipient: String::new() }.run()
}
